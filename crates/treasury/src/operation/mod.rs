//! Operations: how they are stored, proposed and decided, and the one way in which they change.
//!
//! Everything here runs inside a ledger transaction. [`transition::apply`] is the only statement that changes an
//! operation's state: it checks that the step is legal and that nobody was faster, and writes the audit entry and the
//! event beside it.

pub(crate) mod ballots;
pub(crate) mod propose;
pub(crate) mod record;
#[cfg(test)]
mod tests;
pub(crate) mod transition;
