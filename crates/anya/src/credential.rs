//! An operator's signing credential: an Ed25519 key in a file of the operator's own.
//!
//! The file is JSON. Its seed is sealed with AES-256-GCM under a key that Argon2id (RFC 9106) makes of a passphrase, with
//! the public key as associated data; or it stands there plainly, for machines that guard the file by other means. The
//! server never sees it.

use std::path::Path;

use anya_api::{
    ballot::{Ballot, SignedBallot},
    people::Operator,
};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
    signature::{Ed25519KeyPair, KeyPair},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    error::{Error, Result},
    private_file,
};

const FORMAT: &str = "anya-operator-credential";
const VERSION: u32 = 1;
const DOMAIN: &str = "anya/operator-credential/v1\n";

/// Most bytes of a credential file.
const MAX_FILE: u64 = 16 * 1024;

/// The fewest characters of a passphrase, as for the keystore.
const MIN_PASSPHRASE: usize = 8;

/// 64 MiB and three passes: a fifth of a second for the operator, and a guess costs an attacker as much.
const COST: Cost = Cost { memory_kib: 64 * 1024, passes: 3, lanes: 1 };

/// The most that a file may ask for: it is read before anything in it can be authenticated.
const MAX_COST: Cost = Cost { memory_kib: 1024 * 1024, passes: 64, lanes: 16 };

/// A credential file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credential {
    format: String,
    version: u32,
    /// Whose it is, in the words of who made it.
    pub(crate) name: String,
    /// The Ed25519 public key in hexadecimal.
    pub(crate) public_key: String,
    secret: Secret,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Secret {
    Plain { seed: Zeroizing<String> },
    Sealed { argon2id: Cost, salt: String, sealed: String },
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain { .. } => "Plain",
            Self::Sealed { .. } => "Sealed",
        })
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Credential {
    /// Makes a new one, sealed when there is a passphrase.
    pub(crate) fn generate(name: String, passphrase: Option<&SecretString>) -> Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        rand::fill(seed.as_mut()).map_err(|_| Error::Invalid("the random generator failed".into()))?;
        let key = key_of(&seed)?;
        let public_key = hex::encode(key.public_key().as_ref());
        let secret = match passphrase {
            None => Secret::Plain { seed: Zeroizing::new(hex::encode(*seed)) },
            Some(passphrase) => seal(&seed, &public_key, passphrase)?,
        };
        Ok(Self { format: FORMAT.into(), version: VERSION, name, public_key, secret })
    }

    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bad = |what: &str| Error::Invalid(format!("{}: {what}", path.display()));
        let metadata = std::fs::metadata(path).map_err(Error::file("read", path))?;
        if metadata.len() > MAX_FILE {
            return Err(bad("is too long for an operator's credential"));
        }
        let text = Zeroizing::new(std::fs::read(path).map_err(Error::file("read", path))?);
        let credential: Self = serde_json::from_slice(&text)
            .map_err(|_| bad("is not an operator's credential; `anya operator keygen` makes one"))?;
        if credential.format != FORMAT || credential.version != VERSION {
            return Err(bad("is of a format or version that this build does not know"));
        }
        Ok(credential)
    }

    /// Writes it to a new file that only its owner may read.
    pub(crate) fn create(&self, path: &Path) -> Result<()> {
        let mut text = Zeroizing::new(
            serde_json::to_vec_pretty(self)
                .map_err(|_| Error::Invalid("the credential cannot be written as JSON".into()))?,
        );
        text.push(b'\n');
        private_file::create(path, &text)
    }

    /// Whether a passphrase is needed.
    pub(crate) fn is_sealed(&self) -> bool {
        matches!(self.secret, Secret::Sealed { .. })
    }

    /// Whether this is the credential that the server knows `operator` by.
    pub(crate) fn belongs_to(&self, operator: &Operator) -> bool {
        operator.public_key == self.public_key
    }

    /// Signs a ballot. `passphrase` is needed for a sealed credential.
    pub(crate) fn sign(&self, ballot: Ballot, passphrase: Option<&SecretString>) -> Result<SignedBallot> {
        let damaged =
            || Error::Invalid("the credential is damaged: its seed is not of its public key".into());
        let key = key_of(&*self.open(passphrase)?)?;
        if hex::encode(key.public_key().as_ref()) != self.public_key {
            return Err(damaged());
        }
        let signed = ballot.sign(&key).map_err(|error| Error::Invalid(error.to_string()))?;
        signed.verify(&self.public_key).map_err(|_| damaged())?;
        Ok(signed)
    }

    fn open(&self, passphrase: Option<&SecretString>) -> Result<Zeroizing<[u8; 32]>> {
        let mut seed = Zeroizing::new([0; 32]);
        let damaged = || Error::Invalid("the credential is damaged: its secret cannot be read".into());
        match &self.secret {
            Secret::Plain { seed: digits } => {
                hex::decode_to_slice(digits.as_str(), seed.as_mut()).map_err(|_| damaged())?;
            }
            Secret::Sealed { argon2id, salt, sealed } => {
                let passphrase = passphrase.ok_or_else(|| {
                    Error::Invalid("the credential is sealed: its passphrase is needed".into())
                })?;
                let (salt, sealed) = (hex::decode(salt), hex::decode(sealed));
                let (salt, sealed) = (salt.map_err(|_| damaged())?, sealed.map_err(|_| damaged())?);
                let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or_else(damaged)?;
                let key = sealing_key(passphrase, &salt, *argon2id)?;
                let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
                let mut text = Zeroizing::new(text.to_vec());
                let opened =
                    key.open_in_place(nonce, associated_data(&self.public_key), &mut text).map_err(|_| {
                        Error::Invalid("wrong passphrase for the credential, or it was altered".into())
                    })?;
                *seed = (&*opened).try_into().map_err(|_| damaged())?;
            }
        }
        Ok(seed)
    }
}

