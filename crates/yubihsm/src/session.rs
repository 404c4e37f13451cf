//! A conversation with the device: a session of its own, opened, used and closed again. A device has sixteen sessions for
//! all of its users, so none is kept.

use std::time::Instant;

use aws_lc_rs::rand::fill;
use tokio::sync::MutexGuard;
use zeroize::Zeroizing;

use crate::{
    connector::Connector,
    error::{DeviceError, Error, Result},
    log::{self, Drained},
    metadata::{LABEL, Target},
    scp03::{Channel, SHORT, StaticKeys},
};

mod code {
    pub(super) const CREATE_SESSION: u8 = 0x03;
    pub(super) const AUTHENTICATE_SESSION: u8 = 0x04;
    pub(super) const DEVICE_INFO: u8 = 0x06;
    pub(super) const CLOSE_SESSION: u8 = 0x40;
    pub(super) const PUT_OPAQUE: u8 = 0x42;
    pub(super) const GET_OPAQUE: u8 = 0x43;
    pub(super) const PUT_ASYMMETRIC_KEY: u8 = 0x45;
    pub(super) const GENERATE_ASYMMETRIC_KEY: u8 = 0x46;
    pub(super) const LIST_OBJECTS: u8 = 0x48;
    pub(super) const EXPORT_WRAPPED: u8 = 0x4a;
    pub(super) const IMPORT_WRAPPED: u8 = 0x4b;
    pub(super) const GET_LOG_ENTRIES: u8 = 0x4d;
    pub(super) const GET_OBJECT_INFO: u8 = 0x4e;
    pub(super) const GET_OPTION: u8 = 0x50;
    pub(super) const GET_PUBLIC_KEY: u8 = 0x54;
    pub(super) const DELETE_OBJECT: u8 = 0x58;
    pub(super) const SIGN_ATTESTATION: u8 = 0x64;
    pub(super) const SET_LOG_INDEX: u8 = 0x67;
    pub(super) const ERROR: u8 = 0x7f;
}

/// The command whose logging tells whether sessions are seen in the log.
const AUTHENTICATE: u8 = code::AUTHENTICATE_SESSION;
const COMMAND_AUDIT: u8 = 0x03;
const OPAQUE_DATA: u8 = 30;

pub(crate) const OPAQUE: u8 = 1;
const AUTHENTICATION_KEY: u8 = 2;
pub(crate) const ASYMMETRIC_KEY: u8 = 3;

/// A key of the device that opens sessions, and its password's keys.
pub(crate) struct Credentials {
    pub(crate) id: u16,
    pub(crate) keys: StaticKeys,
}

/// What GET DEVICE INFO tells, to anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceInfo {
    pub(crate) firmware: [u8; 3],
    pub(crate) serial: u32,
    pub(crate) log_capacity: u8,
    pub(crate) log_used: u8,
}

/// What GET OBJECT INFO tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectInfo {
    pub(crate) capabilities: u64,
    pub(crate) domains: u16,
    pub(crate) algorithm: u8,
    pub(crate) sequence: u8,
}

/// A new object's name and rights.
pub(crate) struct NewObject {
    pub(crate) label: [u8; LABEL],
    pub(crate) domains: u16,
    pub(crate) capabilities: u64,
    pub(crate) algorithm: u8,
}

impl NewObject {
    /// Under an id that the device chooses.
    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0, 0];
        out.extend(self.label);
        out.extend(self.domains.to_be_bytes());
        out.extend(self.capabilities.to_be_bytes());
        out.push(self.algorithm);
        out
    }
}

pub(crate) async fn device_info(connector: &Connector, deadline: Instant) -> Result<DeviceInfo> {
    let answer = plain(connector, code::DEVICE_INFO, &[], "tell of itself", deadline).await?;
    match answer.as_slice() {
        [major, minor, patch, s3, s2, s1, s0, capacity, used, ..] => Ok(DeviceInfo {
            firmware: [*major, *minor, *patch],
            serial: u32::from_be_bytes([*s3, *s2, *s1, *s0]),
            log_capacity: *capacity,
            log_used: *used,
        }),
        _ => Err(Error::Protocol("its description is malformed")),
    }
}

