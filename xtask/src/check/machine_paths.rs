//! No file of the repository names a folder of the machine it was written on: such a path works for one
//! person, and tells others who that is.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::error::Error;
use crate::process;

/// Folders that hold one person's or one sandbox's files. Joined from halves, so that this file passes.
const HOMES: [&str; 5] = [
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Use", "rs/"),
    concat!("/wo", "rk/"),
    concat!(r"C:\Use", r"rs\"),
];

/// Names of nobody, for examples.
const NOBODY: [&str; 6] = ["x", "user", "you", "alice", "bob", "anya"];

pub(super) fn check(repository: &Path) -> Result<Vec<String>, Error> {
    let mut git = Command::new("git");
    git.current_dir(repository).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listing = process::capture(&mut git)?;
    let here = repository.to_string_lossy();
    let mut faults = Vec::new();
    for name in listing.split('\0').filter(|name| !name.is_empty()) {
        let path = repository.join(name);
        // Removed but not yet committed, a link, or a submodule: no text of ours.
        if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
            continue;
        }
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let Ok(text) = String::from_utf8(bytes) else { continue };
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = machine_path(line, &here) {
                faults.push(format!("{name}:{} names a path of one machine: {word}", number + 1));
            }
        }
    }
    Ok(faults)
}

/// The first word of the line that leads into somebody's folder, or into the checkout at `here`.
fn machine_path<'a>(line: &'a str, here: &str) -> Option<&'a str> {
    // In the middle of a longer path, or after a variable, it is some other folder.
    let starts = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}/~*".contains(c));
    let somebody = |rest: &str| {
        let name =
            rest.split(|c: char| !(c.is_alphanumeric() || "._-".contains(c))).next().unwrap_or_default();
        !name.is_empty() && !NOBODY.contains(&name)
    };
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || "-_".contains(c));
    let homes = HOMES.iter().flat_map(|home| line.match_indices(home));
    let homes = homes.filter(|(at, home)| somebody(&line[at + home.len()..]));
    let own = line.match_indices(here).filter(|(at, here)| here.len() > 1 && ends(&line[at + here.len()..]));
    let at = homes.chain(own).map(|(at, _)| at).filter(|at| starts(*at)).min()?;
    line[at..].split(|end: char| end.is_whitespace() || "\"'`),;:>".contains(end)).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_one_machine_are_found() {
        let home = concat!("/ho", "me/kim/anya");
        let root = concat!("/ro", "ot/.cache");
        assert_eq!(machine_path(&format!("see `{home}`, please"), "/src/anya"), Some(home));
        assert_eq!(machine_path(&format!("DIR={root} x"), "/src/anya"), Some(root));
        assert_eq!(machine_path("cd /src/anya && ls", "/src/anya"), Some("/src/anya"));
        assert_eq!(machine_path("cd /src/anya/target", "/src/anya"), Some("/src/anya/target"));
    }

    #[test]
    fn other_paths_are_not() {
        for line in [
            "ProtectHome=yes",
            concat!("HOME=/ho", "me/alice"),
            concat!("everything under /ho", "me/ is hidden"),
            concat!("$HOME/ro", "ot/usr/bin"),
            concat!("build/ro", "ot/usr/bin"),
            concat!("https://example.org/ho", "me/page"),
            "/src/anya-console/x",
            "a/src/anya",
            "/usr/lib/x86_64-linux-gnu",
        ] {
            assert_eq!(machine_path(line, "/src/anya"), None, "{line}");
        }
    }
}
