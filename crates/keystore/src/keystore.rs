//! `keystore.json`: the generations of the root key, sealed together under a passphrase.
//!
//! Version 2 seals all generations as one text, so that none can be taken out or put in; the list of their numbers
//! beside it is for readers without the passphrase, and must be the one that was sealed. Version 1 held one root key:
//! generation 1. It is read, and written as version 2 when the file is next written.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::{
    aead::{self, KEY, OVERHEAD, fill_random},
    kdf::{self, KdfCost},
    root::{RECORD, Roots, are_generations},
};
use anya_provider::{Error, Result};

const FORMAT: &str = "anya-keystore";
const VERSION: u32 = 2;

/// Everything of the file but the sealed keys and their numbers. All of it is authenticated by the seal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
    kdf: Kdf,
    cipher: Cipher,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    algorithm: KdfAlgorithm,
    cost: KdfCost,
    #[serde(with = "hex")]
    salt: [u8; 16],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum KdfAlgorithm {
    #[serde(rename = "argon2id-v19")]
    Argon2id,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Cipher {
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
}

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keystore {
    header: Header,
    /// The numbers of the generations, oldest first; absent from version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generations: Option<Vec<u32>>,
    /// Nonce, ciphertext, tag. Sealed is, newest first, each generation's key (32 bytes) and number (4, big-endian); in
    /// version 1 the key alone.
    #[serde(with = "hex")]
    sealed_root: Vec<u8>,
    /// SHA-256 of header, numbers (4 bytes each, big-endian) and sealed keys. It tells a damaged file from a wrong
    /// passphrase; it protects nothing.
    #[serde(with = "hex")]
    checksum: [u8; 32],
}

#[derive(Deserialize)]
struct AnyVersion {
    header: VersionOnly,
}

#[derive(Deserialize)]
struct VersionOnly {
    format: String,
    version: u32,
}

impl Header {
    fn aad(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|_| Error::Internal("the keystore header cannot be written"))
    }
}

impl Keystore {
    /// The root keys sealed under `passphrase`, with a salt of their own.
    pub(crate) fn seal(roots: &Roots, passphrase: &[u8], cost: KdfCost) -> Result<Self> {
        let mut salt = [0; 16];
        fill_random(&mut salt)?;
        let kdf = Kdf { algorithm: KdfAlgorithm::Argon2id, cost, salt };
        let header = Header { format: FORMAT.to_owned(), version: VERSION, kdf, cipher: Cipher::Aes256Gcm };
        let aad = header.aad()?;
        let key = kdf::derive(passphrase, &salt, &cost)?;
        let records = roots.records()?;
        let sealed_root = aead::seal(&key, &aad, &records)?;
        // A file that does not open again would take every key with it: it is never put in the place of one that does.
        match aead::open(&key, &aad, &sealed_root) {
            Some(again) if again == records => (),
            _ => return Err(Error::Internal("the sealed root keys do not open again")),
        }
        let generations = Some(roots.generations().to_vec());
        let mut keystore = Self { header, generations, sealed_root, checksum: [0; 32] };
        keystore.checksum = keystore.sum()?;
        Ok(keystore)
    }

    /// The root keys, if this is the passphrase of the file, which was read from `path`.
    pub(crate) fn open(&self, path: &Path, passphrase: &[u8]) -> Result<Roots> {
        let key = kdf::derive(passphrase, &self.header.kdf.salt, &self.header.kdf.cost)?;
        let records =
            aead::open(&key, &self.header.aad()?, &self.sealed_root).ok_or(Error::WrongPassphrase)?;
        match &self.generations {
            None => Roots::single(&records)?,
            Some(numbers) => {
                Roots::from_records(&records)?.filter(|roots| roots.generations() == numbers.as_slice())
            }
        }
        .ok_or_else(|| Error::KeystoreDamaged {
            path: path.to_owned(),
            reason: "its list of generations is not the one that was sealed",
        })
    }

    /// What a guess at its passphrase costs.
    pub(crate) fn cost(&self) -> KdfCost {
        self.header.kdf.cost
    }

    /// The generations that the file says it holds, oldest first. Nothing vouches for it until it was opened.
    pub(crate) fn generations(&self) -> &[u32] {
        self.generations.as_deref().unwrap_or(&[1])
    }

    fn sum(&self) -> Result<[u8; 32]> {
        let mut text = self.header.aad()?;
        for number in self.generations.iter().flatten() {
            text.extend_from_slice(&number.to_be_bytes());
        }
        text.extend_from_slice(&self.sealed_root);
        digest(&SHA256, &text)
            .as_ref()
            .try_into()
            .map_err(|_| Error::Internal("a SHA-256 digest is not 32 bytes"))
    }

