//! The process protects its own memory. In a binary of its own, for what is given up here is given up for good.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use anya_provider::harden_process;
use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

#[test]
fn no_core_dump_and_no_debugger() {
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
    harden_process().unwrap();
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    let core = getrlimit(Resource::Core);
    assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(line.split_whitespace().nth(4), Some("0"), "{line}");
    // A second call is no error: a library and a binary may both want it.
    harden_process().unwrap();
}
