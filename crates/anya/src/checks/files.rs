//! The data folder, its files' owners and modes, its network, the space under it.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anya_config::Config;
use anya_store::DataDir;

use super::Check;
use crate::{
    compose::{NETWORK_FILE, check_network},
    context::ADMIN_TOKEN,
};

/// Below this much space a server is in danger.
const SCARCE: u64 = 1024 * 1024 * 1024;

/// Below this much the ledger may not take another write.
const NONE_LEFT: u64 = 100 * 1024 * 1024;

/// Whether a server holds the data folder. Taking the lock for a moment is the only true test.
pub(crate) enum Hold {
    Free,
    Running,
    Unusable,
}

pub(crate) fn data_dir(config: &Config, checks: &mut Vec<Check>) -> Hold {
    let dir = &config.data.dir;
    let (check, hold) = match DataDir::open_locked(dir) {
        Ok(lock) => {
            drop(lock);
            (Check::ok("data folder", format!("{} is free: no server runs on it", dir.display())), Hold::Free)
        }
        Err(anya_store::Error::Locked { holder, .. }) => {
            let detail = format!("{} is served by {holder}", dir.display());
            (Check::ok("data folder", detail), Hold::Running)
        }
        Err(error) => {
            let remedy = match &error {
                anya_store::Error::NotInitialised { .. } => {
                    "run `anya init`, or name the folder with --data-dir"
                }
                anya_store::Error::Permissions { .. } => "run `chmod 700` on it",
                _ => "check that this user owns the folder and may write to it",
            };
            (Check::fail("data folder", crate::error::chain(&error), remedy), Hold::Unusable)
        }
    };
    checks.push(check);
    if !matches!(hold, Hold::Unusable) {
        checks.push(match check_network(dir, config.bitcoin.network) {
            Ok(()) => Check::ok("network", config.bitcoin.network.name()),
            Err(error) => Check::fail(
                "network",
                error.to_string(),
                format!("set bitcoin.network to what {NETWORK_FILE} in the data folder says"),
            ),
        });
    }
    hold
}

/// Secrets and state must be their owner's alone.
pub(crate) fn modes(config: &Config, checks: &mut Vec<Check>) {
    let dir = &config.data.dir;
    let ledger = dir.join("ledger.sqlite");
    let mut files: Vec<PathBuf> = vec![
        config.keystore.file.clone(),
        dir.join(ADMIN_TOKEN),
        ledger.clone(),
        ledger.with_extension("sqlite-wal"),
        ledger.with_extension("sqlite-shm"),
        config.server.tls_key.clone(),
    ];
    if let Some(anya_config::Secret::File(path)) = &config.keystore.passphrase {
        files.push(path.clone());
    }
    let me = rustix::process::geteuid().as_raw();
    let mut seen = 0;
    for path in files {
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => checks.push(Check::fail(
                "file modes",
                format!("{}: {error}", path.display()),
                "run this as the server's user",
            )),
            Ok(metadata) => {
                seen += 1;
                checks.extend(mode(&path, metadata.mode() & 0o777, metadata.uid(), me));
            }
        }
    }
    if !checks.iter().any(|check| check.name == "file modes") {
        checks.push(Check::ok("file modes", format!("{seen} files with secrets are this user's alone")));
    }
}

fn mode(path: &Path, mode: u32, owner: u32, me: u32) -> Option<Check> {
    if mode & 0o077 != 0 {
        let detail = format!("{} can be reached by others (mode {mode:03o})", path.display());
        return Some(Check::fail("file modes", detail, format!("chmod 600 {}", path.display())));
    }
    if owner != me {
        let detail = format!("{} belongs to user {owner}, this is user {me}", path.display());
        return Some(Check::warn(
            "file modes",
            detail,
            "run doctor, and the server, as the owner of the data folder",
        ));
    }
    None
}

/// The space left under the data folder.
pub(crate) fn space(config: &Config, checks: &mut Vec<Check>) {
    let dir = &config.data.dir;
    let stat = match rustix::fs::statvfs(dir) {
        Ok(stat) => stat,
        Err(error) => {
            let remedy = "check that the folder exists and its file system is mounted";
            return checks.push(Check::fail("disk space", format!("{}: {error}", dir.display()), remedy));
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let detail = format!("{} MiB free under {}", free / (1024 * 1024), dir.display());
    let remedy = "free space there: without it nothing new can be recorded";
    checks.push(if stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        Check::fail(
            "disk space",
            format!("{} is on a read-only file system", dir.display()),
            "remount it writable",
        )
    } else if free < NONE_LEFT || stat.f_favail == 0 && stat.f_files > 0 {
        Check::fail("disk space", detail, remedy)
    } else if free < SCARCE {
        Check::warn("disk space", detail, remedy)
    } else {
        Check::ok("disk space", detail)
    });
}
