//! The device: what it remembers, who speaks with it, and what it answers to a message.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    attestation::Identity,
    channel::{Channel, SHORT},
    codes::{DeviceError, Reader, algorithm, capability, command, kind, origin},
    keys::random,
    log::{CAPACITY, Event, Log, LogEntry},
    object::Object,
};

/// Major, minor, patch: the last line of firmware before 2.4, whose larger messages are not simulated.
pub(crate) const FIRMWARE: [u8; 3] = [2, 3, 2];
pub(crate) const SESSIONS: usize = 16;
pub(crate) const OBJECTS: usize = 256;
pub(crate) const PAGES: usize = 1024;

/// The key `password` by PBKDF2-HMAC-SHA-256, salt `Yubico`, 10,000 rounds, with which devices are delivered.
const DEFAULT_KEY: [u8; 32] = [
    0x09, 0x0b, 0x47, 0xdb, 0xed, 0x59, 0x56, 0x54, 0x90, 0x1d, 0xee, 0x1c, 0xc6, 0x55, 0xe4, 0x20, 0x59,
    0x2f, 0xd4, 0x83, 0xf7, 0x59, 0xe2, 0x99, 0x09, 0xa0, 0x4c, 0x45, 0x05, 0xd2, 0xce, 0x0a,
];

/// What survives a restart.
#[derive(Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) serial: u32,
    pub(crate) objects: Vec<Object>,
    /// How often an object of this kind and id has existed.
    pub(crate) sequences: Vec<(u8, u16, u8)>,
    pub(crate) log: Log,
    identity: Option<Identity>,
}

impl Memory {
    fn new(serial: u32, identity: Option<Identity>) -> Result<Self, DeviceError> {
        let mut seed = [0; 16];
        seed.copy_from_slice(&random(16)?);
        let default = Object {
            id: 1,
            kind: kind::AUTHENTICATION_KEY,
            algorithm: algorithm::YUBICO_AUTHENTICATION,
            domains: u16::MAX,
            capabilities: capability::EVERY,
            delegated: capability::EVERY,
            label: {
                let mut label = b"DEFAULT AUTHKEY CHANGE THIS ASAP".to_vec();
                label.resize(crate::object::LABEL, 0);
                label
            },
            sequence: 0,
            origin: origin::IMPORTED,
            secret: DEFAULT_KEY.to_vec(),
        };
        Ok(Self { serial, objects: vec![default], sequences: Vec::new(), log: Log::new(seed), identity })
    }
}

/// Who speaks: what the session's authentication key allowed when the session was opened.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) key: u16,
    pub(crate) domains: u16,
    pub(crate) capabilities: u64,
    pub(crate) delegated: u64,
}

struct Session {
    caller: Caller,
    channel: Channel,
    open: bool,
    used: Instant,
}

type LogLie = Box<dyn FnMut(&mut Vec<LogEntry>) + Send>;

/// What the caller of [`Device::answer`] chose to have answered in another way.
#[derive(Default)]
pub(crate) struct Lies {
    /// Signatures come out with one bit turned.
    pub(crate) spoil_signatures: bool,
    /// The serial number in attestation certificates.
    pub(crate) serial: Option<u32>,
    /// What GET LOG ENTRIES shows.
    pub(crate) log: Option<LogLie>,
}

/// A device that is switched on.
pub(crate) struct Device {
    pub(crate) memory: Memory,
    pub(crate) lies: Lies,
    sessions: [Option<Session>; SESSIONS],
    idle_expiry: Duration,
    started: Instant,
    file: Option<PathBuf>,
    /// The last command that a session carried out: what its time is judged by.
    pub(crate) last_command: u8,
}

impl Device {
    /// A device with the memory that `file` holds, or a new one.
    pub(crate) fn start(serial: u32, idle_expiry: Duration, file: Option<PathBuf>) -> io::Result<Self> {
        let stored = match file.as_deref().map(std::fs::read) {
            Some(Ok(bytes)) => Some(serde_json::from_slice(&bytes)?),
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => None,
        };
        let memory = match stored {
            Some(memory) => {
                let mut memory: Memory = memory;
                memory.log.boot();
                memory
            }
            None => Memory::new(serial, None).map_err(|_| io::Error::other("no random bytes"))?,
        };
        let device = Self {
            memory,
            lies: Lies::default(),
            sessions: [const { None }; SESSIONS],
            idle_expiry,
            started: Instant::now(),
            file,
            last_command: 0,
        };
        device.save()?;
        Ok(device)
    }

    /// Takes the power away and gives it back.
    pub(crate) fn power_cycle(&mut self) {
        self.lose_sessions();
        self.started = Instant::now();
        self.memory.log.boot();
    }

    pub(crate) fn open_sessions(&self) -> usize {
        self.sessions.iter().flatten().count()
    }

    pub(crate) fn lose_sessions(&mut self) {
        self.sessions = [const { None }; SESSIONS];
    }

