//! The index: ordered keys and values on RocksDB, for data that can be derived again.
//!
//! A write is in order and atomic but not synced, so a power cut may lose the newest ones: whoever keeps an index
//! stores in each batch how far it has come and goes on from there. Damage is answered with
//! [`Error::IndexDamaged`]; the remedy is [`Index::destroy`] and building it again.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use rocksdb::{ColumnFamily, DB, Direction, IteratorMode, ReadOptions, WriteBatch, checkpoint::Checkpoint};

use crate::{error::Error, rocks};

/// Derived data. Cloning is cheap. Calls take microseconds when warm and may be made from async code.
#[derive(Clone)]
pub struct Index {
    inner: Arc<Inner>,
}

/// A key with its value.
pub type Entry = (Vec<u8>, Vec<u8>);

struct Inner {
    /// None only after opening it again failed; the next call tries once more.
    db: RwLock<Option<DB>>,
    /// Set when a write failed: RocksDB takes no more writes until it is opened again.
    stopped: AtomicBool,
    folder: PathBuf,
    families: Vec<&'static str>,
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
        let db = rocks::open(folder, families)?;
        Ok(Self {
            inner: Arc::new(Inner {
                db: RwLock::new(Some(db)),
                stopped: AtomicBool::new(false),
                folder: folder.to_path_buf(),
                families: families.to_vec(),
            }),
        })
    }

    /// Removes the index in `folder`, whole or damaged, so that it can be built again. It refuses a folder that holds
    /// anything else, and one that is open.
    pub fn destroy(folder: &Path) -> Result<(), Error> {
        rocks::destroy(folder)
    }

    /// The value of `key`.
    pub fn get(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.with(|db| db.get_cf(handle(db, family)?, key).map_err(|error| self.fail(&error)))
    }

    /// The values of `keys`, in their order.
    pub fn multi_get(&self, family: &str, keys: &[impl AsRef<[u8]>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.with(|db| {
            let family = handle(db, family)?;
            db.multi_get_cf(keys.iter().map(|key| (family, key)))
                .into_iter()
                .map(|found| found.map_err(|error| self.fail(&error)))
                .collect()
        })
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
        self.with(|db| {
            let mut options = ReadOptions::default();
            if let Some(end) = successor(prefix) {
                options.set_iterate_upper_bound(end);
            }
            let start = IteratorMode::From(start.max(prefix), Direction::Forward);
            db.iterator_cf_opt(handle(db, family)?, options, start)
                .take(limit)
                .map(|row| {
                    row.map(|(key, value)| (key.into(), value.into())).map_err(|error| self.fail(&error))
                })
                .collect()
        })
    }

    /// Makes every change of `batch`, or none. After a write that failed for want of space, the next one opens the
    /// index again as soon as there is some.
    pub fn write(&self, batch: Batch) -> Result<(), Error> {
        if self.inner.stopped.load(Ordering::Acquire) {
            self.restart()?;
        }
        self.with(|db| {
            let mut changes = WriteBatch::default();
            for change in &batch.changes {
                match change {
                    Change::Put(family, key, value) => changes.put_cf(handle(db, family)?, key, value),
                    Change::Delete(family, key) => changes.delete_cf(handle(db, family)?, key),
                    Change::DeleteRange(family, from, to) => {
                        changes.delete_range_cf(handle(db, family)?, from, to);
                    }
                }
            }
            db.write(changes).map_err(|error| {
                self.inner.stopped.store(true, Ordering::Release);
                self.fail(&error)
            })
        })
    }

    /// Makes a copy of the index as it is now in the new folder `target`, mostly by hard links.
    pub fn checkpoint(&self, target: &Path) -> Result<(), Error> {
        self.with(|db| {
            Checkpoint::new(db)
                .and_then(|checkpoint| checkpoint.create_checkpoint(target))
                .map_err(|error| self.fail(&error))
        })
    }

    fn with<T>(&self, act: impl FnOnce(&DB) -> Result<T, Error>) -> Result<T, Error> {
        {
            let held = self.inner.db.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(db) = held.as_ref() {
                return act(db);
            }
        }
        self.restart()?;
        let held = self.inner.db.read().unwrap_or_else(PoisonError::into_inner);
        let folder = || self.inner.folder.clone();
        held.as_ref()
            .map_or_else(|| Err(Error::Index { folder: folder(), detail: "it is closed".into() }), act)
    }

    /// Closes and opens the database after a failed write, once there is space for what opening writes.
    fn restart(&self) -> Result<(), Error> {
        let mut held = self.inner.db.write().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() && !self.inner.stopped.load(Ordering::Acquire) {
            // Another caller was quicker.
            return Ok(());
        }
        rocks::check_space(&self.inner.folder)?;
        *held = None;
        *held = Some(rocks::open(&self.inner.folder, &self.inner.families)?);
        self.inner.stopped.store(false, Ordering::Release);
        Ok(())
    }

    fn fail(&self, error: &rocksdb::Error) -> Error {
        rocks::translate(error, &self.inner.folder)
    }
}

fn handle<'a>(db: &'a DB, family: &str) -> Result<&'a ColumnFamily, Error> {
    db.cf_handle(family).ok_or_else(|| Error::UnknownFamily { family: family.to_owned() })
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("folder", &self.inner.folder).finish_non_exhaustive()
    }
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
