//! Signed checkpoints in the C2SP signed-note format (c2sp.org/signed-note, c2sp.org/tlog-checkpoint).
//!
//! ```text
//! anya.audit/ten_0198…
//! 42
//! q1Kx…=                     base64 of the hash of entry 42
//!
//! — anya.audit Az3grl…=      base64 of key id (4 bytes) and Ed25519 signature (64 bytes)
//! ```
//! The third line is the head of a hash chain, not the root of a Merkle tree, and the origin says so by its name; the
//! framing, the key ids and the signature are those of the specification, so that its tools read and verify them.

use std::{fmt, str::FromStr};

use aws_lc_rs::signature::{ED25519, ParsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Chain, Head};
use crate::canonical::Digest;

/// Name of the key that signs checkpoints.
pub const KEY_NAME: &str = "anya.audit";

/// Signature type byte of Ed25519 notes.
const ED25519_TYPE: u8 = 0x01;

/// Most bytes of a note that is read.
const MAX_NOTE: usize = 4096;

/// What can be wrong with a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It is no signed note, or not one of this log's.
    #[error("not a checkpoint of an Anya audit log: {0}")]
    Format(&'static str),
    /// It has no signature by the given key.
    #[error("not signed by the given key")]
    NoSignature,
    /// The signature does not hold.
    #[error("the signature does not hold")]
    Signature,
    /// The verifier key cannot be read.
    #[error("not a note verifier key (name+id+base64): {0}")]
    Key(&'static str),
}

/// The unsigned statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose log.
    pub chain: Chain,
    /// Where it ends.
    pub head: Head,
}

impl Checkpoint {
    /// The text that is signed: three lines, each ended by a newline.
    pub fn text(&self) -> String {
        format!(
            "{KEY_NAME}/{}\n{}\n{}\n",
            self.chain,
            self.head.size,
            STANDARD.encode(self.head.hash.as_bytes())
        )
    }

    /// The signed note, from the Ed25519 signature over [`Checkpoint::text`].
    pub fn note(&self, key: &VerifierKey, signature: &[u8; 64]) -> String {
        let mut blob = Vec::with_capacity(68);
        blob.extend_from_slice(&key.id);
        blob.extend_from_slice(signature);
        format!("{}\n\u{2014} {} {}\n", self.text(), key.name, STANDARD.encode(blob))
    }

    /// Reads a note and checks its signature by `key`.
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, CheckpointError> {
        if note.len() > MAX_NOTE {
            return Err(CheckpointError::Format("longer than 4096 bytes"));
        }
        let (text, signatures) =
            note.split_once("\n\n").ok_or(CheckpointError::Format("no empty line before the signatures"))?;
        let text = format!("{text}\n");
        let signature = signatures
            .lines()
            .filter_map(|line| line.strip_prefix("\u{2014} "))
            .filter_map(|line| line.split_once(' '))
            .filter(|(name, _)| *name == key.name)
            .filter_map(|(_, blob)| STANDARD.decode(blob).ok())
            .find_map(|blob| match blob.split_first_chunk::<4>() {
                Some((id, signature)) if *id == key.id => <[u8; 64]>::try_from(signature).ok(),
                _ => None,
            })
            .ok_or(CheckpointError::NoSignature)?;
        ParsedPublicKey::new(&ED25519, key.public_key)
            .map_err(|_| CheckpointError::Key("not a point of the curve"))?
            .verify_sig(text.as_bytes(), &signature)
            .map_err(|_| CheckpointError::Signature)?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.lines();
        let (Some(origin), Some(size), Some(hash), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::Format("expected three lines"));
        };
        let chain = origin
            .strip_prefix(KEY_NAME)
            .and_then(|rest| rest.strip_prefix('/'))
            .and_then(|chain| chain.parse().ok())
            .ok_or(CheckpointError::Format("unknown origin"))?;
        let canonical = size.bytes().all(|b| b.is_ascii_digit()) && (size == "0" || !size.starts_with('0'));
        let size = size.parse().ok().filter(|_| canonical).ok_or(CheckpointError::Format("bad size"))?;
        let hash = STANDARD
            .decode(hash)
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .ok_or(CheckpointError::Format("bad hash"))?;
        Ok(Self { chain, head: Head { size, hash: Digest::from_bytes(hash) } })
    }
}

/// The public half of the key that signs checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    public_key: [u8; 32],
}

impl VerifierKey {
    /// The key of that Ed25519 public key under [`KEY_NAME`].
    pub fn new(public_key: [u8; 32]) -> Self {
        Self::named(KEY_NAME.to_owned(), public_key)
    }

    fn named(name: String, public_key: [u8; 32]) -> Self {
        let mut preimage = name.clone().into_bytes();
        preimage.extend_from_slice(&[b'\n', ED25519_TYPE]);
        preimage.extend_from_slice(&public_key);
        let digest = Digest::of_bytes(&preimage);
        let [a, b, c, d, ..] = *digest.as_bytes();
        Self { name, id: [a, b, c, d], public_key }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut typed = vec![ED25519_TYPE];
        typed.extend_from_slice(&self.public_key);
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id), STANDARD.encode(typed))
    }
}

impl FromStr for VerifierKey {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(CheckpointError::Key("expected three parts"));
        };
        let typed = STANDARD.decode(key).map_err(|_| CheckpointError::Key("the key is not base64"))?;
        let public_key = match typed.split_first() {
            Some((&ED25519_TYPE, rest)) => {
                <[u8; 32]>::try_from(rest).map_err(|_| CheckpointError::Key("the key is not 32 bytes"))?
            }
            _ => return Err(CheckpointError::Key("not an ed25519 key")),
        };
        let key = Self::named(name.to_owned(), public_key);
        if hex::encode(key.id) != id {
            return Err(CheckpointError::Key("the id does not belong to the key"));
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    fn signed(head: Head) -> (VerifierKey, Checkpoint, String) {
        let pair = Ed25519KeyPair::generate().unwrap();
        let key = VerifierKey::new(pair.public_key().as_ref().try_into().unwrap());
        let checkpoint = Checkpoint { chain: Chain::Server, head };
        let signature = pair.sign(checkpoint.text().as_bytes());
        let note = checkpoint.note(&key, signature.as_ref().try_into().unwrap());
        (key, checkpoint, note)
    }

    #[test]
    fn a_note_opens_with_its_key_alone() {
        let (key, checkpoint, note) = signed(Head { size: 42, hash: Digest::of_bytes(b"x") });
        assert_eq!(Checkpoint::open(&note, &key), Ok(checkpoint));
        assert_eq!(key.to_string().parse::<VerifierKey>(), Ok(key.clone()));

        let (other, ..) = signed(Head::EMPTY);
        assert_eq!(Checkpoint::open(&note, &other), Err(CheckpointError::NoSignature));
        assert_eq!(
            Checkpoint::open(&note.replace("\n42\n", "\n41\n"), &key),
            Err(CheckpointError::Signature)
        );
    }

    #[test]
    fn a_key_s_id_belongs_to_it() {
        let (key, ..) = signed(Head::EMPTY);
        let (other, ..) = signed(Head::EMPTY);
        let mixed = key.to_string().replace(&hex::encode(key.id), &hex::encode(other.id));
        assert!(matches!(mixed.parse::<VerifierKey>(), Err(CheckpointError::Key(_))));
    }
}