    /// The file as text.
    pub(crate) fn to_text(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|_| Error::Internal("the keystore cannot be written as JSON"))?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads the text of the file at `path`, and checks it as far as that goes without the passphrase.
    pub(crate) fn parse(path: &Path, text: &[u8]) -> Result<Self> {
        let damaged = |reason| Error::KeystoreDamaged { path: path.to_owned(), reason };
        if text.is_empty() {
            return Err(damaged("it is empty"));
        }
        let probe: AnyVersion =
            serde_json::from_slice(text).map_err(|_| damaged("it is not a keystore's JSON"))?;
        if probe.header.format != FORMAT {
            return Err(damaged("its format is not anya-keystore"));
        }
        if probe.header.version > VERSION {
            return Err(Error::KeystoreVersion { path: path.to_owned(), version: probe.header.version });
        }
        let keystore: Self =
            serde_json::from_slice(text).map_err(|_| damaged("a field is missing, unknown or malformed"))?;
        let length = match (keystore.header.version, &keystore.generations) {
            (1, None) => KEY,
            (2, Some(numbers)) if are_generations(numbers) => numbers.len() * RECORD,
            (2, _) => return Err(damaged("its list of generations cannot be one")),
            _ => return Err(damaged("its version never existed")),
        };
        if keystore.sealed_root.len() != length + OVERHEAD {
            return Err(damaged("the sealed key is cut short"));
        }
        if !keystore.header.kdf.cost.is_bearable() {
            return Err(damaged("its key derivation cost is out of bounds"));
        }
        if keystore.sum()? != keystore.checksum {
            return Err(damaged("its checksum does not match"));
        }
        Ok(keystore)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost() -> KdfCost {
        KdfCost::insecure_for_tests()
    }

    /// Today every field of the header is also checked or used otherwise; a later version may add one that is not.
    #[test]
    fn the_seal_covers_the_header() {
        let roots = Roots::first().unwrap();
        let good = Keystore::seal(&roots, b"passphrase", cost()).unwrap();
        assert_eq!(good.open(Path::new("k"), b"passphrase").unwrap().key(1).unwrap(), roots.key(1).unwrap());
        let mut bad = good.clone();
        bad.header.version = 0;
        assert!(matches!(bad.open(Path::new("k"), b"passphrase"), Err(Error::WrongPassphrase)));
        let mut bad = good;
        bad.header.format.push('2');
        assert!(matches!(bad.open(Path::new("k"), b"passphrase"), Err(Error::WrongPassphrase)));
    }

    /// Whoever alters the list and mends the checksum is still found out.
    #[test]
    fn the_list_is_the_one_that_was_sealed() {
        let roots = Roots::first().unwrap().with_next().unwrap().unwrap();
        let good = Keystore::seal(&roots, b"passphrase", cost()).unwrap();
        assert_eq!(good.generations(), [1, 2]);
        let mut bad = good.clone();
        bad.generations = Some(vec![1, 3]);
        bad.checksum = bad.sum().unwrap();
        let bad = Keystore::parse(Path::new("k"), &bad.to_text().unwrap()).unwrap();
        assert!(matches!(bad.open(Path::new("k"), b"passphrase"), Err(Error::KeystoreDamaged { .. })));
        for numbers in [vec![], vec![2], vec![0, 1], vec![2, 1], vec![1, 1], vec![1, 2, 3]] {
            let mut bad = good.clone();
            bad.generations = Some(numbers);
            bad.checksum = bad.sum().unwrap();
            let read = Keystore::parse(Path::new("k"), &bad.to_text().unwrap());
            assert!(matches!(read, Err(Error::KeystoreDamaged { .. })), "{:?}", bad.generations);
        }
    }

    // Written by the first release: `SoftwareProvider::init` with the passphrase below.
    #[test]
    fn version_1_is_read() {
        let text = include_bytes!("../tests/data/keystore-v1.json");
        let keystore = Keystore::parse(Path::new("k"), text).unwrap();
        assert_eq!(keystore.generations(), [1]);
        assert_eq!(keystore.open(Path::new("k"), b"the first release").unwrap().generations(), [1]);
        assert!(matches!(keystore.open(Path::new("k"), b"another passphrase"), Err(Error::WrongPassphrase)));
        assert_eq!(Keystore::parse(Path::new("k"), &keystore.to_text().unwrap()).unwrap(), keystore);
    }
}
