//! `anya-signer`: the command line of the signer process.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anya_enclave::{KeyPin, channel::read_secret};
use anya_provider::harden_process;
use anya_signer::{Attestor, DataDir, Error, Gramine, Result, Signer, Simulation, Tsm, bind};
use clap::{Parser, Subcommand, ValueEnum};
use rustix::{fs::Mode, process::umask};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tracing_subscriber::EnvFilter;

const AFTER: &str = "\
Examples:
  anya-signer init --data /var/lib/anya-signer
      makes the folder and prints the pin by which the server knows this signer

  anya-signer serve --data /var/lib/anya-signer --socket /run/anya-signer/socket --server-key 6b86…4b
      answers to the server with this pin, as a plain process: unattested

  anya-signer serve … --evidence sgx --sealing-key /dev/attestation/keys/_sgx_mrenclave
      inside an SGX enclave under Gramine

Exit codes: 0 stopped by SIGTERM or SIGINT, or done; 1 failed, the reason is on stderr; 2 wrong usage.
The log goes to stderr; RUST_LOG sets its level (info when unset).";

/// Holds keys for an Anya server in a process of its own.
#[derive(Parser)]
#[command(version, about, after_help = AFTER)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a new signer's folder, and print its pin.
    Init {
        /// The signer's own folder. Nobody else may read it.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
    /// Print the pin of a signer.
    Pin {
        /// The signer's own folder.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
    /// Answer to one server until stopped.
    Serve {
        /// The signer's own folder, made by `init`.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Where to listen.
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
        /// The permissions of the socket, in octal. Whoever may connect still needs the server's key.
        #[arg(long, value_name = "MODE", default_value = "660", value_parser = octal)]
        socket_mode: u32,
        /// The pin of the server's key of the channel (SHA-256 of its public key, 64 hexadecimal digits).
        #[arg(long, value_name = "PIN")]
        server_key: KeyPin,
        /// What the signer shows to prove where it runs. `simulated` proves nothing, and says so.
        #[arg(long, value_enum, default_value = "simulated")]
        evidence: Source,
        /// A file with a key that the processor gives to this enclave alone: it seals the root as well. A root that was
        /// made with it never opens without it.
        #[arg(long, value_name = "PATH")]
        sealing_key: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Source {
    /// A plain process.
    Simulated,
    /// An SGX enclave under Gramine.
    Sgx,
    /// A TDX domain.
    Tdx,
}

fn octal(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("three octal digits are needed, such as 660".to_owned()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // Whatever this process makes is its own; the socket is opened up on purpose.
    umask(Mode::from_raw_mode(0o077));
    match harden_process().map_err(Error::from).and_then(|()| run(arguments.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the signer cannot go on");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Init { data } => print(DataDir::create(&data)?.key().pin()),
        Command::Pin { data } => print(DataDir::open(&data)?.key().pin()),
        Command::Serve { data, socket, socket_mode, server_key, evidence, sealing_key } => {
            let attestor = attestor(evidence)?;
            let sealing = sealing_key.as_deref().map(sealing).transpose()?;
            let folder = DataDir::open(&data)?;
            let vault = folder.vault(sealing.as_ref().map(|key| key.as_slice()));
            let signer = Signer::new(vault, attestor, folder.key().clone(), server_key);
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .map_err(|source| Error::Io { action: "start threads for", path: data, source })?;
            runtime.block_on(serve(signer, &socket, socket_mode))
        }
    }
}

async fn serve(signer: Arc<Signer>, socket: &Path, mode: u32) -> Result<()> {
    let failed = |source| Error::Io { action: "wait for signals at", path: socket.to_owned(), source };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let listener = bind(socket, mode).await?;
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(signer.run(listener, stopped));
    tracing::info!(socket = %socket.display(), "listening");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stop.send_replace(true);
    let _ = running.await;
    let _ = std::fs::remove_file(socket);
    Ok(())
}

fn attestor(source: Source) -> Result<Arc<dyn Attestor>> {
    let attestor: Arc<dyn Attestor> = match source {
        Source::Simulated => Arc::new(Simulation),
        Source::Sgx => Arc::new(Gramine::new(Gramine::FOLDER)?),
        Source::Tdx => Arc::new(Tsm::new(Tsm::FOLDER)?),
    };
    let label = if source == Source::Simulated { "unattested" } else { "attested by the server" };
    tracing::info!(evidence = attestor.name(), label, "evidence");
    Ok(attestor)
}

/// The processor's key. In an enclave the file is no file of a disk, and its permissions say nothing.
fn sealing(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>> {
    let key = if path.starts_with(Gramine::FOLDER) {
        std::fs::read(path).map(zeroize::Zeroizing::new).map_err(|source| Error::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?
    } else {
        read_secret(path)?
    };
    if key.len() < 16 {
        let reason = "it has fewer than 16 bytes: it is no sealing key";
        return Err(Error::Folder { path: path.to_owned(), reason });
    }
    Ok(key)
}

fn print(pin: KeyPin) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{pin}").map_err(|source| Error::Io {
        action: "write to",
        path: "stdout".into(),
        source,
    })
}
