//! The `anya` binary: the server's composition and the command line.
//!
//! * `cli`, `commands/`: the command line, one file for each noun; a command translates and prints, it decides nothing;
//! * `compose`: how the server's parts are put together, and in which order they start and stop;
//! * `error`: exit codes and problem documents; `output`: the only way to stdout.
//!
//! A new command is a file in `commands/`, a line in `cli::Command`, and a line in `commands::run`.

mod chain_source;
mod checks;
mod cli;
mod commands;
mod compose;
mod context;
mod credential;
mod error;
mod follow;
mod input_file;
mod intent_text;
mod listing;
mod logging;
mod output;
mod passphrase;
mod payment_uri;
mod private_file;
mod progress;
mod prompt;
mod proposal;
mod providers;
mod setting_flags;
mod wait;

use std::process::ExitCode;

use clap::{Parser, error::ErrorKind};

use crate::{cli::Cli, context::Context, error::Error, output::note};

/// Each request makes and drops many small things, on several threads, which the C library's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Not a command for people: the server starts itself under it, to hold a vendor's PKCS#11 module apart. It speaks on
    // the socket that it inherits, so nothing of the command line concerns it.
    if std::env::args_os().nth(1).is_some_and(|first| first == providers::WORKER) {
        return anya_pkcs11::worker::main();
    }
    match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(error) => usage(&error),
    }
}

fn run(cli: Cli) -> ExitCode {
    let context = Context::new(cli.globals);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(&Error::Invalid(format!("cannot start the runtime: {error}")), context.out.json);
        }
    };
    let result = runtime.block_on(commands::run(cli.command, &context));
    // What still runs, such as a name lookup, must not hold the exit up.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, context.out.json),
    }
}

fn fail(error: &Error, json: bool) -> ExitCode {
    if !error.is_broken_pipe() {
        note(&if json {
            serde_json::to_string(&error.problem()).unwrap_or_else(|_| error.to_string())
        } else {
            format!("error: {error}")
        });
    }
    error.exit_code()
}

/// Help and version go to stdout with success; all else that clap says is a usage error.
fn usage(error: &clap::Error) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked {
        // A reader that went away wanted no more help.
        drop(error.print());
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().any(|argument| argument == "--json") {
        return fail(&Error::Usage(error.render().to_string().trim().to_owned()), true);
    }
    drop(error.print());
    ExitCode::from(2)
}
