//! `anya bump`

use anya_api::operation::ProposedAct;
use anya_primitives::{FeeRate, OperationId};
use clap::Args;

use crate::{
    commands::pay::{fee_rate, sats},
    context::Context,
    error::Result,
    proposal::{ProposalFlags, propose},
};

/// Proposes to replace an unconfirmed payment by one with a higher fee (BIP125)
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anya bump op_0198… --fee-rate 12 --fee-cap 5000
  anya bump op_0198… --fee-rate 12 --fee-cap 5000 --wait=broadcast --json")]
pub(crate) struct Bump {
    /// The payment that is stuck
    operation: OperationId,
    /// The new fee rate in sat/vB
    #[arg(long, value_name = "SAT/VB", value_parser = fee_rate)]
    fee_rate: FeeRate,
    /// Most satoshi that the replacement may pay in fees
    #[arg(long, value_name = "SATS", value_parser = sats)]
    fee_cap: u64,
    #[command(flatten)]
    flags: ProposalFlags,
}

impl Bump {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let act = ProposedAct::FeeBump {
            replaces: self.operation,
            fee_rate: self.fee_rate,
            fee_cap_sat: self.fee_cap,
        };
        propose(context, act, self.flags).await
    }
}
