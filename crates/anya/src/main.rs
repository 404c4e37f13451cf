//! The anya server and its command line.
fn main() {}
