//! The signer's own folder. Nobody else may read it; on SGX it is an encrypted mount that only this enclave opens.
//!
//! | file | what | if lost |
//! | --- | --- | --- |
//! | `part.key` | the signer's part of what opens the root | every key is gone: back it up, apart from the server |
//! | `keystore.json` | the root, sealed under both parts | every key is gone: back it up |
//! | `channel.key` | the key by which the server knows the signer | made again by `init` in a new folder; pin it anew |
//! | `lock` | held while a signer works here | made again |

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anya_enclave::{
    ChannelKey,
    channel::{read_secret, write_secret},
};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

use crate::{
    error::{Error, Result},
    vault::Vault,
};

const PART: &str = "part.key";
const CHANNEL: &str = "channel.key";
const KEYSTORE: &str = "keystore.json";
const LOCK: &str = "lock";

/// The folder, held by this process alone.
pub struct DataDir {
    path: PathBuf,
    part: Zeroizing<Vec<u8>>,
    key: ChannelKey,
    _lock: File,
}

impl DataDir {
    /// Makes the folder, the signer's part and its key of the channel.
    ///
    /// # Errors
    /// [`Error::Folder`] when a signer was made there before: nothing is ever overwritten.
    pub fn create(path: &Path) -> Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| Error::Io {
            action: "make",
            path: path.to_owned(),
            source,
        })?;
        let lock = take(path)?;
        if [PART, CHANNEL, KEYSTORE].iter().any(|file| path.join(file).exists()) {
            return Err(Error::Folder {
                path: path.to_owned(),
                reason: "there is a signer in it already: serve it, or choose another folder",
            });
        }
        let mut part = Zeroizing::new(vec![0; 32]);
        SystemRandom::new()
            .fill(&mut part)
            .map_err(|_| anya_enclave::Error::Internal("the random generator failed"))?;
        // The channel's key first: a folder that has a part is complete.
        let key = ChannelKey::load_or_create(&path.join(CHANNEL))?;
        write_secret(&path.join(PART), &part)?;
        Ok(Self { path: path.to_owned(), part, key, _lock: lock })
    }

    /// Opens a folder that [`DataDir::create`] made.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join(PART).exists() {
            let reason = "there is no signer in it: make one with `anya-signer init`";
            return Err(Error::Folder { path: path.to_owned(), reason });
        }
        let lock = take(path)?;
        let part = read_secret(&path.join(PART))?;
        if part.len() != 32 {
            let reason = "it has not 32 bytes: restore it from a backup";
            return Err(Error::Folder { path: path.join(PART), reason });
        }
        let key = ChannelKey::load(&path.join(CHANNEL))?;
        Ok(Self { path: path.to_owned(), part, key, _lock: lock })
    }

    /// By which the server knows this signer.
    pub fn key(&self) -> &ChannelKey {
        &self.key
    }

    /// The vault in this folder. `sealing` is a key that the processor gives to this enclave alone, where it gives one;
    /// a root that was made with it never opens without it.
    pub fn vault(&self, sealing: Option<&[u8]>) -> Vault {
        Vault::new(self.path.join(KEYSTORE), &self.part, sealing)
    }
}

/// Holds the folder against a second signer, and refuses one that others may look into.
fn take(path: &Path) -> Result<File> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| Error::Io { action, path, source }
    };
    let metadata = fs::metadata(path).map_err(failed("look at", path))?;
    if metadata.mode() & 0o077 != 0 {
        let reason = "others may look into this folder: chmod 700";
        return Err(Error::Folder { path: path.to_owned(), reason });
    }
    let file = path.join(LOCK);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&file)
        .map_err(failed("open", &file))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::InUse(path.to_owned())),
        Err(error) => Err(failed("lock", &file)(error.into())),
    }
}
