//! The worker as a program of its own, for tests and for whoever wants to confine it apart from the server.

use std::process::ExitCode;

fn main() -> ExitCode {
    anya_pkcs11::worker::main()
}
