//! Set-up, demo, test, check and bench.
fn main() {}
