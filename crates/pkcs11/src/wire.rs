//! What parent and worker say to each other.
//!
//! A frame is its length (four bytes) and its deadline (eight, nanoseconds of the monotonic clock, which both processes
//! share; zero in answers), both little-endian, and a body in postcard's encoding. The first frame is the greeting, with
//! the PIN in it: a PIN in an argument or in the environment would be there for all to read. A greeting that was
//! answered well is followed by a socket for each session, on which calls and answers take turns.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use anya_provider::{Error, KeySpec, MAX_MESSAGE, Residence, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    config::{TokenSelector, UserKind},
    key::KeyRef,
    plan::Plan,
    profile::Profile,
};

/// The largest body: a message and what is authenticated with it, or an answer as long.
pub(crate) const MAX_BODY: usize = 2 * MAX_MESSAGE + (64 << 10);
/// Bytes before the body.
pub(crate) const HEADER: usize = 12;
/// The most sessions of a worker; their sockets are sent in one message.
pub(crate) const MOST_SESSIONS: usize = 64;

/// What a worker is told first.
#[derive(Serialize, Deserialize)]
pub(crate) struct Greeting<'a> {
    pub(crate) provider: &'a str,
    pub(crate) module: &'a str,
    pub(crate) profile: Profile,
    pub(crate) token: TokenSelector,
    pub(crate) user: UserKind,
    pub(crate) pin: &'a str,
    pub(crate) arguments: Option<&'a str>,
    pub(crate) sessions: u16,
}

/// What it answers when it is logged in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) plan: Plan,
    pub(crate) token: String,
}

/// Something to do.
#[derive(Serialize, Deserialize)]
pub(crate) enum Op<'a> {
    Health,
    Generate {
        key: KeyRef,
        make: Make,
    },
    Import {
        key: KeyRef,
        make: Make,
        #[serde(borrow, with = "bytes")]
        secret: &'a [u8],
    },
    ImportPhrase {
        key: KeyRef,
        make: Make,
        phrase: &'a str,
        passphrase: &'a str,
    },
    Sign {
        key: KeyRef,
        #[serde(borrow, with = "bytes")]
        handle: &'a [u8],
        path: Vec<u32>,
        how: How,
        #[serde(borrow, with = "bytes")]
        message: &'a [u8],
    },
    Derive {
        key: KeyRef,
        #[serde(borrow, with = "bytes")]
        handle: &'a [u8],
        path: Vec<u32>,
    },
    Encrypt {
        key: KeyRef,
        #[serde(borrow, with = "bytes")]
        handle: &'a [u8],
        #[serde(borrow, with = "bytes")]
        aad: &'a [u8],
        #[serde(borrow, with = "bytes")]
        plaintext: &'a [u8],
    },
    Decrypt {
        key: KeyRef,
        #[serde(borrow, with = "bytes")]
        handle: &'a [u8],
        #[serde(borrow, with = "bytes")]
        aad: &'a [u8],
        #[serde(borrow, with = "bytes")]
        ciphertext: &'a [u8],
    },
    Destroy {
        key: KeyRef,
        #[serde(borrow, with = "bytes")]
        handle: &'a [u8],
    },
    Inventory,
    Offer {
        key: KeyRef,
        now_ms: u64,
    },
    TransferOut {
        key: KeyRef,
        #[serde(borrow, with = "bytes")]
        handle: &'a [u8],
        #[serde(borrow, with = "bytes")]
        public: &'a [u8],
    },
    TransferIn {
        key: KeyRef,
        make: Make,
        #[serde(borrow, with = "bytes")]
        ticket: &'a [u8],
        #[serde(borrow, with = "bytes")]
        wrapped: &'a [u8],
    },
    Keks,
    RotateKek,
    Rewrap {
        key: KeyRef,
        #[serde(borrow, with = "bytes")]
        handle: &'a [u8],
    },
    RetireKek {
        generation: u32,
    },
    Attest {
        key: KeyRef,
        #[serde(borrow, with = "bytes")]
        handle: &'a [u8],
    },
}

/// How a key is to be made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Make {
    pub(crate) residence: Residence,
    pub(crate) transferable: bool,
}

/// How to sign. The message is a digest of 32 bytes but for `Ed25519` and `Pss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum How {
    Ecdsa,
    Schnorr {
        /// Whether the key is tweaked, and with which root of a script tree.
        tweak: Option<Option<[u8; 32]>>,
    },
    Ed25519,
    Pss,
}