/// A command outside any session, and the data of its answer.
async fn plain(
    connector: &Connector,
    code: u8,
    data: &[u8],
    act: &'static str,
    deadline: Instant,
) -> Result<Vec<u8>> {
    let length = u16::try_from(data.len()).map_err(|_| Error::Internal("a message is too long"))?;
    let message = [&[code][..], &length.to_be_bytes(), data].concat();
    let mut answer = connector.exchange(message, deadline).await?;
    expect(code, &answer, act)?;
    Ok(answer.split_off(3))
}

/// That an answer is the one to a command, and no refusal.
fn expect(code: u8, answer: &[u8], act: &'static str) -> Result<()> {
    match *answer {
        [found, ..] if found == code | 0x80 => Ok(()),
        [code::ERROR, _, _, reason, ..] => Err(Error::Device { act, reason: DeviceError::from_code(reason) }),
        _ => Err(Error::Protocol("it answers another command")),
    }
}

/// An open session. One that is not closed ends by itself after 30 seconds.
pub(crate) struct Conversation<'a> {
    connector: &'a Connector,
    channel: Channel,
    id: u8,
    deadline: Instant,
    _turn: MutexGuard<'a, ()>,
}

impl<'a> Conversation<'a> {
    pub(crate) async fn open(
        connector: &'a Connector,
        credentials: &Credentials,
        turn: MutexGuard<'a, ()>,
        deadline: Instant,
    ) -> Result<Self> {
        let refused = Error::Credential { key: credentials.id };
        let mut host_challenge = [0; SHORT];
        fill(&mut host_challenge).map_err(|_| Error::Internal("no random bytes"))?;
        let data = [&credentials.id.to_be_bytes()[..], &host_challenge].concat();
        let answer = plain(connector, code::CREATE_SESSION, &data, "open a session", deadline).await;
        let answer = match answer {
            Err(Error::Device { reason: DeviceError::ObjectNotFound, .. }) => return Err(refused),
            other => other?,
        };
        let malformed = || Error::Protocol("its session is malformed");
        let [id, rest @ ..] = answer.as_slice() else { return Err(malformed()) };
        let (card_challenge, cryptogram) = rest.split_at_checked(SHORT).ok_or_else(malformed)?;
        let card_challenge = card_challenge.try_into().map_err(|_| malformed())?;
        let mut channel = Channel::new(&credentials.keys, host_challenge, card_challenge)?;
        // Nothing of ours is shown to somebody who does not have the key.
        if !channel.is_card(cryptogram)? {
            return Err(refused);
        }
        let message = channel.signed(code::AUTHENTICATE_SESSION, *id, &channel.host_cryptogram()?)?;
        let answer = connector.exchange(message, deadline).await?;
        match expect(code::AUTHENTICATE_SESSION, &answer, "open a session") {
            Err(Error::Device { reason: DeviceError::AuthenticationFailed, .. }) => return Err(refused),
            other => other?,
        }
        Ok(Self { connector, channel, id: *id, deadline, _turn: turn })
    }

