//! `yubihsm-sim`: the simulator as a program, until it is interrupted.

use std::{error::Error, io::Write, path::PathBuf, thread, time::Duration};

use anya_yubihsm_sim::{Latency, Options, Simulator};
use clap::Parser;

/// A YubiHSM2 in software, for tests: its secrets are in the clear.
#[derive(Parser)]
#[command(name = "yubihsm-sim")]
struct Arguments {
    /// The port on the loopback; 0 for any
    #[arg(long, default_value_t = 12345)]
    port: u16,
    /// The device's serial number
    #[arg(long, default_value_t = 1_234_567)]
    serial: u32,
    /// Where the device's memory is kept; without it, everything ends with the program
    #[arg(long)]
    state: Option<PathBuf>,
    /// After how many seconds without a command a session ends
    #[arg(long, default_value_t = 30)]
    idle: u64,
    /// Take about as long as the device
    #[arg(long)]
    hardware_latency: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let simulator = Simulator::try_start(Options {
        serial: arguments.serial,
        latency: if arguments.hardware_latency { Latency::Hardware } else { Latency::None },
        idle_expiry: Duration::from_secs(arguments.idle),
        state_file: arguments.state,
        port: arguments.port,
    })?;
    writeln!(std::io::stdout(), "{}", simulator.url())?;
    loop {
        thread::park();
    }
}