    pub(crate) fn identity(&mut self) -> Result<&Identity, DeviceError> {
        if self.memory.identity.is_none() {
            self.memory.identity = Some(Identity::new(self.memory.serial)?);
            self.save().map_err(|_| DeviceError::StorageFailed)?;
        }
        self.memory.identity.as_ref().ok_or(DeviceError::StorageFailed)
    }

    /// Writes the memory to its file, whole or not at all.
    pub(crate) fn save(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let beside: &Path = &file.with_extension("new");
        std::fs::write(beside, serde_json::to_vec(&self.memory)?)?;
        std::fs::rename(beside, file)
    }

    /// Carries out one message of the connector and gives the message that answers it.
    pub(crate) fn answer(&mut self, message: &[u8]) -> Vec<u8> {
        self.expire();
        self.respond(message).unwrap_or_else(|error| vec![command::ERROR, 0, 1, error as u8])
    }

    fn respond(&mut self, message: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let mut reader = Reader(message);
        let (code, length) = (reader.u8()?, reader.u16()?);
        let data = reader.rest();
        if data.len() != usize::from(length) {
            return Err(DeviceError::WrongLength);
        }
        self.last_command = code;
        match code {
            command::ECHO => Ok(packed(code, data)),
            command::DEVICE_INFO => Ok(packed(code, &self.device_info(data)?)),
            command::CREATE_SESSION => {
                let (answer, key) = self.create_session(data)?;
                self.record(code, length, u16::MAX, (key, u16::MAX), code | 0x80);
                self.saved(packed(code, &answer))
            }
            command::AUTHENTICATE_SESSION => {
                let (session, key, good) = self.authenticate(message)?;
                let result = if good { code | 0x80 } else { DeviceError::AuthenticationFailed as u8 };
                self.record(code, length, u16::MAX, (key, u16::MAX), result);
                if !good {
                    self.sessions[session] = None;
                    return Err(DeviceError::AuthenticationFailed);
                }
                self.saved(packed(code, &[]))
            }
            command::SESSION_MESSAGE => self.session_message(message),
            _ => Err(DeviceError::InvalidCommand),
        }
    }

    fn saved(&self, answer: Vec<u8>) -> Result<Vec<u8>, DeviceError> {
        self.save().map_err(|_| DeviceError::StorageFailed)?;
        Ok(answer)
    }

    fn expire(&mut self) {
        for slot in &mut self.sessions {
            if slot.as_ref().is_some_and(|session| session.used.elapsed() >= self.idle_expiry) {
                *slot = None;
            }
        }
    }

    pub(crate) fn device_info(&self, data: &[u8]) -> Result<Vec<u8>, DeviceError> {
        Reader(data).end()?;
        let mut out = FIRMWARE.to_vec();
        out.extend(self.memory.serial.to_be_bytes());
        out.push(u8::try_from(CAPACITY).unwrap_or(u8::MAX));
        out.push(u8::try_from(self.memory.log.used()).unwrap_or(u8::MAX));
        out.extend(algorithm::ALL);
        Ok(out)
    }

    fn create_session(&mut self, data: &[u8]) -> Result<(Vec<u8>, u16), DeviceError> {
        let mut reader = Reader(data);
        let (id, host_challenge) = (reader.u16()?, reader.array::<SHORT>()?);
        reader.end()?;
        let key = self.memory.objects.iter().find(|key| (key.kind, key.id) == (kind::AUTHENTICATION_KEY, id));
        let key = key.ok_or(DeviceError::ObjectNotFound)?;
        let secret = key.secret.as_slice().try_into().map_err(|_| DeviceError::StorageFailed)?;
        let slot = self.sessions.iter().position(Option::is_none).ok_or(DeviceError::SessionsFull)?;
        let mut card_challenge = [0; SHORT];
        card_challenge.copy_from_slice(&random(SHORT)?);
        let channel = Channel::new(secret, host_challenge, card_challenge);
        let mut answer = vec![u8::try_from(slot).map_err(|_| DeviceError::SessionsFull)?];
        answer.extend(card_challenge);
        answer.extend(channel.card_cryptogram());
        let caller = Caller {
            key: id,
            domains: key.domains,
            capabilities: key.capabilities,
            delegated: key.delegated,
        };
        self.sessions[slot] = Some(Session { caller, channel, open: false, used: Instant::now() });
        Ok((answer, id))
    }

    /// The session's slot, its key, and whether the host proved that it holds the key.
    fn authenticate(&mut self, message: &[u8]) -> Result<(usize, u16, bool), DeviceError> {
        let (head, data, tag) = dissect(message)?;
        let slot = usize::from(head[3]);
        let session = self.sessions.get_mut(slot).and_then(Option::as_mut);
        let session = session.filter(|session| !session.open).ok_or(DeviceError::InvalidSession)?;
        session.used = Instant::now();
        let good = data == session.channel.host_cryptogram() && session.channel.accept(head, data, tag);
        if good {
            session.open = true;
            session.channel.authenticated();
        }
        Ok((slot, session.caller.key, good))
    }

