//! The data folder and the lock that makes one process its owner.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anya_primitives::{Clock as _, SystemClock};
use rustix::fs::{FlockOperation, flock};

use crate::{error::Error, sqlite::sync_folder_of};

const LOCK: &str = "LOCK";
const MARK: &str = "FORMAT";
const MARK_TEXT: &str = "anya data folder, format 1\n";

/// A folder that holds everything one server keeps: ledger, index, keystore, sockets.
///
/// It is for its owner alone (mode 0700). The lock is an advisory `flock`, which the kernel drops with the process:
/// a `LOCK` file that a killed server left behind does not keep the next one out.
#[derive(Debug)]
pub struct DataDir;

/// The ownership of a data folder; dropping it lets the next process in.
#[derive(Debug)]
pub struct DataDirLock {
    folder: PathBuf,
    file: File,
}

impl DataDir {
    /// Makes `folder` a data folder and locks it. It must not exist, or be empty.
    pub fn init(folder: &Path) -> Result<DataDirLock, Error> {
        if let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(folder) {
            return Err(Error::io("create", folder)(error));
        }
        let refuse = |reason| Err(Error::AlreadyInUse { folder: folder.to_path_buf(), reason });
        if is_initialised(folder) {
            return refuse("is an anya data folder already");
        }
        for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
            let name = entry.map_err(Error::io("read", folder))?.file_name();
            // An interrupted `init` leaves LOCK; a fresh file system has lost+found.
            if name != LOCK && name != "lost+found" {
                return refuse("is not empty");
            }
        }
        std::fs::set_permissions(folder, Permissions::from_mode(0o700))
            .map_err(Error::io("protect", folder))?;
        let lock = DataDirLock::take(folder)?;
        let mark = folder.join(MARK);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&mark)
            .map_err(Error::io("create", &mark))?;
        file.write_all(MARK_TEXT.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(Error::io("write", &mark))?;
        sync_folder_of(&mark)?;
        sync_folder_of(folder)?;
        Ok(lock)
    }

    /// Locks the data folder for this process. While another process has it, the answer is [`Error::Locked`], which
    /// says who that is.
    pub fn open_locked(folder: &Path) -> Result<DataDirLock, Error> {
        if !is_initialised(folder) {
            return Err(Error::NotInitialised { folder: folder.to_path_buf() });
        }
        let mode = folder.metadata().map_err(Error::io("read", folder))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Error::Permissions { folder: folder.to_path_buf(), mode });
        }
        DataDirLock::take(folder)
    }
}

fn is_initialised(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join(MARK)).is_ok_and(|text| text == MARK_TEXT)
}

impl DataDirLock {
    fn take(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(LOCK);
        let open = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(Error::io("open", &path))
        };
        let mut file = open()?;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(Error::Locked { folder: folder.to_path_buf(), holder: holder(&mut file) });
                }
                Err(error) => return Err(Error::io("lock", &path)(error.into())),
            }
            // Someone may have removed the file meanwhile; a lock on a file without a name keeps nobody out.
            let (mine, named) = (file.metadata(), path.metadata());
            if let (Ok(mine), Ok(named)) = (mine, named)
                && (mine.dev(), mine.ino()) == (named.dev(), named.ino())
            {
                break;
            }
            file = open()?;
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let text = format!("process {} on {host} since {}\n", std::process::id(), SystemClock.now());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| file.sync_all())
            .map_err(Error::io("write", &path))?;
        Ok(Self { folder: folder.to_path_buf(), file })
    }

    /// The data folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The ledger's file.
    pub fn ledger_path(&self) -> PathBuf {
        self.folder.join("ledger.sqlite")
    }

    /// The index's folder.
    pub fn index_path(&self) -> PathBuf {
        self.folder.join("index")
    }
}

impl Drop for DataDirLock {
    fn drop(&mut self) {
        // An empty LOCK names nobody; only a killed process leaves its name behind.
        drop(self.file.set_len(0));
    }
}

/// What the holder wrote about itself. It may be a moment late: it locks before it writes.
fn holder(file: &mut File) -> String {
    for _ in 0..20 {
        let mut text = String::new();
        if file.rewind().and_then(|()| file.take(1024).read_to_string(&mut text)).is_ok()
            && text.ends_with('\n')
        {
            return text.trim_end().to_owned();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    "another process (it has not said which)".to_owned()
}
