//! Block headers, checked by ourselves.
//!
//! A node says which chain is best; its headers show whether that can be. [`HeaderTree`] takes header after header and
//! refuses one that no honest miner can have made: its hash must meet its target, its target must be the one that the
//! network's rules demand at that place ([`Rules`]), its time must lie after the median of the eleven blocks before it.
//! What it accepts it adds up as chain work, so that two chains can be compared without believing anybody.
//!
//! A [`View`] is what of a tree was shown to readers: a chain of ever more work.
//!
//! What headers cannot show is not checked: transactions, signatures of a signet's blocks, and whether a time lies in
//! the future (a wrong clock of ours would refuse every node). A tree that does not begin at the genesis block counts
//! work from its first height on, and takes the first target on trust.

mod rules;
mod tree;
mod view;
#[cfg(test)]
pub(crate) use tree::tests;

pub use rules::Rules;
pub use tree::{HeaderFault, HeaderTree, Placed};
pub use view::{Standing, Tip, View};
