//! One file for each noun of the command line.

pub(crate) mod address;
pub(crate) mod api_key;
pub(crate) mod audit;
pub(crate) mod audit_stream;
pub(crate) mod bump;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod conform;
pub(crate) mod cpfp;
pub(crate) mod decide;
pub(crate) mod doctor;
pub(crate) mod fees;
pub(crate) mod init;
pub(crate) mod key;
mod key_sign;
pub(crate) mod message;
pub(crate) mod operation;
pub(crate) mod operator;
pub(crate) mod pay;
pub(crate) mod pin;
pub(crate) mod policy;
pub(crate) mod provider;
pub(crate) mod psbt;
mod psbt_file;
mod psbt_show;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod tenant;
pub(crate) mod wallet;
mod wallet_labels;
mod wallet_meaning;
mod wallet_source;

use crate::{cli::Command, context::Context, error::Result};

/// Carries a command out.
pub(crate) async fn run(command: Command, context: &Context) -> Result<()> {
    match command {
        Command::Init(command) => Box::pin(command.run(context)).await,
        Command::Serve(command) => Box::pin(command.run(context)).await,
        Command::Doctor(command) => Box::pin(command.run(context)).await,
        Command::Status(command) => command.run(context).await,
        Command::Fees(command) => command.run(context).await,
        Command::Config(command) => command.run(context),
        Command::Tenant(command) => command.run(context).await,
        Command::ApiKey(command) => command.run(context).await,
        Command::Operator(command) => Box::pin(command.run(context)).await,
        Command::Policy(command) => Box::pin(command.run(context)).await,
        Command::Key(command) => Box::pin(command.run(context)).await,
        Command::Provider(command) => Box::pin(command.run(context)).await,
        Command::Wallet(command) => Box::pin(command.run(context)).await,
        Command::Address(command) => command.run(context).await,
        Command::Pay(command) => Box::pin(command.run(context)).await,
        Command::Bump(command) => Box::pin(command.run(context)).await,
        Command::Cpfp(command) => Box::pin(command.run(context)).await,
        Command::Operation(command) => Box::pin(command.run(context)).await,
        Command::Psbt(command) => command.run(context).await,
        Command::Message(command) => command.run(context),
        Command::Audit(command) => Box::pin(command.run(context)).await,
        Command::Completions(command) => command.run(context),
    }
}
