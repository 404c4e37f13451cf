//! The command line as a whole: global flags and the list of commands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{commands, error::EXIT_CODES};

/// Holds Bitcoin under an organisation's own control: keys behind providers, payments under policy and quorum, every
/// step in a tamper-evident log.
#[derive(Debug, Parser)]
#[command(
    name = "anya",
    version,
    after_help = EXIT_CODES,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// The server: unix:PATH or https://HOST:PORT [setting client.server; default: the data folder's socket]
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub(crate) server: Option<String>,
    /// Certificate (PEM) that the server's must chain to, and no other [setting client.ca_file]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// File that holds the API token; ANYA_TOKEN may hold the token itself [setting client.token_file]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The data folder [env: ANYA_DATA__DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The configuration file [ANYA_CONFIG; default: DATA_DIR/anya.toml]
    #[arg(long, global = true, value_name = "FILE", env = "ANYA_CONFIG", hide_env = true)]
    pub(crate) config: Option<PathBuf>,
    /// Deadline of one call to the server, in seconds [setting client.timeout_seconds]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Write one JSON document (or JSON Lines) to stdout and problem documents to stderr
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(commands::init::Init),
    Serve(commands::serve::Serve),
    Doctor(commands::doctor::Doctor),
    Status(commands::status::Status),
    Fees(commands::fees::Fees),
    #[command(subcommand)]
    Config(commands::config::ConfigCommand),
    #[command(subcommand)]
    Tenant(commands::tenant::TenantCommand),
    #[command(subcommand, name = "api-key")]
    ApiKey(commands::api_key::ApiKeyCommand),
    #[command(subcommand)]
    Operator(commands::operator::OperatorCommand),
    #[command(subcommand)]
    Policy(commands::policy::PolicyCommand),
    #[command(subcommand)]
    Key(commands::key::KeyCommand),
    #[command(subcommand)]
    Provider(commands::provider::ProviderCommand),
    #[command(subcommand)]
    Wallet(commands::wallet::WalletCommand),
    #[command(subcommand)]
    Address(commands::address::AddressCommand),
    Pay(commands::pay::Pay),
    Bump(commands::bump::Bump),
    Cpfp(commands::cpfp::Cpfp),
    #[command(subcommand)]
    Operation(commands::operation::OperationCommand),
    #[command(subcommand)]
    Psbt(commands::psbt::PsbtCommand),
    #[command(subcommand)]
    Message(commands::message::MessageCommand),
    #[command(subcommand)]
    Audit(commands::audit::AuditCommand),
    Completions(commands::completions::Completions),
}
