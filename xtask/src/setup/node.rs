//! The Bitcoin node that tests and the demo run: one that is there, else one unpacked privately.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Finding;
use crate::error::Error;
use crate::{paths, process};

/// The oldest major version whose RPC the chain room is written for.
pub(super) const LEAST: u32 = 29;

/// A node's program that is there and new enough.
#[derive(Debug)]
pub(crate) struct Node {
    /// `bitcoind`.
    pub(crate) program: PathBuf,
    /// As the program gives it, such as `v29.4.knots20260508`.
    version: String,
}

impl Node {
    /// Whether it is Knots, whose relay policy is not Core's.
    pub(crate) fn is_knots(&self) -> bool {
        self.version.contains("knots")
    }
}

/// The node that the tests will use, if there is one: `$BITCOIND_EXE`, else `PATH`, else the private folder.
///
/// # Errors
/// When the one that would be used is no program or too old; there is no falling through to the next.
pub(crate) fn find() -> Result<Option<Node>, Error> {
    find_in(&paths::tools_dir()?)
}

/// Where the private node lies.
pub(super) fn folder(tools: &Path) -> PathBuf {
    tools.join("bitcoin-node")
}

pub(super) fn find_or_describe(tools: &Path) -> Result<Finding, Error> {
    Ok(match find_in(tools)? {
        Some(node) => Finding::Ready(format!("{} ({})", node.program.display(), node.version)),
        None => Finding::Missing(format!(
            "bitcoin-knots of Debian sid, unpacked into {} (no system change)",
            folder(tools).display()
        )),
    })
}

fn find_in(tools: &Path) -> Result<Option<Node>, Error> {
    let private = folder(tools).join("bin/bitcoind");
    let Some(program) = choose(env::var_os("BITCOIND_EXE"), env::var_os("PATH"), &private)? else {
        return Ok(None);
    };
    let answer = process::capture(Command::new(&program).arg("--version"));
    match answer.and_then(|answer| accept(&program, &answer)) {
        Ok(version) => Ok(Some(Node { program, version })),
        // Ours, and spoilt: to be unpacked anew.
        Err(_) if program == private => Ok(None),
        Err(error) => Err(error),
    }
}

fn choose(exe: Option<OsString>, path: Option<OsString>, private: &Path) -> Result<Option<PathBuf>, Error> {
    if let Some(path) = exe.filter(|value| !value.is_empty()).map(PathBuf::from) {
        return if path.is_file() { Ok(Some(path)) } else { Err(Error::BadBitcoindExe { path }) };
    }
    let path = path.unwrap_or_default();
    let on_path = env::split_paths(&path).map(|folder| folder.join("bitcoind")).find(|file| file.is_file());
    Ok(on_path.or_else(|| private.is_file().then(|| private.to_owned())))
}

/// The version in what `bitcoind --version` answered, when it is new enough.
///
/// # Errors
/// [`Error::NodeVersion`] or [`Error::NodeTooOld`].
pub(super) fn accept(program: &Path, answer: &str) -> Result<String, Error> {
    let first = answer.lines().next().unwrap_or_default();
    let unknown = || Error::NodeVersion { path: program.to_owned(), output: first.to_owned() };
    let version =
        first.split_whitespace().next_back().filter(|word| word.starts_with('v')).ok_or_else(unknown)?;
    let major: u32 =
        version[1..].split('.').next().and_then(|major| major.parse().ok()).ok_or_else(unknown)?;
    if major < LEAST {
        return Err(Error::NodeTooOld { path: program.to_owned(), found: version.to_owned(), least: LEAST });
    }
    Ok(version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn versions_are_read_and_old_ones_refused() {
        let program = Path::new("bitcoind");
        let accept = |answer| accept(program, answer);
        assert_eq!(
            accept("Bitcoin Knots daemon version v29.4.knots20260508\nCopyright\n").unwrap(),
            "v29.4.knots20260508"
        );
        assert_eq!(accept("Bitcoin Core daemon version v32.1.0\n").unwrap(), "v32.1.0");
        assert!(matches!(accept("Bitcoin Core version v25.0.0\n"), Err(Error::NodeTooOld { .. })));
        for answer in ["", "bitcoind", "version v", "version vx.1"] {
            assert!(matches!(accept(answer), Err(Error::NodeVersion { .. })), "{answer}");
        }
    }

    #[test]
    fn the_nearest_node_is_chosen() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name).join("bitcoind");
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            path
        };
        let (named, on_path, private) = (file("named"), file("path"), file("private"));
        let path = Some(env::join_paths([Path::new("/nowhere"), on_path.parent().unwrap()]).unwrap());
        let choose = |exe: Option<&Path>, path: &Option<OsString>| {
            super::choose(exe.map(Into::into), path.clone(), &private)
        };
        assert_eq!(choose(Some(&named), &path).unwrap().unwrap(), named);
        assert_eq!(choose(None, &path).unwrap().unwrap(), on_path);
        assert_eq!(choose(None, &None).unwrap().unwrap(), private);
        assert_eq!(choose(Some(Path::new("")), &None).unwrap().unwrap(), private);
        assert!(matches!(choose(Some(Path::new("/nowhere/x")), &path), Err(Error::BadBitcoindExe { .. })));
        fs::remove_file(&private).unwrap();
        assert!(choose(None, &None).unwrap().is_none());
    }
}
