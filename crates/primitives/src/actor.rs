//! Who did something, as the audit log names them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::id::{ApiKeyId, OperatorId, ParseIdError};

/// The author of an act.
///
/// Its text form is `system`, an operator's id (`opr_…`) or an API key's id (`ak_…`); the audit log and the
/// ledger store that form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Actor {
    /// The server itself: a timer, the chain follower, recovery after a crash.
    System,
    /// A person with a signing credential.
    Operator(OperatorId),
    /// A program, or an administrator, identified by an API key that belongs to no operator.
    ApiKey(ApiKeyId),
}

impl Actor {
    /// The operator behind the act, when there is one.
    pub fn operator(&self) -> Option<OperatorId> {
        match self {
            Self::Operator(id) => Some(*id),
            Self::System | Self::ApiKey(_) => None,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Operator(id) => id.fmt(f),
            Self::ApiKey(id) => id.fmt(f),
        }
    }
}

impl FromStr for Actor {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "system" {
            return Ok(Self::System);
        }
        match text.parse::<OperatorId>() {
            Ok(id) => Ok(Self::Operator(id)),
            Err(_) => text.parse::<ApiKeyId>().map(Self::ApiKey),
        }
    }
}

impl TryFrom<String> for Actor {
    type Error = ParseIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Actor> for String {
    fn from(actor: Actor) -> Self {
        actor.to_string()
    }
}