/// What was done.
#[derive(Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    /// In words.
    Words(String),
    Key(Made),
    /// A signature, a ciphertext, a plaintext, a transfer.
    Bytes(#[serde(with = "owned_bytes")] Vec<u8>),
    Derived {
        xpub: Vec<u8>,
        root: [u8; 4],
    },
    /// The device deleted its object; otherwise there was nothing to delete.
    Erased {
        object: bool,
    },
    Held(Vec<Held>),
    Offer {
        public: Vec<u8>,
        ticket: Vec<u8>,
    },
    Keks(Vec<u32>),
    /// A handle sealed anew, or nothing where it is up to date.
    Rewrapped(Option<Vec<u8>>),
    Claims(BTreeMap<String, String>),
}

/// A key that was made.
#[derive(Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) handle: Vec<u8>,
    /// secp256k1: 33 bytes. BIP32: an extended public key, 78 bytes. Ed25519: 32. P-256: 65. RSA: `RSAPublicKey`.
    pub(crate) public: Vec<u8>,
    pub(crate) residence: Residence,
}

/// A key found by its label.
#[derive(Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) key: KeyRef,
    pub(crate) handle: Vec<u8>,
}

/// Why something was not done. Says the same as [`Error`], in a form that crosses between processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    Unavailable(String),
    Credential(String),
    Full(String),
    Unsupported(String),
    /// The field's number in [`FIELDS`], and what is wrong with it.
    Invalid(u8, String),
    WrongSpec(KeySpec),
    Wrong(Wrong),
    Missing,
    NotTransferable,
    HandleDamaged,
    Decrypt,
    Timeout,
    Protection(String),
    Internal,
}

/// What a device got wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wrong {
    SignatureLength,
    PublicKey,
    Attributes,
    Wrap,
}

/// The fields that an answer may find fault with.
pub(crate) const FIELDS: [&str; 8] =
    ["secret", "mnemonic", "mnemonic_passphrase", "path", "message", "ticket", "generation", "public"];

impl Fault {
    pub(crate) fn invalid(field: &str, reason: impl Into<String>) -> Self {
        let number = FIELDS.iter().position(|known| *known == field).unwrap_or(0);
        Self::Invalid(u8::try_from(number).unwrap_or(0), reason.into())
    }

    pub(crate) fn into_error(self, provider: &str) -> Error {
        let provider = provider.to_owned();
        match self {
            Self::Unavailable(reason) => Error::Unavailable { provider, reason },
            Self::Credential(reason) => Error::Credential { provider, reason },
            Self::Full(reason) => Error::Full { provider, reason },
            Self::Unsupported(act) => Error::Unsupported { provider, act },
            Self::Invalid(field, reason) => {
                Error::Invalid { field: FIELDS.get(usize::from(field)).copied().unwrap_or("request"), reason }
            }
            Self::WrongSpec(spec) => Error::WrongSpec { spec, act: "be used in this way" },
            Self::Wrong(what) => Error::WrongAnswer { provider, what: what.words() },
            Self::Missing => Error::Missing(provider),
            Self::NotTransferable => Error::NotTransferable(provider),
            Self::HandleDamaged => Error::HandleDamaged,
            Self::Decrypt => Error::Decrypt,
            Self::Timeout => Error::Timeout(provider),
            Self::Protection(reason) => Error::Protection { what: "lock a seed's memory", reason },
            Self::Internal => Error::Internal("the worker of a PKCS#11 device failed"),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable { reason, .. } => Self::Unavailable(reason),
            Error::Credential { reason, .. } => Self::Credential(reason),
            Error::Full { reason, .. } => Self::Full(reason),
            Error::Unsupported { act, .. } => Self::Unsupported(act),
            Error::Invalid { field, reason } => Self::invalid(field, reason),
            Error::WrongSpec { spec, .. } => Self::WrongSpec(spec),
            Error::Missing(_) => Self::Missing,
            Error::NotTransferable(_) => Self::NotTransferable,
            Error::HandleDamaged => Self::HandleDamaged,
            Error::Decrypt => Self::Decrypt,
            Error::Timeout(_) => Self::Timeout,
            Error::Protection { reason, .. } => Self::Protection(reason),
            _ => Self::Internal,
        }
    }
}

impl Wrong {
    fn words(self) -> &'static str {
        match self {
            Self::SignatureLength => "a signature of a wrong length",
            Self::PublicKey => "a public key that is none, or not the private key's",
            Self::Attributes => "attributes that are not what was asked for",
            Self::Wrap => "a wrapped key that does not unwrap",
        }
    }
}

