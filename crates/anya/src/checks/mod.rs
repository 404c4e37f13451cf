//! What `anya doctor` looks at. Each check names what is wrong and what mends it, and changes nothing.

pub(crate) mod files;
pub(crate) mod node;
pub(crate) mod peers;
pub(crate) mod provider;
pub(crate) mod socket;
pub(crate) mod storage;
pub(crate) mod tls;

use serde::Serialize;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Ok,
    Warn,
    Fail,
}

/// One check.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) outcome: Outcome,
    /// What was found.
    pub(crate) detail: String,
    /// What mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

impl Check {
    pub(crate) fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Ok, detail: detail.into(), remedy: None }
    }

    pub(crate) fn warn(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Warn, detail: detail.into(), remedy: Some(remedy.into()) }
    }

    pub(crate) fn fail(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Fail, detail: detail.into(), remedy: Some(remedy.into()) }
    }
}
