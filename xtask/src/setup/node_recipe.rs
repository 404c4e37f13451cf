//! Unpacks a Bitcoin node from Debian sid into a private folder, with every library it loads.
//!
//! Debian 12 has no `bitcoind`, and sid's needs a newer C library than the system's. So the whole closure is
//! fetched, signatures checked by apt against a state of its own, unpacked without installing, and started
//! through the closure's own dynamic loader. The system's packages, sources and apt state stay as they are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::node;
use crate::error::Error;
use crate::process;

const PACKAGE: &str = "bitcoin-knots";
const PROGRAMS: [&str; 4] = ["bitcoind", "bitcoin-cli", "bitcoin-tx", "bitcoin-wallet"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";

pub(super) fn install(tools: &Path) -> Result<(), Error> {
    if !Path::new(KEYRING).is_file() || !process::succeeds(Command::new("apt-get").arg("--version")) {
        return Err(Error::NoNodeRecipe { least: node::LEAST });
    }
    let place = node::folder(tools);
    // Built beside its place and renamed into it, so that what is found there is always whole. The lock
    // of set-up is held: what lies here already was left by a set-up that was cut short.
    let build = tools.join("bitcoin-node.new");
    remove(&build)?;
    let built = unpack(&build, &place);
    if built.is_err() {
        remove(&build)?;
    }
    built?;
    remove(&place)?;
    fs::rename(&build, &place).map_err(Error::io("rename", &build))
}

/// Fills `build` so that it works once it has been renamed to `place`.
fn unpack(build: &Path, place: &Path) -> Result<(), Error> {
    let apt = Apt::new(build.join("apt"))?;
    process::capture(&mut apt.get(&["-qq", "update"]))?;
    let plan = process::capture(&mut apt.get(&["-s", "install", PACKAGE]))?;
    let packages = closure(&plan);
    if !packages.contains(&PACKAGE) {
        return Err(Error::NodeClosure { what: format!("apt offers no {PACKAGE}") });
    }
    let archives = apt.folder.join("archives");
    process::capture(apt.get(&["-qq", "download"]).args(&packages).current_dir(&archives))?;

    let root = build.join("root");
    let mut contents = Vec::new();
    for archive in
        entries(&archives)?.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "deb"))
    {
        process::capture(Command::new("dpkg").arg("-x").arg(&archive).arg(&root))?;
        let show = ["--showformat", "${Package} ${Version} ${Architecture}\\n"];
        contents.push(process::capture(Command::new("dpkg-deb").arg("--show").args(show).arg(&archive))?);
    }
    remove(&apt.folder)?;
    for unused in ["usr/share/man", "usr/share/locale", "usr/share/bash-completion"] {
        remove(&root.join(unused))?;
    }

    let loader = Loader::find(&root)?;
    loader.assert_closed(&root.join("usr/bin/bitcoind"))?;
    let answer = process::capture(loader.command(&root.join("usr/bin/bitcoind")).arg("--version"))?;
    let version = node::accept(&root.join("usr/bin/bitcoind"), &answer)?;

    let bin = build.join("bin");
    fs::create_dir_all(&bin).map_err(Error::io("create", &bin))?;
    for program in PROGRAMS {
        write_wrapper(
            &bin.join(program),
            &loader.moved(build, place),
            &place.join("root/usr/bin").join(program),
        )?;
    }
    contents.sort();
    write(&build.join("VERSION"), &format!("bitcoind {version}\n{}", contents.concat()))
}

/// apt with a state of its own: sid's index and nothing installed, so that it names the whole closure.
struct Apt {
    folder: PathBuf,
    config: PathBuf,
}

impl Apt {
    fn new(folder: PathBuf) -> Result<Self, Error> {
        for part in ["lists/partial", "archives/partial", "sources"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).map_err(Error::io("create", &part))?;
        }
        let mirror = mirror_of_this_machine();
        write(
            &folder.join("sources/sid.sources"),
            &format!("Types: deb\nURIs: {mirror}\nSuites: sid\nComponents: main\nSigned-By: {KEYRING}\n"),
        )?;
        write(&folder.join("status"), "")?;
        let architecture = process::capture(Command::new("dpkg").arg("--print-architecture"))?;
        let config = folder.join("apt.conf");
        write(&config, &apt_config(&folder, architecture.trim()))?;
        Ok(Self { folder, config })
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

/// The packages that apt would install, less those that the node never loads.
fn closure(plan: &str) -> Vec<&str> {
    let installed = plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next());
    installed.filter(|package| !is_unneeded(package)).collect()
}

/// Service management, package scripts, character sets: what maintainers' scripts want, not the program.
/// [`Loader::assert_closed`] would find it out if one of them were loaded after all.
fn is_unneeded(package: &str) -> bool {
    const NAMES: [&str; 7] = [
        "systemd",
        "debconf",
        "libblkid1",
        "libmount1",
        "libselinux1",
        "libpcre2-8-0",
        "libc-gconv-modules-extra",
    ];
    const PREFIXES: [&str; 4] = ["systemd-", "libsystemd", "libc-gconv", "openssl-provider-"];
    NAMES.contains(&package)
        || PREFIXES.iter().any(|prefix| package.starts_with(prefix))
        || (package.starts_with("gcc-") && package.ends_with("-base"))
}