fn key_of(seed: &[u8; 32]) -> Result<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(seed)
        .map_err(|_| Error::Invalid("the credential is damaged: its seed gives no key".into()))
}

fn seal(seed: &[u8; 32], public_key: &str, passphrase: &SecretString) -> Result<Secret> {
    if passphrase.expose_secret().chars().count() < MIN_PASSPHRASE {
        let message = format!("the passphrase is too short: use at least {MIN_PASSPHRASE} characters");
        return Err(Error::Invalid(message));
    }
    let failed = |_| Error::Invalid("the credential could not be sealed".into());
    let (mut salt, mut nonce) = ([0; 16], [0; NONCE_LEN]);
    rand::fill(&mut salt).and_then(|()| rand::fill(&mut nonce)).map_err(failed)?;
    let key = sealing_key(passphrase, &salt, COST)?;
    // At its full length from the start, so that no reallocation leaves the seed behind.
    let mut text = Vec::with_capacity(seed.len() + 16);
    text.extend_from_slice(seed);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), associated_data(public_key), &mut text)
        .map_err(failed)?;
    let sealed = hex::encode([nonce.as_slice(), &text].concat());
    Ok(Secret::Sealed { argon2id: COST, salt: hex::encode(salt), sealed })
}

fn associated_data(public_key: &str) -> Aad<Vec<u8>> {
    Aad::from([DOMAIN.as_bytes(), public_key.as_bytes()].concat())
}

fn sealing_key(passphrase: &SecretString, salt: &[u8], cost: Cost) -> Result<LessSafeKey> {
    let bearable = cost.memory_kib <= MAX_COST.memory_kib
        && cost.passes <= MAX_COST.passes
        && cost.lanes <= MAX_COST.lanes;
    let unfit = || Error::Invalid("the credential asks for a key derivation that is out of bounds".into());
    if !bearable {
        return Err(unfit());
    }
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(|_| unfit())?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose_secret().as_bytes(), salt, key.as_mut())
        .map_err(|_| unfit())?;
    UnboundKey::new(&AES_256_GCM, key.as_ref()).map(LessSafeKey::new).map_err(|_| unfit())
}

#[cfg(test)]
mod tests {
    use anya_api::{Digest, ballot::Decision};
    use anya_primitives::{OperationId, OperatorId, Timestamp};

    use super::*;

    fn ballot() -> Ballot {
        Ballot {
            version: Ballot::VERSION,
            operation: OperationId::new(),
            intent: Digest::of_bytes(b"intent"),
            operator: OperatorId::new(),
            decision: Decision::Approve,
            signed_at: Timestamp::from_millis(0).unwrap(),
        }
    }

    fn passphrase(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    #[test]
    fn a_sealed_credential_signs_with_its_passphrase_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alice.json");
        let right = passphrase("correct horse");
        Credential::generate("alice".into(), Some(&right)).unwrap().create(&path).unwrap();
        let credential = Credential::read(&path).unwrap();
        assert!(credential.is_sealed());
        let signed = credential.sign(ballot(), Some(&right)).unwrap();
        assert_eq!(signed.verify(&credential.public_key), Ok(()));
        let wrong = credential.sign(ballot(), Some(&passphrase("wrong horse"))).unwrap_err();
        assert!(wrong.to_string().contains("wrong passphrase"), "{wrong}");
        assert!(credential.sign(ballot(), None).is_err());
        assert!(credential.create(&path).is_err(), "an existing file is never replaced");
    }

    #[test]
    fn a_seed_under_another_public_key_signs_nothing() {
        let right = passphrase("correct horse");
        let mut sealed = Credential::generate("a".into(), Some(&right)).unwrap();
        let mut plain = Credential::generate("b".into(), None).unwrap();
        std::mem::swap(&mut sealed.public_key, &mut plain.public_key);
        assert!(sealed.sign(ballot(), Some(&right)).is_err());
        assert!(plain.sign(ballot(), None).unwrap_err().to_string().contains("not of its public key"));
    }

    #[test]
    fn short_passphrases_and_endless_derivations_are_refused() {
        assert!(Credential::generate("a".into(), Some(&passphrase("1234567"))).is_err());
        let cost = Cost { memory_kib: u32::MAX, ..COST };
        assert!(sealing_key(&passphrase("correct horse"), &[0; 16], cost).is_err());
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let plain = Credential::generate("a".into(), None).unwrap();
        let Secret::Plain { seed } = &plain.secret else { panic!() };
        assert!(!format!("{plain:?}").contains(seed.as_str()));
    }
}
