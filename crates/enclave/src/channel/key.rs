//! The key by which one end of a channel is known, and files that hold secrets.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Arc,
};

use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use rustls::{
    crypto::aws_lc_rs::sign::any_eddsa_type,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use zeroize::Zeroizing;

use crate::{
    binding::KeyPin,
    error::{Error, Result},
};

/// The longest secret that is read from a file, in bytes.
const LONGEST: u64 = 4096;

/// An Ed25519 key that a channel's end proves to hold (raw public keys in TLS, RFC 7250).
#[derive(Clone)]
pub struct ChannelKey {
    certified: Arc<CertifiedKey>,
    pin: KeyPin,
}

impl ChannelKey {
    /// A key that lives as long as this value.
    pub fn ephemeral() -> Result<Self> {
        Self::from_pkcs8(&generate()?)
    }

    /// The key in the file at `path`, which is made when there is none.
    ///
    /// # Errors
    /// [`Error::Unfit`] when others than its owner may read the file, or when it holds no key.
    pub fn load_or_create(path: &Path) -> Result<Self> {
        match Self::load(path) {
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let key = generate()?;
                write_secret(path, &key)?;
                Self::from_pkcs8(&key)
            }
            outcome => outcome,
        }
    }

    /// The key in the file at `path`.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_pkcs8(&read_secret(path)?).map_err(|_| Error::Unfit {
            path: path.to_owned(),
            reason: "it holds no Ed25519 key: restore it, or remove it to have a new one made",
        })
    }

    fn from_pkcs8(key: &[u8]) -> Result<Self> {
        let failed = Error::Internal("the channel's key cannot be used");
        let Ok(signing) = any_eddsa_type(&PrivatePkcs8KeyDer::from(key)) else { return Err(failed) };
        let Some(public) = signing.public_key() else { return Err(failed) };
        let pin = KeyPin::of(&public);
        let certified = CertifiedKey::new(vec![CertificateDer::from(public.to_vec())], signing);
        Ok(Self { certified: Arc::new(certified), pin })
    }

    /// What the other end has to know.
    pub fn pin(&self) -> KeyPin {
        self.pin
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

fn generate() -> Result<Zeroizing<Vec<u8>>> {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_| Error::Internal("the random generator failed"))?;
    Ok(Zeroizing::new(key.as_ref().to_vec()))
}

/// Reads a file that holds a secret.
///
/// # Errors
/// [`Error::Unfit`] when others than its owner may read or write it, or when it is no file of at most 4 KiB.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |source| Error::File { action: "read", path: path.to_owned(), source };
    let unfit = |reason| Error::Unfit { path: path.to_owned(), reason };
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() || metadata.len() > LONGEST {
        return Err(unfit("it is no file that could hold a secret: check the path"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(unfit("others may read or write this secret: chmod 600, and consider it known"));
    }
    // The final capacity from the start: growing would leave pieces behind.
    let mut secret = Zeroizing::new(Vec::with_capacity(4097));
    file.read_to_end(&mut secret).map_err(failed)?;
    Ok(secret)
}

/// Writes a new file with a secret, for its owner alone, and waits until the disk has it.
///
/// # Errors
/// [`Error::File`] when one is there already: no secret is ever overwritten.
pub fn write_secret(path: &Path, secret: &[u8]) -> Result<()> {
    let failed = |source| Error::File { action: "write", path: path.to_owned(), source };
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(secret)?;
        file.sync_all()?;
        // The name as well.
        match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) => File::open(folder)?.sync_all(),
            None => fs::File::open(".")?.sync_all(),
        }
    };
    write().map_err(failed)
}
