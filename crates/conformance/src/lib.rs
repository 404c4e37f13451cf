//! One suite of cases that every provider of keys must pass, and that a provider which lies does not.
//!
//! * [`Subject`]: the provider to be examined, and what the caller lends the suite: a way to open it again, a second
//!   provider, leave to renew its sealing key.
//! * [`Suite`]: the named cases. [`Suite::run`] takes minutes on a slow device, makes keys under two tenants of its own,
//!   and destroys every one of them.
//! * [`Report`]: what each case saw, and how long signatures took.
//! * [`short_form`]: a few signatures by a canary key, before a provider that has recovered is let back in.
//!
//! Signatures are judged by two implementations that no provider runs. What only the keyring can refuse (suspended,
//! deactivated and compromised keys, usage policies, wrong lengths) is tested there, and [`BEYOND`] says so.

mod arithmetic;
mod ask;
mod cases;
mod data;
mod judge;
mod lab;
mod measure;
mod report;
mod short;
mod subject;
mod suite;
mod verdict;

pub use report::{CaseReport, Latency, Outcome, Report};
pub use short::{Canary, Failure, short_form};
pub use subject::{KekLeave, Limits, Reopen, Subject};
pub use suite::{BEYOND, Progress, Suite};
