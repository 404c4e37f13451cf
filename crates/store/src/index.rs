//! The index: ordered keys and values on RocksDB, for data that can be derived again.
//!
//! A write is in order and atomic but not synced, so a power cut may lose the newest ones: whoever keeps an index
//! stores in each batch how far it has come and goes on from there. Damage is answered with
//! [`Error::IndexDamaged`]; the remedy is [`Index::destroy`] and building it again.

use std::{
    collections::BTreeSet,
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, Direction,
    ErrorKind, IteratorMode, LogLevel, Options, ReadOptions, WriteBatch, checkpoint::Checkpoint,
};

use crate::error::{Error, StorageFault};

/// One cache of uncompressed blocks for all families.
const BLOCK_CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Memory for writes that are not yet in a sorted file, for all families together.
const WRITE_BUFFER_BYTES: usize = 64 * 1024 * 1024;
/// The log is kept short so that opening after a crash is quick.
const MAX_LOG_BYTES: u64 = 64 * 1024 * 1024;
/// Leaves most of a usual limit of 1024 descriptors to sockets.
const MAX_OPEN_FILES: i32 = 256;
/// RocksDB's own text log: bounded, since it lies in the data folder.
const TEXT_LOG_BYTES: usize = 1024 * 1024;
const TEXT_LOGS: usize = 3;
/// At ten bits for each key, one look-up in a hundred for a missing key touches the disk.
const BLOOM_BITS_PER_KEY: f64 = 10.0;

/// Derived data. Cloning is cheap. Calls take microseconds when warm and may be made from async code.
#[derive(Clone)]
pub struct Index {
    inner: Arc<Inner>,
}

/// A key with its value.
pub type Entry = (Vec<u8>, Vec<u8>);

struct Inner {
    db: DB,
    folder: PathBuf,
}

