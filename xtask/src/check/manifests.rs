//! The `Cargo.toml` files of the workspace, as far as the checks read them.

use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

use crate::error::Error;

/// A package of the workspace.
pub(super) struct Package {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) manifest: Table,
}

/// Every package under `crates/`, and xtask.
///
/// # Errors
/// When a manifest cannot be read.
pub(super) fn packages(repository: &Path) -> Result<Vec<Package>, Error> {
    let crates = repository.join("crates");
    let mut folders = vec![repository.join("xtask")];
    for entry in fs::read_dir(&crates).map_err(Error::io("read", &crates))? {
        let folder = entry.map_err(Error::io("read", &crates))?.path();
        if folder.join("Cargo.toml").is_file() {
            folders.push(folder);
        }
    }
    folders.sort();
    folders.into_iter().map(Package::read).collect()
}

impl Package {
    fn read(folder: PathBuf) -> Result<Self, Error> {
        let path = folder.join("Cargo.toml");
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let malformed = |what: String| Error::Malformed { path: path.clone(), what };
        let manifest: Table = text.parse().map_err(|error: toml::de::Error| malformed(error.to_string()))?;
        let name =
            manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
        let name = name.ok_or_else(|| malformed("it has no package.name".to_owned()))?.to_owned();
        Ok(Self { name, folder, manifest })
    }
}
