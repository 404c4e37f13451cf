//! Unpacks a Bitcoin node from Debian sid into a private folder, with every library it loads.
//!
//! Debian 12 has no `bitcoind`, and sid's needs a newer C library than the system's. So the whole closure is
//! fetched, unpacked without installing, and started through the closure's own dynamic loader.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::debian::{self, Apt, entries, remove, write};
use super::node;
use crate::error::Error;
use crate::process;

const PACKAGE: &str = "bitcoin-knots";
const PROGRAMS: [&str; 4] = ["bitcoind", "bitcoin-cli", "bitcoin-tx", "bitcoin-wallet"];

pub(super) fn install(tools: &Path) -> Result<(), Error> {
    if !debian::is_within_reach() {
        return Err(Error::NoNodeRecipe { least: node::LEAST });
    }
    let place = node::folder(tools);
    debian::build(&place, |build| unpack(build, &place))
}

/// Fills `build` so that it works once it has been renamed to `place`.
fn unpack(build: &Path, place: &Path) -> Result<(), Error> {
    let apt = Apt::new(build.join("apt"), "sid")?;
    let plan = apt.plan(PACKAGE)?;
    let packages = closure(&plan);
    if !packages.contains(&PACKAGE) {
        return Err(Error::NodeClosure { what: format!("apt offers no {PACKAGE}") });
    }
    let root = build.join("root");
    let contents = apt.unpack(&packages, &root)?;
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
    write(&build.join("VERSION"), &format!("bitcoind {version}\n{contents}"))
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