/// Changes that are made together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Put(&'static str, Vec<u8>, Vec<u8>),
    Delete(&'static str, Vec<u8>),
    DeleteRange(&'static str, Vec<u8>, Vec<u8>),
}

impl Batch {
    /// A batch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key`.
    pub fn put(
        &mut self,
        family: &'static str,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> &mut Self {
        self.changes.push(Change::Put(family, key.into(), value.into()));
        self
    }

    /// Removes `key`.
    pub fn delete(&mut self, family: &'static str, key: impl Into<Vec<u8>>) -> &mut Self {
        self.changes.push(Change::Delete(family, key.into()));
        self
    }

    /// Removes every key from `from` up to and without `to`.
    pub fn delete_range(
        &mut self,
        family: &'static str,
        from: impl Into<Vec<u8>>,
        to: impl Into<Vec<u8>>,
    ) -> &mut Self {
        self.changes.push(Change::DeleteRange(family, from.into(), to.into()));
        self
    }

    /// How many changes it holds.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl Index {
    /// Opens the index in `folder` with its `families`, and creates what is missing.
    pub fn open(folder: &Path, families: &[&'static str]) -> Result<Self, Error> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::io("create", folder))?;
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES).map_err(|error| translate(&error, folder))?;
        let options = options();
        let mut names: BTreeSet<String> = families.iter().map(|name| (*name).to_owned()).collect();
        names.insert("default".to_owned());
        let exists = folder.join("CURRENT").symlink_metadata().is_ok();
        if exists {
            // RocksDB opens all families or none, also those that only another version uses.
            names.extend(DB::list_cf(&options, folder).map_err(|error| damaged_if_missing(&error, folder))?);
        }
        let descriptors =
            names.into_iter().map(|name| ColumnFamilyDescriptor::new(name, family_options(&cache)));
        let db = DB::open_cf_descriptors(&options, folder, descriptors).map_err(|error| {
            if exists { damaged_if_missing(&error, folder) } else { translate(&error, folder) }
        })?;
        Ok(Self { inner: Arc::new(Inner { db, folder: folder.to_path_buf() }) })
    }

    /// Removes the index in `folder`, whole or damaged, so that it can be built again. It refuses a folder that holds
    /// anything else, and one that is open.
    pub fn destroy(folder: &Path) -> Result<(), Error> {
        let listing = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(Error::io("read", folder))?,
        };
        let mut files = Vec::new();
        for entry in listing {
            let entry = entry.map_err(Error::io("read", folder))?;
            if !is_index_file(&entry.file_name().to_string_lossy()) {
                let reason = "holds files that are not an index's";
                return Err(Error::AlreadyInUse { folder: folder.to_path_buf(), reason });
            }
            files.push(entry.path());
        }
        // RocksDB takes its own lock first and refuses while the index is open. It gives up where files that it
        // needs are damaged, so the rest is removed by name.
        if let Err(error) = DB::destroy(&Options::default(), folder)
            && let locked @ Error::Locked { .. } = translate(&error, folder)
        {
            return Err(locked);
        }
        for file in files {
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &file)(error));
                }
                _ => {}
            }
        }
        match std::fs::remove_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(Error::io("remove", folder)),
        }
    }

    /// The value of `key`.
    pub fn get(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.inner.db.get_cf(self.family(family)?, key).map_err(|error| self.fail(&error))
    }

    /// The values of `keys`, in their order.
    pub fn multi_get(&self, family: &str, keys: &[impl AsRef<[u8]>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let family = self.family(family)?;
        self.inner
            .db
            .multi_get_cf(keys.iter().map(|key| (family, key)))
            .into_iter()
            .map(|found| found.map_err(|error| self.fail(&error)))
            .collect()
    }

    /// The first `limit` keys that begin with `prefix`, in order, with their values.
    pub fn scan_prefix(&self, family: &str, prefix: &[u8], limit: usize) -> Result<Vec<Entry>, Error> {
        self.scan_from(family, prefix, prefix, limit)
    }

    /// The first `limit` keys at or after `start` that begin with `prefix`, in order, with their values.
    pub fn scan_from(
        &self,
        family: &str,
        prefix: &[u8],
        start: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, Error> {
        let mut options = ReadOptions::default();
        if let Some(end) = successor(prefix) {
            options.set_iterate_upper_bound(end);
        }
        let start = IteratorMode::From(start.max(prefix), Direction::Forward);
        let rows = self.inner.db.iterator_cf_opt(self.family(family)?, options, start);
        rows.take(limit)
            .map(|row| row.map(|(key, value)| (key.into(), value.into())).map_err(|error| self.fail(&error)))
            .collect()
    }

    /// Makes every change of `batch`, or none.
    pub fn write(&self, batch: Batch) -> Result<(), Error> {
        let mut changes = WriteBatch::default();
        for change in &batch.changes {
            match change {
                Change::Put(family, key, value) => changes.put_cf(self.family(family)?, key, value),
                Change::Delete(family, key) => changes.delete_cf(self.family(family)?, key),
                Change::DeleteRange(family, from, to) => {
                    changes.delete_range_cf(self.family(family)?, from, to);
                }
            }
        }
        self.inner.db.write(changes).map_err(|error| self.fail(&error))
    }

    /// Makes a copy of the index as it is now in the new folder `target`, mostly by hard links.
    pub fn checkpoint(&self, target: &Path) -> Result<(), Error> {
        Checkpoint::new(&self.inner.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(target))
            .map_err(|error| self.fail(&error))
    }

    fn family(&self, name: &str) -> Result<&ColumnFamily, Error> {
        self.inner.db.cf_handle(name).ok_or_else(|| Error::UnknownFamily { family: name.to_owned() })
    }

    fn fail(&self, error: &rocksdb::Error) -> Error {
        translate(error, &self.inner.folder)
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("folder", &self.inner.folder).finish_non_exhaustive()
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    options.set_max_open_files(MAX_OPEN_FILES);
    options.set_db_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_total_wal_size(MAX_LOG_BYTES);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(TEXT_LOG_BYTES);
    options.set_keep_log_file_num(TEXT_LOGS);
    options
}

fn family_options(cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options
}

/// Whether RocksDB gives such a name to a file of its own.
fn is_index_file(name: &str) -> bool {
    let exact = ["CURRENT", "IDENTITY", "LOCK", "LOG"];
    let begins = ["MANIFEST-", "OPTIONS-", "LOG.old."];
    let ends = [".sst", ".log", ".dbtmp", ".blob"];
    exact.contains(&name)
        || begins.iter().any(|part| name.starts_with(part))
        || ends.iter().any(|part| name.ends_with(part))
}

/// The least key that is greater than every key with this prefix; none when the prefix is all 0xff.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

fn translate(error: &rocksdb::Error, folder: &Path) -> Error {
    let detail = error.to_string();
    let folder = folder.to_path_buf();
    let says = |words: &str| detail.contains(words);
    match error.kind() {
        ErrorKind::Corruption => Error::IndexDamaged { folder, detail },
        ErrorKind::IOError if says("No space left on device") || says("Disk quota exceeded") => {
            Error::Storage { folder, fault: StorageFault::Full, detail }
        }
        ErrorKind::IOError if says("Read-only file system") || says("Permission denied") => {
            Error::Storage { folder, fault: StorageFault::ReadOnly, detail }
        }
        ErrorKind::IOError if says("lock ") => {
            Error::Locked { folder, holder: "a process that has the index open".to_owned() }
        }
        _ => Error::Index { folder, detail },
    }
}

/// When an index that exists is opened, a missing or unreadable file of it is damage.
fn damaged_if_missing(error: &rocksdb::Error, folder: &Path) -> Error {
    match translate(error, folder) {
        Error::Index { folder, detail }
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidArgument)
                || detail.contains("No such file or directory") =>
        {
            Error::IndexDamaged { folder, detail }
        }
        other => other,
    }
}
