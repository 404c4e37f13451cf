//! Where things are: the checkout, and the private folder of the tools.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::Error;

/// The root of the checkout that `cargo xtask` was called in, from any of its folders.
///
/// # Errors
/// [`Error::NoRepository`] outside a checkout.
pub(crate) fn repository() -> Result<PathBuf, Error> {
    // Cargo names the folder of this package when it runs the program. It is read now and not at
    // compile time, so that clones which share a target folder do not check each other.
    if let Some(root) = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).and_then(|package| {
        let root = package.parent()?;
        root.join("xtask/Cargo.toml").is_file().then(|| root.to_owned())
    }) {
        return Ok(root);
    }
    let here = env::current_dir().map_err(|_| Error::NoRepository)?;
    let root = here.ancestors().find(|folder| folder.join("xtask/Cargo.toml").is_file());
    root.map(Into::into).ok_or(Error::NoRepository)
}

/// The folder of the tools that set-up installs for this account.
///
/// The same rule as `anya_testkit::tools_dir`, which cannot be called from here: xtask compiles before the
/// libraries are there that the rooms of the house link.
///
/// # Errors
/// [`Error::NoToolsDir`] when no variable tells.
pub(crate) fn tools_dir() -> Result<PathBuf, Error> {
    tools_dir_from(|name| env::var_os(name))
}

fn tools_dir_from(var: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, Error> {
    let set = |name: &str| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("ANYA_TOOLS_DIR")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("anya")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/anya")))
        .ok_or(Error::NoToolsDir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(vars: &[(&str, &str)]) -> Result<PathBuf, Error> {
        tools_dir_from(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn the_nearest_variable_decides() {
        let all = [("ANYA_TOOLS_DIR", "/t"), ("XDG_CACHE_HOME", "/c"), ("HOME", "/h")];
        assert_eq!(from(&all).unwrap(), PathBuf::from("/t"));
        assert_eq!(from(&all[1..]).unwrap(), PathBuf::from("/c/anya"));
        assert_eq!(from(&all[2..]).unwrap(), PathBuf::from("/h/.cache/anya"));
        assert_eq!(from(&[("ANYA_TOOLS_DIR", ""), ("HOME", "/h")]).unwrap(), PathBuf::from("/h/.cache/anya"));
        assert!(matches!(from(&[]), Err(Error::NoToolsDir)));
    }

    #[test]
    fn the_checkout_is_found() {
        assert!(repository().unwrap().join("Cargo.lock").is_file());
    }
}