    async fn command(&mut self, code: u8, data: &[u8], act: &'static str) -> Result<Zeroizing<Vec<u8>>> {
        let length = u16::try_from(data.len()).map_err(|_| Error::Internal("a message is too long"))?;
        let inner = Zeroizing::new([&[code][..], &length.to_be_bytes(), data].concat());
        let message = self.channel.seal(self.id, &inner)?;
        let answer = self.connector.exchange(message, self.deadline).await?;
        if let [code::ERROR, _, _, reason, ..] = *answer {
            // Outside the channel: it is the session that the device refuses, not the command.
            let reason = match DeviceError::from_code(reason) {
                DeviceError::AuthenticationFailed => DeviceError::InvalidSession,
                other => other,
            };
            return Err(Error::Device { act, reason });
        }
        let mut answer = self.channel.open(self.id, &answer)?;
        expect(code, &answer, act)?;
        match answer.as_slice() {
            [_, high, low, data @ ..] if data.len() == usize::from(u16::from_be_bytes([*high, *low])) => {}
            _ => return Err(Error::Protocol("its inner length is not what it says")),
        }
        answer.drain(..3);
        Ok(answer)
    }

    /// Gives the session back. That it fails matters to nobody: the device ends it by itself.
    pub(crate) async fn close(mut self) {
        if let Err(error) = self.command(code::CLOSE_SESSION, &[], "close the session").await {
            tracing::debug!(%error, "a session of the device was not closed");
        }
    }

    pub(crate) async fn object_info(&mut self, id: u16, kind: u8) -> Result<ObjectInfo> {
        let [high, low] = id.to_be_bytes();
        let act = "tell of an object";
        let answer = self.command(code::GET_OBJECT_INFO, &[high, low, kind], act).await?;
        let fields = answer.get(..18).and_then(|head| head.split_first_chunk::<8>());
        let Some((capabilities, &[id1, id0, _, _, d1, d0, found, algorithm, sequence, _])) = fields else {
            return Err(Error::Protocol("its description of an object is malformed"));
        };
        if (u16::from_be_bytes([id1, id0]), found) != (id, kind) {
            return Err(Error::Protocol("it describes another object"));
        }
        let capabilities = u64::from_be_bytes(*capabilities);
        let domains = u16::from_be_bytes([d1, d0]);
        Ok(ObjectInfo { capabilities, domains, algorithm, sequence })
    }

    /// The domains of our own authentication key.
    pub(crate) async fn own_domains(&mut self, key: u16) -> Result<u16> {
        Ok(self.object_info(key, AUTHENTICATION_KEY).await?.domains)
    }

    /// The opaque data objects that may describe keys.
    pub(crate) async fn opaque_objects(&mut self) -> Result<Vec<u16>> {
        const FILTER: [u8; 4] = [2, OPAQUE, 5, OPAQUE_DATA];
        self.list(&FILTER).await
    }

    async fn list(&mut self, filter: &[u8]) -> Result<Vec<u16>> {
        let answer = self.command(code::LIST_OBJECTS, filter, "list its objects").await?;
        let (entries, left) = answer.as_chunks::<4>();
        if !left.is_empty() {
            return Err(Error::Protocol("its list of objects is malformed"));
        }
        Ok(entries.iter().map(|[high, low, ..]| u16::from_be_bytes([*high, *low])).collect())
    }

    pub(crate) async fn opaque(&mut self, id: u16) -> Result<Vec<u8>> {
        Ok(self.command(code::GET_OPAQUE, &id.to_be_bytes(), "give an opaque object").await?.to_vec())
    }

    /// Puts the object beside a key that tells its whole label.
    pub(crate) async fn describe(&mut self, target: &Target, domains: u16, label: &str) -> Result<u16> {
        let companion = NewObject {
            label: crate::metadata::device_label(&target.companion_label()),
            domains,
            capabilities: 0,
            algorithm: OPAQUE_DATA,
        };
        let text = target.describe(label).ok_or(Error::Internal("a label is too long"))?;
        let data = [companion.bytes(), text].concat();
        let answer = self.command(code::PUT_OPAQUE, &data, "keep a key's label").await?;
        id_in(&answer)
    }

    pub(crate) async fn public_key(&mut self, id: u16) -> Result<(u8, Vec<u8>)> {
        let answer = self.command(code::GET_PUBLIC_KEY, &id.to_be_bytes(), "give a public key").await?;
        match answer.as_slice() {
            [algorithm, key @ ..] => Ok((*algorithm, key.to_vec())),
            _ => Err(Error::Protocol("its public key is malformed")),
        }
    }