impl Op<'_> {
    /// What it may be repeated for without harm when a worker dies over it.
    pub(crate) fn is_repeatable(&self) -> bool {
        matches!(
            self,
            Self::Health
                | Self::Sign { .. }
                | Self::Derive { .. }
                | Self::Encrypt { .. }
                | Self::Decrypt { .. }
                | Self::Destroy { .. }
                | Self::Inventory
                | Self::TransferOut { .. }
                | Self::Keks
                | Self::Rewrap { .. }
                | Self::RetireKek { .. }
                | Self::Attest { .. }
        )
    }

    /// How long it may run in a sound device, compared to a signature.
    pub(crate) fn weight(&self) -> Weight {
        match self {
            // Many times as long as on a curve, and on no path where a failover has to be quick.
            Self::Sign { key, .. } if key.spec == KeySpec::Rsa3072 => Weight::Middling,
            Self::Health
            | Self::Sign { .. }
            | Self::Derive { .. }
            | Self::Encrypt { .. }
            | Self::Decrypt { .. }
            | Self::Attest { .. } => Weight::Light,
            Self::Generate { key, .. } | Self::Import { key, .. } if key.spec == KeySpec::Rsa3072 => {
                Weight::Heavy
            }
            // Importing by unwrapping makes an RSA key first.
            Self::Import { .. } | Self::Offer { .. } | Self::TransferIn { .. } | Self::TransferOut { .. } => {
                Weight::Heavy
            }
            _ => Weight::Middling,
        }
    }

    fn hint(&self) -> usize {
        512 + match self {
            Self::Import { secret, .. } => secret.len(),
            Self::ImportPhrase { phrase, passphrase, .. } => phrase.len() + passphrase.len(),
            Self::Sign { handle, message, path, .. } => handle.len() + message.len() + 5 * path.len(),
            Self::Derive { handle, path, .. } => handle.len() + 5 * path.len(),
            Self::Encrypt { handle, aad, plaintext: text, .. }
            | Self::Decrypt { handle, aad, ciphertext: text, .. } => handle.len() + aad.len() + text.len(),
            Self::TransferOut { handle, public, .. } => handle.len() + public.len(),
            Self::TransferIn { ticket, wrapped, .. } => ticket.len() + wrapped.len(),
            Self::Destroy { handle, .. } | Self::Rewrap { handle, .. } | Self::Attest { handle, .. } => {
                handle.len()
            }
            _ => 0,
        }
    }
}

/// See [`Op::weight`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// As long as a signature.
    Light,
    /// A few times as long.
    Middling,
    /// RSA keys are made.
    Heavy,
}

impl Reply {
    /// Overwrites what may be a secret.
    pub(crate) fn wipe(&mut self) {
        if let Self::Bytes(bytes) = self {
            bytes.zeroize();
        }
    }
}

/// A frame with a call.
pub(crate) fn call_frame(deadline: u64, op: &Op<'_>) -> Result<Zeroizing<Vec<u8>>> {
    frame(deadline, op, op.hint())
}

/// A frame with any body; `hint` is how many bytes the body needs, give or take.
pub(crate) fn frame<T: Serialize>(deadline: u64, body: &T, hint: usize) -> Result<Zeroizing<Vec<u8>>> {
    // Never grown in place: what is left behind by that would not be overwritten.
    let mut room = hint;
    loop {
        let mut frame = Zeroizing::new(vec![0; HEADER + room]);
        let (header, space) = frame.split_at_mut(HEADER);
        let length = match postcard::to_slice(body, space) {
            Ok(used) => used.len(),
            Err(postcard::Error::SerializeBufferFull) if room < 2 * MAX_BODY => {
                room *= 2;
                continue;
            }
            Err(_) => return Err(Error::Internal("a message to a worker could not be written")),
        };
        if length > MAX_BODY {
            return Err(Error::invalid("message", "it is too long for a device"));
        }
        let number = u32::try_from(length).map_err(|_| Error::Internal("a length without end"))?;
        header[..4].copy_from_slice(&number.to_le_bytes());
        header[4..].copy_from_slice(&deadline.to_le_bytes());
        frame.truncate(HEADER + length);
        return Ok(frame);
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) length: usize,
    pub(crate) deadline: u64,
}

impl Head {
    /// Reads it, or nothing where fewer bytes are there.
    pub(crate) fn read(bytes: &[u8]) -> io::Result<Option<Self>> {
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
        let Some((deadline, _)) = rest.split_first_chunk::<8>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_BODY {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame of impossible length"));
        }
        Ok(Some(Self { length, deadline: u64::from_le_bytes(*deadline) }))
    }
}

