use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::Error;

/// The private folder that `cargo xtask setup` fills: `$ANYA_TOOLS_DIR`, else `$XDG_CACHE_HOME/anya`, else
/// `$HOME/.cache/anya`.
pub fn tools_dir() -> PathBuf {
    tools_dir_from(|name| env::var_os(name))
}

/// Where `cargo xtask setup` puts the node's program, and where [`locate`] looks last.
pub fn private_bitcoind() -> PathBuf {
    bitcoind_in(&tools_dir())
}

/// The program of a Bitcoin node: `$BITCOIND_EXE`, else `bitcoind` on `$PATH`, else the one in [`tools_dir`].
///
/// # Errors
/// [`Error::NoBitcoind`], whose text is the command that installs one; [`Error::BadBitcoindExe`] when the
/// variable is set and names no file.
pub fn locate() -> Result<PathBuf, Error> {
    locate_from(|name| env::var_os(name))
}

fn bitcoind_in(tools: &Path) -> PathBuf {
    tools.join("bitcoin-node/bin/bitcoind")
}

fn tools_dir_from(var: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let set = |name: &str| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = set("ANYA_TOOLS_DIR") {
        return folder;
    }
    let cache = set("XDG_CACHE_HOME").unwrap_or_else(|| set("HOME").unwrap_or_default().join(".cache"));
    cache.join("anya")
}

fn locate_from(var: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, Error> {
    if let Some(path) = var("BITCOIND_EXE").filter(|value| !value.is_empty()).map(PathBuf::from) {
        return if path.is_file() { Ok(path) } else { Err(Error::BadBitcoindExe { path }) };
    }
    let on_path = var("PATH")
        .iter()
        .flat_map(env::split_paths)
        .map(|folder| folder.join("bitcoind"))
        .find(|path| path.is_file());
    if let Some(path) = on_path {
        return Ok(path);
    }
    let tools = tools_dir_from(var);
    let path = bitcoind_in(&tools);
    if path.is_file() { Ok(path) } else { Err(Error::NoBitcoind { tools }) }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, fs};

    use super::*;

    fn lookup(pairs: &[(&str, &Path)]) -> impl Fn(&str) -> Option<OsString> + use<> {
        let map: HashMap<String, OsString> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), value.as_os_str().to_owned())).collect();
        move |name| map.get(name).cloned()
    }

    #[test]
    fn the_variable_wins_over_the_path_and_the_path_over_the_private_folder() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let (named, on_path, tools) = (root.join("named"), root.join("bin"), root.join("tools"));
        fs::create_dir_all(bitcoind_in(&tools).parent().unwrap()).unwrap();
        fs::create_dir_all(&on_path).unwrap();

        let none = lookup(&[("ANYA_TOOLS_DIR", &tools), ("PATH", &on_path)]);
        let error = locate_from(none).unwrap_err();
        assert!(error.to_string().contains("cargo xtask setup"), "{error}");

        fs::write(bitcoind_in(&tools), "").unwrap();
        let private = locate_from(lookup(&[("ANYA_TOOLS_DIR", &tools), ("PATH", &on_path)])).unwrap();
        assert_eq!(private, bitcoind_in(&tools));

        fs::write(on_path.join("bitcoind"), "").unwrap();
        let by_path = locate_from(lookup(&[("ANYA_TOOLS_DIR", &tools), ("PATH", &on_path)])).unwrap();
        assert_eq!(by_path, on_path.join("bitcoind"));

        let missing = locate_from(lookup(&[("BITCOIND_EXE", &named), ("PATH", &on_path)]));
        assert!(
            matches!(missing, Err(Error::BadBitcoindExe { .. })),
            "a wrong wish is not silently replaced"
        );
        fs::write(&named, "").unwrap();
        assert_eq!(locate_from(lookup(&[("BITCOIND_EXE", &named), ("PATH", &on_path)])).unwrap(), named);
    }

    #[test]
    fn the_private_folder_follows_the_environment() {
        let (home, cache) = (Path::new("/home/x"), Path::new("/cache"));
        assert_eq!(tools_dir_from(lookup(&[("HOME", home)])), Path::new("/home/x/.cache/anya"));
        assert_eq!(
            tools_dir_from(lookup(&[("HOME", home), ("XDG_CACHE_HOME", cache)])),
            Path::new("/cache/anya")
        );
        assert_eq!(
            tools_dir_from(lookup(&[("XDG_CACHE_HOME", cache), ("ANYA_TOOLS_DIR", home)])),
            Path::new("/home/x")
        );
    }
}
