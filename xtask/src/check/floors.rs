//! Each floor of the house knows only the floors under it.

use std::path::Path;

use toml::{Table, Value};

use super::manifests::{self, Package};
use crate::error::Error;

/// The floor of each room, lowest first. Rooms that share a floor do not know each other.
const FLOORS: [&[&str]; 14] = [
    &["anya-primitives"],
    &["anya-api"],
    &["anya-config", "anya-telemetry"],
    &["anya-store", "anya-provider"],
    &["anya-keystore", "anya-pkcs11", "anya-enclave"],
    &["anya-yubihsm", "anya-conformance", "anya-signer"],
    &["anya-keys"],
    &["anya-chain"],
    &["anya-filters", "anya-psbt", "anya-descriptor", "anya-coins", "anya-coinset"],
    &["anya-message"],
    &["anya-wallet"],
    &["anya-treasury"],
    &["anya-server", "anya-client"],
    &["anya"],
];

/// Stand beside the house: they may know every room, and a room may know them in its tests only.
const TESTKITS: [&str; 3] = ["anya-testkit", "anya-pkcs11-chaos", "anya-yubihsm-sim"];

/// Must compile before the libraries are there that the rooms link.
const XTASK: &str = "xtask";

/// Dependencies that lead up, sideways, or out of the tests into the test kit.
pub(super) fn check(repository: &Path) -> Result<Vec<String>, Error> {
    Ok(manifests::packages(repository)?.iter().flat_map(faults).collect())
}

fn faults(package: &Package) -> Vec<String> {
    let own = &package.name;
    if floor(own).is_none() && !TESTKITS.contains(&own.as_str()) && own != XTASK {
        return vec![format!("{own} has no floor: give it one in xtask/src/check/floors.rs")];
    }
    let mut faults = Vec::new();
    for (dependency, kind) in dependencies(&package.manifest) {
        let fault = match (floor(own), floor(&dependency)) {
            _ if TESTKITS.contains(&dependency.as_str()) && kind != Kind::Dev => {
                "the test kit may stand in dev-dependencies only: it must not reach the binary"
            }
            (Some(own), Some(below)) if below >= own => "a room knows only the floors under its own",
            (_, Some(_)) if own == XTASK => {
                "set-up must compile before the libraries that the rooms link are there"
            }
            _ => continue,
        };
        faults.push(format!("{own} depends on {dependency}: {fault}"));
    }
    faults
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&name))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dev,
    Other,
}

/// All dependencies of a manifest, by the name of the package, those for one platform too.
fn dependencies(manifest: &Table) -> Vec<(String, Kind)> {
    let platforms = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = std::iter::once(manifest).chain(platforms.filter_map(Value::as_table));
    let mut found = Vec::new();
    for table in tables {
        for (section, kind) in [
            ("dependencies", Kind::Other),
            ("build-dependencies", Kind::Other),
            ("dev-dependencies", Kind::Dev),
        ] {
            for (name, value) in table.get(section).and_then(Value::as_table).into_iter().flatten() {
                let renamed = value.get("package").and_then(Value::as_str);
                found.push((renamed.unwrap_or(name).to_owned(), kind));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(name: &str, manifest: &str) -> Vec<String> {
        faults(&Package {
            name: name.to_owned(),
            folder: "crates/x".into(),
            manifest: manifest.parse().unwrap(),
        })
    }

    #[test]
    fn down_is_allowed() {
        let manifest = "[dependencies]\nanya-store.workspace = true\nserde.workspace = true\n\
                        [dev-dependencies]\nanya-testkit.workspace = true\nanya-primitives = { path = \"../p\" }\n";
        assert!(faults_of("anya-keys", manifest).is_empty());
        assert!(faults_of(TESTKITS[0], "[dependencies]\nanya-primitives.workspace = true\n").is_empty());
    }

    #[test]
    fn up_sideways_and_round_the_corner_are_not() {
        for (name, manifest) in [
            ("anya-keys", "[dependencies]\nanya-wallet.workspace = true\n"),
            ("anya-server", "[dependencies]\nanya-client.workspace = true\n"),
            ("anya-store", "[build-dependencies]\nanya-chain.workspace = true\n"),
            ("anya-store", "[target.'cfg(unix)'.dependencies]\nanya-chain.workspace = true\n"),
            ("anya-store", "[dependencies]\nnode = { package = \"anya-chain\", path = \"../chain\" }\n"),
            ("anya-store", "[dev-dependencies]\nanya-chain.workspace = true\n"),
            ("anya", "[dependencies]\nanya-testkit.workspace = true\n"),
            ("xtask", "[dependencies]\nanya-primitives.workspace = true\n"),
            ("anya-attic", ""),
        ] {
            assert_eq!(faults_of(name, manifest).len(), 1, "{name}: {manifest}");
        }
    }
}