    fn session_message(&mut self, message: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let (head, data, tag) = dissect(message)?;
        let slot = usize::from(head[3]);
        let session = self.sessions.get_mut(slot).and_then(Option::as_mut);
        let session = session.filter(|session| session.open).ok_or(DeviceError::InvalidSession)?;
        let plain = session.channel.accept(head, data, tag).then(|| session.channel.decrypt(data)).flatten();
        let Some(plain) = plain else {
            self.sessions[slot] = None;
            return Err(DeviceError::AuthenticationFailed);
        };
        session.used = Instant::now();
        let caller = session.caller;
        let mut reader = Reader(&plain);
        let (code, length) = (reader.u8()?, reader.u16()?);
        let inner = reader.rest();
        self.last_command = code;

        let outcome = if inner.len() == usize::from(length) {
            self.carry_out(&caller, code, inner)
        } else {
            Err(DeviceError::WrongLength)
        };
        let answer = match &outcome {
            Ok(answer) => packed(code, answer),
            Err(error) => vec![command::ERROR, 0, 1, *error as u8],
        };
        let session = self.sessions.get_mut(slot).and_then(Option::as_mut);
        let sealed = session
            .map(|session| session.channel.seal(head[3], &answer))
            .ok_or(DeviceError::InvalidSession)?;
        if outcome.is_ok() {
            match code {
                command::CLOSE_SESSION => self.sessions[slot] = None,
                command::RESET_DEVICE => self.reset()?,
                _ => {}
            }
        }
        self.saved(sealed)
    }

    /// Runs a command that a session sent, and records it.
    fn carry_out(&mut self, caller: &Caller, code: u8, data: &[u8]) -> Result<Vec<u8>, DeviceError> {
        if !self.memory.log.admits(code) {
            return Err(DeviceError::LogFull);
        }
        let outcome = self.execute(caller, code, data);
        let subjects = subjects(code, data, outcome.as_deref().unwrap_or_default());
        let result = match &outcome {
            Ok(_) => code | 0x80,
            Err(error) => *error as u8,
        };
        let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
        self.record(code, length, caller.key, subjects, result);
        outcome
    }

    fn record(
        &mut self,
        command: u8,
        length: u16,
        session_key: u16,
        (target_key, second_key): (u16, u16),
        result: u8,
    ) {
        let tick = u32::try_from(self.started.elapsed().as_millis()).unwrap_or(u32::MAX);
        self.memory.log.record(Event { command, length, session_key, target_key, second_key, result, tick });
    }

    fn reset(&mut self) -> Result<(), DeviceError> {
        self.memory = Memory::new(self.memory.serial, self.memory.identity.take())?;
        self.lose_sessions();
        self.started = Instant::now();
        Ok(())
    }
}

/// A message: the command or answer, the length, the data.
fn packed(code: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[code | 0x80], &length[..], data].concat()
}

type Dissected<'a> = ([u8; 4], &'a [u8], &'a [u8]);

/// Header with session id, data, and MAC of a message that has them.
fn dissect(message: &[u8]) -> Result<Dissected<'_>, DeviceError> {
    let mut reader = Reader(message);
    let head = reader.array()?;
    let body = reader.rest();
    let (data, tag) = body
        .split_at_checked(body.len().checked_sub(SHORT).ok_or(DeviceError::WrongLength)?)
        .ok_or(DeviceError::WrongLength)?;
    Ok((head, data, tag))
}

/// The objects that a command is about, as the log names them. Yubico does not publish which stands first for wrapped
/// objects; here it is the wrap key, as in its example of IMPORT WRAPPED.
fn subjects(code: u8, data: &[u8], answer: &[u8]) -> (u16, u16) {
    let id = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 2).map_or(u16::MAX, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    match code {
        command::PUT_OPAQUE
        | command::PUT_AUTHENTICATION_KEY
        | command::PUT_ASYMMETRIC_KEY
        | command::GENERATE_ASYMMETRIC_KEY
        | command::PUT_WRAP_KEY
        | command::PUT_HMAC_KEY
        | command::GENERATE_HMAC_KEY
        | command::GENERATE_WRAP_KEY => {
            (if answer.is_empty() { id(data, 0) } else { id(answer, 0) }, u16::MAX)
        }
        command::EXPORT_WRAPPED => (id(data, 0), id(data, 3)),
        command::IMPORT_WRAPPED => (id(data, 0), id(answer, 1)),
        command::SIGN_ATTESTATION => (id(data, 0), id(data, 2)),
        command::GET_OPAQUE
        | command::SIGN_PKCS1
        | command::GET_OBJECT_INFO
        | command::SIGN_HMAC
        | command::GET_PUBLIC_KEY
        | command::SIGN_PSS
        | command::SIGN_ECDSA
        | command::DERIVE_ECDH
        | command::DELETE_OBJECT
        | command::VERIFY_HMAC
        | command::WRAP_DATA
        | command::UNWRAP_DATA
        | command::SIGN_EDDSA
        | command::CHANGE_AUTHENTICATION_KEY => (id(data, 0), u16::MAX),
        _ => (u16::MAX, u16::MAX),
    }
}
