//! RocksDB as the index uses it: options, opening, removal, and its errors as ours.

use std::{collections::BTreeSet, fs::DirBuilder, os::unix::fs::DirBuilderExt as _, path::Path};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, ErrorKind, LogLevel, Options,
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
/// After a full disk, opening again writes the log's content to sorted files: wait until that fits.
const SPACE_TO_OPEN: u64 = 8 * 1024 * 1024;

/// Opens the index in `folder` with `families`, and creates what is missing.
pub(crate) fn open(folder: &Path, families: &[&'static str]) -> Result<DB, Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::io("create", folder))?;
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES).map_err(|error| translate(&error, folder))?;
    let options = options();
    let mut names: BTreeSet<String> = families.iter().map(|name| (*name).to_owned()).collect();
    names.insert("default".to_owned());
    let exists = holds_data(folder)?;
    if exists {
        // RocksDB would begin an empty index where CURRENT is missing.
        if folder.join("CURRENT").symlink_metadata().is_err() {
            let detail = "the file CURRENT is missing".to_owned();
            return Err(Error::IndexDamaged { folder: folder.to_path_buf(), detail });
        }
        // It opens all families or none, also those that only another version uses.
        names.extend(DB::list_cf(&options, folder).map_err(|error| damaged_if_missing(&error, folder))?);
    }
    let descriptors = names.into_iter().map(|name| ColumnFamilyDescriptor::new(name, family_options(&cache)));
    DB::open_cf_descriptors(&options, folder, descriptors)
        .map_err(|error| if exists { damaged_if_missing(&error, folder) } else { translate(&error, folder) })
}

fn holds_data(folder: &Path) -> Result<bool, Error> {
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let name = entry.map_err(Error::io("read", folder))?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("MANIFEST-") || name.ends_with(".sst") || name == "CURRENT" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses while the file system has less than opening needs.
pub(crate) fn check_space(folder: &Path) -> Result<(), Error> {
    let stat = rustix::fs::statvfs(folder).map_err(|error| Error::io("examine", folder)(error.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < SPACE_TO_OPEN {
        let detail = format!("{free} bytes are free");
        return Err(Error::Storage { folder: folder.to_path_buf(), fault: StorageFault::Full, detail });
    }
    Ok(())
}

/// Removes the index in `folder`, whole or damaged, so that it can be built again. It refuses a folder that holds
/// anything else, and one that is open.
pub(crate) fn destroy(folder: &Path) -> Result<(), Error> {
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

/// Our error for RocksDB's.
pub(crate) fn translate(error: &rocksdb::Error, folder: &Path) -> Error {
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
