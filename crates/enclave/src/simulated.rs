//! What a signer shows that runs as a plain process: a statement that it proves nothing.

use anya_provider::{Evidence, HexBytes};
use serde::{Deserialize, Serialize};

use crate::{binding::Binding, error::Refusal};

/// The longest statement that is read.
const LONGEST: usize = 512;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    /// Always [`WORDS`].
    statement: String,
    /// The binding's digest.
    #[serde(with = "hex")]
    bound_to: [u8; 32],
}

const WORDS: &str = "simulated: nothing isolates this process from its machine";

/// The evidence of a plain process.
pub fn simulate(binding: &Binding) -> Evidence {
    let statement = Statement { statement: WORDS.to_owned(), bound_to: binding.digest() };
    // Text and hexadecimal always serialize.
    Evidence::Simulated { statement: HexBytes(serde_json::to_vec(&statement).unwrap_or_default()) }
}

/// What the statement is bound to.
pub(crate) fn read(statement: &[u8]) -> Result<[u8; 32], Refusal> {
    let malformed = |reason: String| Refusal::malformed("the simulation's statement", reason);
    if statement.len() > LONGEST {
        return Err(malformed(format!("it is longer than {LONGEST} bytes")));
    }
    let statement: Statement =
        serde_json::from_slice(statement).map_err(|error| malformed(error.to_string()))?;
    if statement.statement != WORDS {
        return Err(malformed("it says something else".to_owned()));
    }
    Ok(statement.bound_to)
}
