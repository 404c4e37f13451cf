//! `anya fees`

use clap::Args;

use crate::{context::Context, error::Result, intent_text::fee_rate, output::table, progress::with_progress};

/// Shows the node's fee estimates
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anya fees
  anya fees --json | jq '.estimates[0].fee_rate_sat_vb'")]
pub(crate) struct Fees {}

impl Fees {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let fees = with_progress("waiting for the server", context.client()?.fee_estimates()).await?;
        context.out.document(&fees, |fees| {
            let mut rows: Vec<_> = fees
                .estimates
                .iter()
                .map(|estimate| {
                    vec![format!("{} blocks", estimate.target_blocks), fee_rate(estimate.fee_rate)]
                })
                .collect();
            rows.push(vec!["least accepted".into(), fee_rate(fees.minimum)]);
            table(&["within", "fee rate"], &rows)
        })
    }
}
