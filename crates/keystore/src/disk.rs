//! Where the keystore lies: read whole, replaced whole, changed by one process at a time.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{aead::fill_random, keystore::Keystore};
use anya_provider::{Error, Result};

/// A keystore file is far smaller; nothing longer is read.
const MAX_FILE: u64 = 64 * 1024;
/// How long to wait before the lock is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(10);

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| match (action, source.kind()) {
        ("read", io::ErrorKind::NotFound) => Error::KeystoreMissing { path: path.to_owned() },
        _ => Error::KeystoreIo { action, path: path.to_owned(), source },
    }
}

/// Reads the file and checks it as far as that goes without the passphrase.
pub(crate) fn read(path: &Path) -> Result<Keystore> {
    let mut text = Vec::new();
    let mut file = File::open(path).map_err(failed("read", path))?.take(MAX_FILE + 1);
    file.read_to_end(&mut text).map_err(failed("read", path))?;
    Keystore::parse(path, &text)
}

/// Writes the file where none is.
pub(crate) fn create(path: &Path, keystore: &Keystore) -> Result<()> {
    let temporary = write_beside(path, keystore)?;
    // A hard link fails where a file exists; a rename would replace it, and with it every key.
    let linked = fs::hard_link(&temporary, path);
    let _ = fs::remove_file(&temporary);
    linked.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::KeystoreExists { path: path.to_owned() },
        _ => failed("write", path)(source),
    })?;
    sync_folder(path)
}