/// Takes whole frames out of a stream of bytes, and overwrites what it has handed out.
pub(crate) struct Intake {
    buffer: Zeroizing<Vec<u8>>,
    start: usize,
    end: usize,
}

impl Intake {
    pub(crate) fn new() -> Self {
        Self { buffer: Zeroizing::new(vec![0; 64 << 10]), start: 0, end: 0 }
    }

    /// The next whole frame that has come in, if there is one; its body is put into `body`.
    pub(crate) fn take(&mut self, body: &mut Zeroizing<Vec<u8>>) -> io::Result<Option<Head>> {
        let Some(head) = Head::read(&self.buffer[self.start..self.end])? else { return Ok(None) };
        let (from, to) = (self.start + HEADER, self.start + HEADER + head.length);
        if self.end < to {
            return Ok(None);
        }
        body.zeroize();
        if body.capacity() > 64 << 10 {
            // Overwriting a large one at every small frame would cost more than the frame.
            *body = Zeroizing::new(Vec::new());
        }
        // A buffer that had to grow would leave its old place behind.
        body.reserve_exact(head.length);
        body.extend_from_slice(&self.buffer[from..to]);
        self.buffer[self.start..to].zeroize();
        self.start = to;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        Ok(Some(head))
    }

    /// Where more bytes can be put.
    pub(crate) fn space(&mut self) -> io::Result<&mut [u8]> {
        let need =
            Head::read(&self.buffer[self.start..self.end])?.map_or(HEADER, |head| HEADER + head.length);
        if self.start + need > self.buffer.len() || self.end == self.buffer.len() {
            let mut buffer = Zeroizing::new(vec![0; need.max(64 << 10)]);
            let held = self.end - self.start;
            buffer[..held].copy_from_slice(&self.buffer[self.start..self.end]);
            (self.buffer, self.start, self.end) = (buffer, 0, held);
        }
        Ok(&mut self.buffer[self.end..])
    }

    /// That `count` bytes have been put there.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end += count;
    }

    /// Waits for the next frame; nothing at the stream's end.
    pub(crate) fn next(
        &mut self,
        mut from: impl Read,
        body: &mut Zeroizing<Vec<u8>>,
    ) -> io::Result<Option<Head>> {
        loop {
            if let Some(head) = self.take(body)? {
                return Ok(Some(head));
            }
            match from.read(self.space()?) {
                Ok(0) => return Ok(None),
                Ok(count) => self.filled(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Nanoseconds of the machine's monotonic clock.
pub(crate) fn monotonic_now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

mod bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'de [u8], D::Error> {
        <&[u8]>::deserialize(deserializer)
    }
}

mod owned_bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        <&[u8]>::deserialize(deserializer).map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole_however_they_come_in() {
        let mut stream = Vec::new();
        let long = vec![7; 200_000];
        for (deadline, message) in [(1, &b"short"[..]), (2, &long), (3, b"")] {
            let op = Op::Encrypt {
                key: KeyRef { tenant: [0; 16], key: [0; 16], version: 1, spec: KeySpec::Aes256 },
                handle: b"h",
                aad: b"",
                plaintext: message,
            };
            stream.extend_from_slice(&call_frame(deadline, &op).unwrap());
        }
        for step in [1, 7, 4096, 1 << 20] {
            let (mut intake, mut body) = (Intake::new(), Zeroizing::new(Vec::new()));
            let mut got = Vec::new();
            let mut chunks = stream.chunks(step).flat_map(|chunk| {
                let mut rest = chunk;
                std::iter::from_fn(move || (!rest.is_empty()).then(|| std::mem::take(&mut rest)))
            });
            let mut left: &[u8] = &[];
            loop {
                while let Some(head) = intake.take(&mut body).unwrap() {
                    let Op::Encrypt { plaintext, .. } = postcard::from_bytes(&body).unwrap() else {
                        panic!()
                    };
                    got.push((head.deadline, plaintext.len()));
                }
                if left.is_empty() {
                    match chunks.next() {
                        Some(chunk) => left = chunk,
                        None => break,
                    }
                }
                let space = intake.space().unwrap();
                let count = space.len().min(left.len());
                space[..count].copy_from_slice(&left[..count]);
                intake.filled(count);
                left = &left[count..];
            }
            assert_eq!(got, [(1, 5), (2, 200_000), (3, 0)]);
        }
    }

    #[test]
    fn an_impossible_length_is_refused_before_memory_is_taken_for_it() {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Head::read(&header).is_err());
    }
}
