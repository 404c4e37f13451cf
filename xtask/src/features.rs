//! The features that lint and tests turn on.

use std::fs;
use std::path::Path;

use crate::error::Error;

/// Arguments for cargo: fail points are compiled in where the binary declares them. Lint, docs and tests use
/// the same, so that they see the same code and share their builds.
///
/// # Errors
/// When the manifest of the binary cannot be read.
pub(crate) fn of_tests(repository: &Path) -> Result<Vec<&'static str>, Error> {
    let path = repository.join("crates/anya/Cargo.toml");
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let manifest: toml::Table =
        text.parse().map_err(|error: toml::de::Error| Error::Malformed { path, what: error.to_string() })?;
    let declared = manifest.get("features").and_then(|features| features.get("failpoints")).is_some();
    Ok(if declared { vec!["--features", "anya/failpoints"] } else { Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fail_points_are_on_where_they_are_declared() {
        let repository = tempfile::tempdir().unwrap();
        let manifest = repository.path().join("crates/anya/Cargo.toml");
        assert!(of_tests(repository.path()).is_err());
        fs::create_dir_all(manifest.parent().unwrap()).unwrap();
        fs::write(&manifest, "[package]\nname = \"anya\"\n").unwrap();
        assert!(of_tests(repository.path()).unwrap().is_empty());
        fs::write(&manifest, "[features]\nfailpoints = [\"fail/failpoints\"]\n").unwrap();
        assert_eq!(of_tests(repository.path()).unwrap(), ["--features", "anya/failpoints"]);
    }
}
