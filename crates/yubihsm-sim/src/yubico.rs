//! Yubico's own programs, which `cargo xtask setup` installs.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// `yubihsm-shell`: `$YUBIHSM_SHELL_EXE`, else the one that set-up installed.
///
/// # Panics
/// When there is none; the message is the command that installs it.
pub fn shell() -> PathBuf {
    found("YUBIHSM_SHELL_EXE", "bin/yubihsm-shell")
}

/// `yubihsm_pkcs11.so`: `$YUBIHSM_PKCS11_MODULE`, else the one that set-up installed. Any process can load it. It finds
/// its connector in `pReserved` of `C_Initialize` (`connector=URL`) or in the file that `$YUBIHSM_PKCS11_CONF` names,
/// and holds one connector as one slot.
///
/// # Panics
/// When there is none; the message is the command that installs it.
pub fn pkcs11_module() -> PathBuf {
    found("YUBIHSM_PKCS11_MODULE", "lib/yubihsm_pkcs11.so")
}

#[expect(clippy::panic, reason = "a missing component fails the test, with the command that installs it")]
fn found(variable: &str, file: &str) -> PathBuf {
    let path = place(|name| env::var_os(name), variable, file);
    if !path.is_file() {
        panic!("no {} for the tests: run `cargo xtask setup`, or name one in {variable}", path.display());
    }
    path
}

/// The rule of `anya_testkit::bitcoind::tools_dir`, which one test kit cannot take from another.
fn place(var: impl Fn(&str) -> Option<OsString>, variable: &str, file: &str) -> PathBuf {
    let set = |name: &str| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || set("XDG_CACHE_HOME").unwrap_or_else(|| set("HOME").unwrap_or_default().join(".cache"));
    set(variable).unwrap_or_else(|| {
        let tools = set("ANYA_TOOLS_DIR").unwrap_or_else(|| cache().join("anya"));
        tools.join("yubihsm").join(Path::new(file))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_over_the_private_folder() {
        let from = |pairs: &[(&str, &str)]| {
            let var = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
            place(var, "X_EXE", "bin/x")
        };
        assert_eq!(from(&[("HOME", "/h")]), Path::new("/h/.cache/anya/yubihsm/bin/x"));
        assert_eq!(from(&[("HOME", "/h"), ("ANYA_TOOLS_DIR", "/t")]), Path::new("/t/yubihsm/bin/x"));
        assert_eq!(from(&[("X_EXE", "/x"), ("ANYA_TOOLS_DIR", "/t")]), Path::new("/x"));
    }
}
