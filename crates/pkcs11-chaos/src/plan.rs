//! What the commander writes and the module reads: a file that is replaced as a whole.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    fault::{Fault, FaultId, FaultKind},
    personality::Personality,
};

/// Its name in the control folder.
const FILE: &str = "plan.json";

/// Everything that the module does beyond forwarding.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Rises with every change.
    pub(crate) generation: u64,
    /// The module to forward to, where the environment does not say.
    pub(crate) forward: Option<String>,
    /// What to put into the environment before that module is loaded.
    pub(crate) env: BTreeMap<String, String>,
    /// Whose device to resemble.
    pub(crate) personality: Personality,
    /// For how long a new token key stays unusable on a device with a quorum, in milliseconds.
    pub(crate) quorum_ms: u64,
    /// Whether every call is written down.
    #[serde(default)]
    pub(crate) trace: bool,
    /// What to do wrong.
    pub(crate) faults: Vec<Planned>,
}

/// A fault and where its counts are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Planned {
    pub(crate) id: FaultId,
    pub(crate) slot: usize,
    pub(crate) fault: Fault,
}

impl Plan {
    /// Whether the token is out.
    pub(crate) fn token_removed(&self) -> bool {
        self.faults.iter().any(|planned| planned.fault.kind == FaultKind::RemoveToken)
    }

    /// The plan in a control folder, or nothing where there is none yet.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| Error::Damaged { path: dir.to_owned(), reason: error.to_string() })
    }

    /// Replaces the plan, so that a reader sees the old one or the new one.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let fresh = dir.join("plan.json.new");
        let text = serde_json::to_vec(self)
            .map_err(|error| Error::Damaged { path: dir.to_owned(), reason: error.to_string() })?;
        fs::write(&fresh, text).map_err(Error::io("write", &fresh))?;
        fs::rename(&fresh, &path).map_err(Error::io("replace", path))
    }
}
