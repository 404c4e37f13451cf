//! Files that a user names, and standard input as `-`.

use std::{fs::File, io::Read as _, path::Path};

use crate::error::{Error, Result};

/// What is in the file at `path`, of which no more than `most` bytes are read.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    read.map_err(Error::file("read", path))?;
    Ok(bytes)
}
