//! Places at which a test may kill the process, to prove that a payment survives it.
//!
//! Without the feature `failpoints` the calls compile to nothing. With it, the environment variable `ANYA_CRASH_AT`
//! names the point at which the process kills itself with SIGKILL: nothing is flushed, no destructor runs.

/// Every point, in the order in which a payment passes them.
pub const CRASH_POINTS: [&str; 12] = [
    "claimed",
    "prepare:drafted",
    "prepare:recorded",
    "sign:before",
    "sign:signed",
    "sign:recorded",
    "broadcast:before",
    "broadcast:sent",
    "broadcast:recorded",
    "settle:before",
    "settle:recorded",
    "import:recorded",
];

/// Dies here when the test asked for it.
#[cfg(feature = "failpoints")]
pub(crate) fn point(name: &str) {
    debug_assert!(CRASH_POINTS.contains(&name), "an unlisted crash point is never tested");
    if std::env::var("ANYA_CRASH_AT").is_ok_and(|wanted| wanted == name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Does nothing.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn point(_name: &str) {}
