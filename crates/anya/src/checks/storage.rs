//! The ledger's file: whole, and of a schema that this build knows.

use std::collections::HashSet;

use anya_config::Config;
use anya_store::Inspection;

use super::Check;
use crate::compose::migrations;

/// Checks the ledger. It reads all of it, which may take long, so it belongs on a thread of its own.
pub(crate) fn ledger(config: &Config) -> Vec<Check> {
    let path = config.data.dir.join("ledger.sqlite");
    match Inspection::of(&path) {
        Ok(found) => vec![integrity(&found.faults), schema(&found.migrations)],
        Err(error) => vec![Check::fail(
            "ledger",
            format!("{}: {error}", path.display()),
            "stop the server and restore the newest backup, or run `anya init` if there never was a ledger",
        )],
    }
}

fn integrity(faults: &[String]) -> Check {
    if faults.is_empty() {
        return Check::ok("ledger", "the integrity check finds nothing");
    }
    let detail = format!("damaged: {}", faults.join("; "));
    Check::fail("ledger", detail, "stop the server and restore the newest backup")
}

fn schema(applied: &[String]) -> Check {
    let known: Vec<&str> = migrations().iter().map(|migration| migration.name).collect();
    let done: HashSet<&str> = applied.iter().map(String::as_str).collect();
    if let Some(unknown) = applied.iter().find(|name| !known.contains(&name.as_str())) {
        let detail = format!("written by a newer version: {unknown} is unknown to this build");
        return Check::fail("schema", detail, "use the version that wrote it, or a newer one");
    }
    let pending: Vec<&str> = known.iter().filter(|name| !done.contains(*name)).copied().collect();
    if pending.is_empty() {
        Check::ok("schema", format!("{} migrations, all applied", applied.len()))
    } else {
        let detail = format!("not applied yet: {}", pending.join(", "));
        Check::warn("schema", detail, "back the folder up; the next start applies them")
    }
}
