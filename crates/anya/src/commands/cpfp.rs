//! `anya cpfp`

use anya_api::operation::ProposedAct;
use anya_primitives::{FeeRate, OperationId};
use clap::Args;

use crate::{
    commands::pay::{fee_rate, sats},
    context::Context,
    error::Result,
    proposal::{ProposalFlags, propose},
};

/// Proposes to spend an unconfirmed payment's change at a fee that pulls both into a block
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anya cpfp op_0198… --fee-rate 12 --fee-cap 5000
  anya cpfp op_0198… --fee-rate 12 --fee-cap 5000 --simulate")]
pub(crate) struct Cpfp {
    /// The payment that is stuck
    operation: OperationId,
    /// The fee rate in sat/vB of parent and child together
    #[arg(long, value_name = "SAT/VB", value_parser = fee_rate)]
    fee_rate: FeeRate,
    /// Most satoshi that the child may pay in fees
    #[arg(long, value_name = "SATS", value_parser = sats)]
    fee_cap: u64,
    #[command(flatten)]
    flags: ProposalFlags,
}

impl Cpfp {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let act = ProposedAct::ChildPaysForParent {
            parent: self.operation,
            fee_rate: self.fee_rate,
            fee_cap_sat: self.fee_cap,
        };
        propose(context, act, self.flags).await
    }
}
