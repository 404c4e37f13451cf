//! Where a secret is found.

use std::{
    fs::File,
    io::Read as _,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::error::Error;

/// Most bytes of a secret's file.
const MAX_SECRET: usize = 4096;

/// A reference to a secret.
#[derive(Clone, Debug)]
pub enum Secret {
    /// The environment held it.
    Given(SecretString),
    /// A file holds it.
    File(PathBuf),
}

impl Secret {
    /// The secret itself.
    pub fn read(&self) -> Result<SecretString, Error> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(path) => read_secret_file(path),
        }
    }
}

/// Reads a file that holds one secret on one line. The newline at its end is not part of it.
///
/// A file that everyone may read, or that its group may change, is refused: what it holds is no secret.
pub fn read_secret_file(path: &Path) -> Result<SecretString, Error> {
    let fail = |source| Error::Read {
        path: path.to_path_buf(),
        source,
        remedy: "it must be a file that this user may read",
    };
    let bad = |problem| Error::SecretFile { path: path.to_path_buf(), problem };
    let file = File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if metadata.mode() & 0o037 != 0 {
        return Err(bad(
            "others may read or change this secret: run `chmod 600` on it, and think of the secret as seen",
        ));
    }
    let mut text = Zeroizing::new(String::with_capacity(MAX_SECRET + 1));
    file.take(MAX_SECRET as u64 + 1).read_to_string(&mut text).map_err(fail)?;
    if text.len() > MAX_SECRET {
        return Err(bad("longer than 4096 bytes: this is not a file with one secret"));
    }
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err(bad("is empty: write the secret into it"));
    }
    if secret.contains(['\n', '\0']) {
        return Err(bad("holds more than one line: it must hold the secret alone"));
    }
    Ok(SecretString::from(secret.to_owned()))
}
