//! Files that only their owner may read.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use crate::error::{Error, Result};

/// Writes a new file of mode 0600 and syncs it. It never replaces one.
pub(crate) fn create(path: &Path, content: &[u8]) -> Result<()> {
    let fail = |action| Error::file(action, path);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fail("create"))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(fail("write"))
}
