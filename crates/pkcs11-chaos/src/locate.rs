//! Where the module lies, as a file that can be loaded.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::error::{Error, Result};

const LIBRARY: &str = "libanya_pkcs11_chaos.so";

/// The chaos module as a shared library.
///
/// Cargo makes it together with the `rlib` that the caller is linked with, so it lies in the same folder as the test's
/// program or in `deps` below it. Where it does not, it is built with the same profile. `$ANYA_CHAOS_MODULE` overrules.
///
/// # Errors
/// [`Error::Failed`] with cargo's output when it cannot be built.
pub fn chaos_module_path() -> Result<PathBuf> {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = PATH.get() {
        return Ok(path.clone());
    }
    let path = match env::var_os("ANYA_CHAOS_MODULE").map(PathBuf::from).or_else(beside_the_program) {
        Some(path) => path,
        None => build()?,
    };
    Ok(PATH.get_or_init(|| path).clone())
}

fn beside_the_program() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    let folder = program.parent()?;
    [folder.join(LIBRARY), folder.join("deps").join(LIBRARY)].into_iter().rev().find(|path| path.is_file())
}

fn build() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.args(["build", "--quiet", "--package", "anya-pkcs11-chaos", "--lib", "--message-format=json"]);
    command.arg("--manifest-path").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let failed =
        |output: String| Error::Failed { program: "cargo build -p anya-pkcs11-chaos".to_owned(), output };
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message.get("filenames")?.as_array().cloned())
        .flatten()
        .filter_map(|name| name.as_str().map(PathBuf::from))
        .find(|path| path.file_name().is_some_and(|name| name == LIBRARY))
        .ok_or_else(|| failed(format!("it made no {LIBRARY}")))
}