    pub(crate) async fn generate(&mut self, object: &NewObject) -> Result<u16> {
        let answer = self.command(code::GENERATE_ASYMMETRIC_KEY, &object.bytes(), "make a key").await?;
        id_in(&answer)
    }

    pub(crate) async fn put_key(&mut self, object: &NewObject, secret: &[u8]) -> Result<u16> {
        let data = Zeroizing::new([&object.bytes()[..], secret].concat());
        let answer = self.command(code::PUT_ASYMMETRIC_KEY, &data, "take in a key").await?;
        id_in(&answer)
    }

    pub(crate) async fn delete(&mut self, id: u16, kind: u8) -> Result<()> {
        let [high, low] = id.to_be_bytes();
        self.command(code::DELETE_OBJECT, &[high, low, kind], "delete an object").await.map(drop)
    }

    /// The device's own certificate for a key of it, signed by the key that it was made with.
    pub(crate) async fn attest(&mut self, id: u16) -> Result<Vec<u8>> {
        const OWN_KEY: [u8; 2] = [0, 0];
        let data = [id.to_be_bytes(), OWN_KEY].concat();
        Ok(self.command(code::SIGN_ATTESTATION, &data, "attest a key").await?.to_vec())
    }

    pub(crate) async fn export(&mut self, wrap_key: u16, id: u16) -> Result<Vec<u8>> {
        let data = [&wrap_key.to_be_bytes()[..], &[ASYMMETRIC_KEY], &id.to_be_bytes()].concat();
        Ok(self.command(code::EXPORT_WRAPPED, &data, "wrap a key").await?.to_vec())
    }

    /// Kind and id of what came in.
    pub(crate) async fn import(&mut self, wrap_key: u16, wrapped: &[u8]) -> Result<(u8, u16)> {
        let data = [&wrap_key.to_be_bytes()[..], wrapped].concat();
        let answer = self.command(code::IMPORT_WRAPPED, &data, "take in a wrapped key").await?;
        match answer.as_slice() {
            [kind, id @ ..] => Ok((*kind, id_in(id)?)),
            _ => Err(Error::Protocol("it does not say what came in")),
        }
    }

    pub(crate) async fn log(&mut self) -> Result<Drained> {
        log::read(&self.command(code::GET_LOG_ENTRIES, &[], "give its log").await?)
    }

    pub(crate) async fn set_log_index(&mut self, number: u16) -> Result<()> {
        let act = "free its log: the entry to free it up to is not there";
        self.command(code::SET_LOG_INDEX, &number.to_be_bytes(), act).await.map(drop)
    }

    /// Whether the opening of sessions is logged; nothing when we may not know, or the log has no room for the question.
    pub(crate) async fn logs_sessions(&mut self) -> Result<Option<bool>> {
        match self.command(code::GET_OPTION, &[COMMAND_AUDIT], "tell its options").await {
            Ok(options) => {
                let (pairs, _) = options.as_chunks::<2>();
                Ok(Some(pairs.iter().any(|[code, setting]| *code == AUTHENTICATE && *setting != 0)))
            }
            Err(Error::Device {
                reason: DeviceError::InsufficientPermissions | DeviceError::LogFull,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether entries tell of a session that `key` opened.
    pub(crate) fn is_seen(key: u16, entries: &[log::LogEntry]) -> bool {
        entries.iter().any(|entry| {
            (entry.command, entry.target_key, entry.result) == (AUTHENTICATE, key, AUTHENTICATE | 0x80)
        })
    }
}

fn id_in(answer: &[u8]) -> Result<u16> {
    answer
        .try_into()
        .map(u16::from_be_bytes)
        .map_err(|_| Error::Protocol("it does not say which object it made"))
}
