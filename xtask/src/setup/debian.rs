//! Debian's archive, read with an apt of our own: signatures are checked, nothing is installed, and the system's
//! packages, sources and apt state stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;
use crate::process;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";

/// Whether this machine has what [`Apt`] needs.
pub(super) fn is_within_reach() -> bool {
    Path::new(KEYRING).is_file() && process::succeeds(Command::new("apt-get").arg("--version"))
}

/// Fills `place` with what `fill` makes in a folder beside it, and renames that into its place, so that what is
/// found there is always whole. The lock of set-up is held: what lies there already was left by a set-up that was
/// cut short.
pub(super) fn build(place: &Path, fill: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let build = place.with_extension("new");
    remove(&build)?;
    let built = fill(&build);
    if built.is_err() {
        remove(&build)?;
    }
    built?;
    remove(place)?;
    fs::rename(&build, place).map_err(Error::io("rename", &build))
}

/// apt with a state of its own: one suite's index and nothing installed, so that it names whole closures.
pub(super) struct Apt {
    folder: PathBuf,
    config: PathBuf,
}

impl Apt {
    /// Reads the index of `suite`.
    pub(super) fn new(folder: PathBuf, suite: &str) -> Result<Self, Error> {
        for part in ["lists/partial", "archives/partial", "sources"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).map_err(Error::io("create", &part))?;
        }
        let mirror = mirror_of_this_machine();
        write(
            &folder.join("sources/debian.sources"),
            &format!("Types: deb\nURIs: {mirror}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"),
        )?;
        write(&folder.join("status"), "")?;
        let architecture = process::capture(Command::new("dpkg").arg("--print-architecture"))?;
        let config = folder.join("apt.conf");
        write(&config, &apt_config(&folder, architecture.trim()))?;
        let apt = Self { folder, config };
        process::capture(&mut apt.get(&["-qq", "update"]))?;
        Ok(apt)
    }

    /// What apt would do to install `package`.
    pub(super) fn plan(&self, package: &str) -> Result<String, Error> {
        process::capture(&mut self.get(&["-s", "install", package]))
    }

    /// Fetches `packages` and unpacks them under `root`; then forgets its own state. Returns name, version and
    /// architecture of each, a line each, sorted.
    pub(super) fn unpack(self, packages: &[&str], root: &Path) -> Result<String, Error> {
        let archives = self.folder.join("archives");
        process::capture(self.get(&["-qq", "download"]).args(packages).current_dir(&archives))?;
        let mut contents = Vec::new();
        for archive in
            entries(&archives)?.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "deb"))
        {
            process::capture(Command::new("dpkg").arg("-x").arg(&archive).arg(root))?;
            let show = ["--showformat", "${Package} ${Version} ${Architecture}\\n"];
            contents.push(process::capture(Command::new("dpkg-deb").arg("--show").args(show).arg(&archive))?);
        }
        remove(&self.folder)?;
        contents.sort();
        Ok(contents.concat())
    }

    fn get(&self, words: &[&str]) -> Command {
        let mut command = Command::new("apt-get");
        command.args(words).env("APT_CONFIG", &self.config).env("LC_ALL", "C");
        command
    }
}

/// The settings that keep apt away from the system's state, pins and hooks. `Sandbox::User` is there because
/// apt's own account could not write into a folder of root's.
fn apt_config(folder: &Path, architecture: &str) -> String {
    let folder = folder.display();
    format!(
        r#"Dir::State "{folder}";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}";
Dir::Cache::archives "{folder}/archives";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{folder}/sources";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Update::Post-Invoke-Success "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "3";
Acquire::http::Timeout "60";
"#
    )
}

/// The mirror that this machine already uses for Debian, so that a local one is used here too.
fn mirror_of_this_machine() -> String {
    let lists = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"];
    let mirror = lists.iter().find_map(|list| mirror(&fs::read_to_string(list).ok()?));
    mirror.unwrap_or_else(|| DEFAULT_MIRROR.to_owned())
}

/// The first address of Debian's main archive in a list of sources, in either of its two formats.
fn mirror(sources: &str) -> Option<String> {
    let lines = sources.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let mut words = lines.flat_map(|line| {
        let fields = line.strip_prefix("URIs:").or_else(|| line.strip_prefix("deb ")).unwrap_or_default();
        fields.split_whitespace()
    });
    let main = words.find(|word| word.contains("://") && word.trim_end_matches('/').ends_with("/debian"));
    main.map(|word| word.trim_end_matches('/').to_owned())
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::io("write", path))
}

pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let paths: Result<Vec<PathBuf>, _> = read.map(|entry| entry.map(|entry| entry.path())).collect();
    paths.map_err(Error::io("read", folder))
}

/// Removes a folder that may not be there.
pub(super) fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", folder)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_found_in_both_formats() {
        let deb822 =
            "Types: deb\n# http://snapshot.debian.org/archive/debian/1\nURIs: http://mirror.test/debian/\n";
        assert_eq!(mirror(deb822).unwrap(), "http://mirror.test/debian");
        let security = "URIs: http://deb.debian.org/debian-security\nURIs: http://deb.debian.org/debian\n";
        assert_eq!(mirror(security).unwrap(), "http://deb.debian.org/debian");
        let one_line =
            "#deb http://old/debian x main\ndeb [signed-by=/k] https://m.test/debian bookworm main\n";
        assert_eq!(mirror(one_line).unwrap(), "https://m.test/debian");
        assert_eq!(mirror("deb https://other.test/apt stable main\n"), None);
    }
}
