//! `keystore.json`: the root key, sealed under a passphrase.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    aead::{self, KEY, OVERHEAD, fill_random},
    kdf::{self, KdfCost},
    root::RootKey,
};
use anya_provider::{Error, Result};

const FORMAT: &str = "anya-keystore";
const VERSION: u32 = 1;
/// A keystore file is far smaller; nothing longer is read.
const MAX_FILE: u64 = 64 * 1024;

/// Everything of the file but the sealed key. All of it is authenticated by the seal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
    kdf: Kdf,
    cipher: Cipher,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    algorithm: KdfAlgorithm,
    cost: KdfCost,
    #[serde(with = "hex")]
    salt: [u8; 16],
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum KdfAlgorithm {
    #[serde(rename = "argon2id-v19")]
    Argon2id,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Cipher {
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
}

/// The file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keystore {
    header: Header,
    /// The root key: nonce, ciphertext, tag.
    #[serde(with = "hex")]
    sealed_root: Vec<u8>,
    /// SHA-256 of header and sealed key. It tells a damaged file from a wrong passphrase; it protects nothing.
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

fn checksum(header: &[u8], sealed: &[u8]) -> Result<[u8; 32]> {
    digest(&SHA256, &[header, sealed].concat())
        .as_ref()
        .try_into()
        .map_err(|_| Error::Internal("a SHA-256 digest is not 32 bytes"))
}

impl Keystore {
    /// `root` sealed under `passphrase`.
    pub(crate) fn seal(root: &RootKey, passphrase: &[u8], cost: KdfCost) -> Result<Self> {
        let mut salt = [0; 16];
        fill_random(&mut salt)?;
        let kdf = Kdf { algorithm: KdfAlgorithm::Argon2id, cost, salt };
        let header = Header { format: FORMAT.to_owned(), version: VERSION, kdf, cipher: Cipher::Aes256Gcm };
        let aad = header.aad()?;
        let key = kdf::derive(passphrase, &salt, &cost)?;
        let sealed_root = aead::seal(&key, &aad, root.bytes()?)?;
        let checksum = checksum(&aad, &sealed_root)?;
        Ok(Self { header, sealed_root, checksum })
    }

    /// The root key, if this is the passphrase.
    pub(crate) fn open(&self, passphrase: &[u8]) -> Result<RootKey> {
        let key = kdf::derive(passphrase, &self.header.kdf.salt, &self.header.kdf.cost)?;
        let root: Zeroizing<Vec<u8>> =
            aead::open(&key, &self.header.aad()?, &self.sealed_root).ok_or(Error::WrongPassphrase)?;
        RootKey::copy_of(&root)?.ok_or(Error::Internal("the sealed root key has a wrong length"))
    }

    /// What a guess at its passphrase costs.
    pub(crate) fn cost(&self) -> KdfCost {
        self.header.kdf.cost
    }

    /// Reads the file and checks it as far as that goes without the passphrase.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => Error::KeystoreMissing { path: path.to_owned() },
            _ => Error::KeystoreIo { action: "read", path: path.to_owned(), source },
        };
        let damaged = |reason| Error::KeystoreDamaged { path: path.to_owned(), reason };
        let mut text = Vec::new();
        File::open(path).map_err(io)?.take(MAX_FILE + 1).read_to_end(&mut text).map_err(io)?;
        if text.is_empty() {
            return Err(damaged("it is empty"));
        }
        let probe: AnyVersion =
            serde_json::from_slice(&text).map_err(|_| damaged("it is not a keystore's JSON"))?;
        if probe.header.format != FORMAT {
            return Err(damaged("its format is not anya-keystore"));
        }
        if probe.header.version > VERSION {
            return Err(Error::KeystoreVersion { path: path.to_owned(), version: probe.header.version });
        }
        if probe.header.version != VERSION {
            return Err(damaged("its version never existed"));
        }
        let keystore: Self =
            serde_json::from_slice(&text).map_err(|_| damaged("a field is missing, unknown or malformed"))?;
        if keystore.sealed_root.len() != KEY + OVERHEAD {
            return Err(damaged("the sealed key is cut short"));
        }
        if !keystore.header.kdf.cost.is_bearable() {
            return Err(damaged("its key derivation cost is out of bounds"));
        }
        if checksum(&keystore.header.aad()?, &keystore.sealed_root)? != keystore.checksum {
            return Err(damaged("its checksum does not match"));
        }
        Ok(keystore)
    }

    /// Writes the file where none is.
    pub(crate) fn create(&self, path: &Path) -> Result<()> {
        let temporary = self.write_beside(path)?;
        // A hard link fails where a file exists; a rename would replace it, and with it every key.
        let linked = fs::hard_link(&temporary, path);
        let _ = fs::remove_file(&temporary);
        linked.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::KeystoreExists { path: path.to_owned() },
            _ => Error::KeystoreIo { action: "write", path: path.to_owned(), source },
        })?;
        sync_folder(path)
    }

    /// Puts the file in the place of the present one: after a crash either the old or the new one is there, whole.
    pub(crate) fn replace(&self, path: &Path) -> Result<()> {
        let temporary = self.write_beside(path)?;
        fs::rename(&temporary, path).map_err(|source| {
            let _ = fs::remove_file(&temporary);
            Error::KeystoreIo { action: "write", path: path.to_owned(), source }
        })?;
        sync_folder(path)
    }

    fn write_beside(&self, path: &Path) -> Result<PathBuf> {
        let mut suffix = [0; 8];
        fill_random(&mut suffix)?;
        let temporary = path.with_extension(format!("tmp-{}", hex::encode(suffix)));
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|_| Error::Internal("the keystore cannot be written as JSON"))?;
        text.push(b'\n');
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        write().map_err(|source| {
            let _ = fs::remove_file(&temporary);
            Error::KeystoreIo { action: "write", path: path.to_owned(), source }
        })?;
        Ok(temporary)
    }
}

fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| Error::KeystoreIo {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Today every field of the header is also checked or used otherwise; a later version may add one that is not.
    #[test]
    fn the_seal_covers_the_header() {
        let root = RootKey::random().unwrap();
        let good = Keystore::seal(&root, b"passphrase", KdfCost::insecure_for_tests()).unwrap();
        assert_eq!(good.open(b"passphrase").unwrap().bytes().unwrap(), root.bytes().unwrap());
        let mut bad = good.clone();
        bad.header.version = 0;
        assert!(matches!(bad.open(b"passphrase"), Err(Error::WrongPassphrase)));
        let mut bad = good;
        bad.header.format.push('2');
        assert!(matches!(bad.open(b"passphrase"), Err(Error::WrongPassphrase)));
    }

    /// A change of passphrase is all or nothing: until the rename, the file that is there is the old one, whole.
    #[test]
    fn a_half_written_replacement_is_not_the_keystore() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keystore.json");
        let root = RootKey::random().unwrap();
        let cost = KdfCost::insecure_for_tests();
        Keystore::seal(&root, b"old", cost).unwrap().create(&path).unwrap();
        let new = Keystore::seal(&root, b"new", cost).unwrap();
        new.write_beside(&path).unwrap();
        assert!(Keystore::read(&path).unwrap().open(b"old").is_ok());
        new.replace(&path).unwrap();
        assert!(Keystore::read(&path).unwrap().open(b"new").is_ok());
    }
}