/// The right to change the file, which one holder at a time has, of this process or another.
///
/// It is a lock (flock(2)) on the file itself, so that it ends with its holder whatever happens to that; a holder that
/// replaces the file makes those who wait for the old one look again.
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Waits for the lock until `deadline`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] of `provider` when the deadline passes while another holds it.
    pub(crate) async fn take(path: &Path, provider: &str, deadline: Instant) -> Result<Self> {
        let held = || Error::Unavailable {
            provider: provider.to_owned(),
            reason: "another process is changing the keystore: try again when it has ended".to_owned(),
        };
        let mut late = Error::Timeout(provider.to_owned());
        loop {
            let file = path.to_owned();
            // The disk may take its time.
            let tried = tokio::task::spawn_blocking(move || Self::try_take(&file));
            let Ok(tried) = tokio::time::timeout_at(deadline.into(), tried).await else { return Err(late) };
            if let Some(lock) = tried.map_err(|_| Error::Internal("the keystore could not be locked"))?? {
                return Ok(lock);
            }
            late = held();
            if Instant::now() + TRY_AGAIN >= deadline {
                return Err(late);
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    fn try_take(path: &Path) -> Result<Option<Self>> {
        let read = failed("read", path);
        // Where a link leads, so that the file itself is replaced and no old one stays behind a new name.
        let path = fs::canonicalize(path).map_err(&read)?;
        let file = File::open(&path).map_err(&read)?;
        Self::on(path, file)
    }

    /// The lock on `file`, which was opened as `path`, if it is free and the file still there.
    fn on(path: PathBuf, file: File) -> Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
        }
        // Whoever held it before may have put another file in its place: then this locks what is no more.
        let locked = file.metadata().map_err(failed("read", &path))?;
        let present = fs::metadata(&path).map_err(failed("read", &path))?;
        let same = (locked.dev(), locked.ino()) == (present.dev(), present.ino());
        Ok(same.then_some(Self { path, _file: file }))
    }

    /// Reads the file.
    pub(crate) fn read(&self) -> Result<Keystore> {
        read(&self.path)
    }

    /// Puts the file in the place of the present one: after a crash either the old or the new one is there, whole. When
    /// this returns, the new one is on the disk, and what crashes before have left beside it is gone.
    pub(crate) fn replace(&self, keystore: &Keystore) -> Result<()> {
        let path = &self.path;
        self.clear();
        let temporary = write_beside(path, keystore)?;
        fs::rename(&temporary, path).map_err(|source| {
            let _ = fs::remove_file(&temporary);
            failed("write", path)(source)
        })?;
        self.sync()
    }

    /// Waits until the present file's name is on the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        sync_folder(&self.path)
    }

    /// Removes what crashed writers have left. They are copies of the keystore, and nobody writes one without the lock.
    fn clear(&self) {
        let prefix = temporary_prefix(&self.path);
        let is_ours = |name: &OsString| {
            let name = name.as_encoded_bytes();
            name.strip_prefix(prefix.as_encoded_bytes())
                .is_some_and(|suffix| suffix.len() == 16 && suffix.iter().all(u8::is_ascii_hexdigit))
        };
        let Ok(entries) = fs::read_dir(folder_of(&self.path)) else { return };
        for entry in entries.flatten().filter(|entry| is_ours(&entry.file_name())) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn temporary_prefix(path: &Path) -> OsString {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp-");
    name
}

fn write_beside(path: &Path, keystore: &Keystore) -> Result<PathBuf> {
    let mut suffix = [0; 8];
    fill_random(&mut suffix)?;
    let mut name = temporary_prefix(path);
    name.push(hex::encode(suffix));
    let temporary = path.with_file_name(name);
    let text = keystore.to_text()?;
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(&text)?;
        file.sync_all()
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&temporary);
        failed("write", path)(source)
    })?;
    Ok(temporary)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_folder(path: &Path) -> Result<()> {
    File::open(folder_of(path)).and_then(|folder| folder.sync_all()).map_err(failed("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kdf::KdfCost, root::Roots};

    fn sealed(roots: &Roots, passphrase: &[u8]) -> Keystore {
        Keystore::seal(roots, passphrase, KdfCost::insecure_for_tests()).unwrap()
    }

    async fn lock(path: &Path) -> Result<Lock> {
        Lock::take(path, "software", Instant::now() + Duration::from_millis(200)).await
    }

    /// A change is all or nothing: until the rename, the file that is there is the old one, whole.
    #[tokio::test]
    async fn a_half_written_replacement_is_not_the_keystore() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keystore.json");
        let old = Roots::first().unwrap();
        create(&path, &sealed(&old, b"old")).unwrap();
        let rotated = old.with_next().unwrap().unwrap();
        let new = sealed(&rotated, b"new");
        // As a crash leaves them: one written whole, one cut off.
        write_beside(&path, &new).unwrap();
        fs::write(path.with_file_name("keystore.json.tmp-0123456789abcdef"), b"{\"hea").unwrap();
        let innocent = ["keystore.json.tmp-notes", "keystore.json.bak", "other.json.tmp-0123456789abcdef"];
        innocent.iter().for_each(|name| fs::write(path.with_file_name(name), b"").unwrap());
        let opened = read(&path).unwrap().open(&path, b"old").unwrap();
        assert_eq!(opened.generations(), [1]);

        lock(&path).await.unwrap().replace(&new).unwrap();
        assert_eq!(read(&path).unwrap().open(&path, b"new").unwrap().generations(), [1, 2]);
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mut expected = vec!["keystore.json"];
        expected.extend(innocent);
        expected.sort_unstable();
        assert_eq!(left, expected);
    }

    /// Behind a link lies one file, before and after: an old one left there would keep what was retired.
    #[tokio::test]
    async fn a_link_leads_to_the_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("vault/keystore.json"), folder.path().join("keystore.json"));
        fs::create_dir(folder.path().join("vault")).unwrap();
        let roots = Roots::first().unwrap();
        create(&path, &sealed(&roots, b"old")).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        lock(&link).await.unwrap().replace(&sealed(&roots, b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        for name in [&path, &link] {
            assert!(read(name).unwrap().open(name, b"new").is_ok());
        }
    }

    #[tokio::test]
    async fn one_at_a_time_and_never_on_a_file_that_was_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keystore.json");
        assert!(matches!(lock(&path).await, Err(Error::KeystoreMissing { .. })));
        let roots = Roots::first().unwrap();
        create(&path, &sealed(&roots, b"old")).unwrap();
        let first = lock(&path).await.unwrap();
        assert!(matches!(lock(&path).await, Err(Error::Unavailable { .. })));
        // Someone waits for the file that is about to be replaced.
        let waits = File::open(&path).unwrap();
        first.replace(&sealed(&roots, b"new")).unwrap();
        drop(first);
        assert!(Lock::on(path.clone(), waits).unwrap().is_none(), "a lock on what is no more");
        drop(lock(&path).await.unwrap());
    }
}
