//! The spend policy: validated as a document, evaluated as a pure function, kept in versions.
//!
//! [`evaluate`] sees an act, who proposes it and when, who the operators are, and what was spent before; it touches
//! nothing. The same function answers proposals, simulations and the check before execution.

mod evaluate;
mod hours;
pub(crate) mod ledger;
#[cfg(test)]
mod tests;
mod validate;

pub(crate) use evaluate::{Facts, Spending, Spent, charge, evaluate};
pub(crate) use validate::validate;