/// The dynamic loader of the closure and the folder of its libraries.
struct Loader {
    program: PathBuf,
    libraries: PathBuf,
}

impl Loader {
    fn find(root: &Path) -> Result<Self, Error> {
        let named = |path: &Path, prefix: &str, infix: &str| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(prefix) && name.contains(infix))
        };
        for libraries in
            entries(&root.join("usr/lib"))?.into_iter().filter(|path| named(path, "", "-linux-gnu"))
        {
            if let Some(program) =
                entries(&libraries)?.into_iter().find(|path| named(path, "ld-linux", ".so."))
            {
                return Ok(Self { program, libraries });
            }
        }
        Err(Error::NodeClosure { what: "it holds no dynamic loader".to_owned() })
    }

    /// The same once `from` has been renamed to `to`.
    fn moved(&self, from: &Path, to: &Path) -> Self {
        let moved =
            |path: &Path| path.strip_prefix(from).map_or_else(|_| path.to_owned(), |rest| to.join(rest));
        Self { program: moved(&self.program), libraries: moved(&self.libraries) }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--inhibit-cache").arg("--library-path").arg(&self.libraries).arg(program);
        command
    }

    /// Holds that the program loads nothing from the system.
    fn assert_closed(&self, program: &Path) -> Result<(), Error> {
        let mut command = Command::new(&self.program);
        command.args(["--inhibit-cache", "--library-path"]).arg(&self.libraries).arg("--list").arg(program);
        let listing = process::capture(&mut command)?;
        let strangers = strangers(&listing, &self.libraries);
        if strangers.is_empty() { Ok(()) } else { Err(Error::NodeClosure { what: strangers.join(", ") }) }
    }
}

/// Lines of the loader's listing that lead out of `libraries`. The loader itself is named by its absolute
/// path in every program, whichever loader is running.
fn strangers(listing: &str, libraries: &Path) -> Vec<String> {
    let loaded = listing.lines().filter_map(|line| line.trim().split_once(" => "));
    let outside =
        loaded.filter(|(name, path)| !name.contains("/ld-linux") && !Path::new(path).starts_with(libraries));
    outside.map(|(name, path)| format!("{name} => {path}")).collect()
}

fn write_wrapper(path: &Path, loader: &Loader, program: &Path) -> Result<(), Error> {
    let line = format!(
        "#!/bin/sh\nexec {loader} --argv0 \"$0\" --inhibit-cache --library-path {libraries} {program} \"$@\"\n",
        loader = process::quoted(loader.program.as_os_str()),
        libraries = process::quoted(loader.libraries.as_os_str()),
        program = process::quoted(program.as_os_str()),
    );
    write(path, &line)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(Error::io("set the mode of", path))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::io("write", path))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let paths: Result<Vec<PathBuf>, _> = read.map(|entry| entry.map(|entry| entry.path())).collect();
    paths.map_err(Error::io("read", folder))
}

/// Removes a folder that may not be there.
fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", folder)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closure_is_read_from_apts_plan() {
        let plan = "Reading package lists...\nInst gcc-16-base (16-1 Debian:unstable [amd64])\n\
                    Inst libc6 (2.43-1 Debian:unstable [amd64]) []\nInst systemd (260-1 Debian:unstable [amd64])\n\
                    Inst libsystemd0 (260-1 x)\nInst bitcoin-knots (29.4-1 Debian:unstable [amd64])\n\
                    Conf libc6 (2.43-1 Debian:unstable [amd64])\n";
        assert_eq!(closure(plan), ["libc6", "bitcoin-knots"]);
        assert!(closure("E: Unable to locate package\n").is_empty());
    }

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

    #[test]
    fn libraries_of_the_system_are_found_out() {
        let libraries = Path::new("/p/lib");
        let whole = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /p/lib/libc.so.6 (0x2)\n\
                     \t/lib64/ld-linux-x86-64.so.2 => /q/ld-linux-x86-64.so.2 (0x3)\n";
        assert!(strangers(whole, libraries).is_empty());
        let holes = "\tlibz.so.1 => not found\n\tlibm.so.6 => /lib/libm.so.6 (0x4)\n";
        assert_eq!(strangers(holes, libraries).len(), 2);
    }

    #[test]
    fn wrappers_name_the_place_the_build_is_renamed_to() {
        let loader = Loader { program: "/t/new/root/ld".into(), libraries: "/t/new/root/lib".into() };
        let moved = loader.moved(Path::new("/t/new"), Path::new("/t/a node"));
        let file = tempfile::NamedTempFile::new().unwrap();
        write_wrapper(file.path(), &moved, Path::new("/t/a node/root/bitcoind")).unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        assert!(text.contains("exec '/t/a node/root/ld' --argv0 \"$0\""), "{text}");
        assert!(!text.contains("/t/new"), "{text}");
    }
}
