//! How well a processor is patched, in Intel's words, and how much of that is good enough.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Refusal;

/// The status of a trusted computing base, as Intel's TCB info gives it. `Revoked` is absent: it is never accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TcbStatus {
    /// All updates are installed.
    UpToDate,
    /// Software has to mitigate something.
    #[serde(rename = "SWHardeningNeeded")]
    SwHardeningNeeded,
    /// The platform has to be configured differently.
    ConfigurationNeeded,
    /// Both of the above.
    #[serde(rename = "ConfigurationAndSWHardeningNeeded")]
    ConfigurationAndSwHardeningNeeded,
    /// An update is missing.
    OutOfDate,
    /// An update is missing, and the platform has to be configured differently.
    OutOfDateConfigurationNeeded,
    /// The platform was updated since the domain started.
    #[serde(rename = "TDRelaunchAdvised")]
    TdRelaunchAdvised,
    /// As above, and the platform has to be configured differently.
    #[serde(rename = "TDRelaunchAdvisedConfigurationNeeded")]
    TdRelaunchAdvisedConfigurationNeeded,
}

impl TcbStatus {
    /// Intel's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::TdRelaunchAdvised => "TDRelaunchAdvised",
            Self::TdRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
        }
    }

    pub(crate) fn from_intel(status: dcap_qvl::TcbStatus) -> Result<Self, Refusal> {
        use dcap_qvl::TcbStatus as Intel;
        Ok(match status {
            Intel::UpToDate => Self::UpToDate,
            Intel::SWHardeningNeeded => Self::SwHardeningNeeded,
            Intel::ConfigurationNeeded => Self::ConfigurationNeeded,
            Intel::ConfigurationAndSWHardeningNeeded => Self::ConfigurationAndSwHardeningNeeded,
            Intel::OutOfDate => Self::OutOfDate,
            Intel::OutOfDateConfigurationNeeded => Self::OutOfDateConfigurationNeeded,
            Intel::TDRelaunchAdvised => Self::TdRelaunchAdvised,
            Intel::TDRelaunchAdvisedConfigurationNeeded => Self::TdRelaunchAdvisedConfigurationNeeded,
            Intel::Revoked => return Err(Refusal::Untrusted("the platform's keys are revoked".to_owned())),
        })
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is good enough. The default is a platform with every update and no open advisory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TcbPolicy {
    /// The statuses that are accepted.
    pub statuses: Vec<TcbStatus>,
    /// The advisories, such as `INTEL-SA-00289`, that may apply to the platform. Any other refuses it.
    pub advisories: Vec<String>,
    /// The least TCB evaluation data number of the collateral, so that older collateral cannot hide what is known.
    pub min_evaluation: u32,
}

impl Default for TcbPolicy {
    fn default() -> Self {
        Self { statuses: vec![TcbStatus::UpToDate], advisories: Vec::new(), min_evaluation: 0 }
    }
}

impl TcbPolicy {
    pub(crate) fn check(
        &self,
        status: TcbStatus,
        advisories: &[String],
        evaluation: u32,
    ) -> Result<(), Refusal> {
        if evaluation < self.min_evaluation {
            return Err(Refusal::Evaluation { found: evaluation, minimum: self.min_evaluation });
        }
        if !self.statuses.contains(&status) {
            return Err(Refusal::Status(status));
        }
        match advisories.iter().find(|id| !self.advisories.contains(id)) {
            Some(id) => Err(Refusal::Advisory(id.clone())),
            None => Ok(()),
        }
    }
}
