//! `anya fees`

use clap::Args;

use crate::{context::Context, error::Result, intent_text::fee_rate, output::table, progress::with_progress};

/// Shows fee estimates, and where they come from
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
            let source = match fees.source.as_str() {
                "recent_blocks" => "what the newest blocks paid on average",
                "server_estimate" => "the server's estimate",
                _ => "the node's estimate",
            };
            format!("{}source: {source}\n", table(&["within", "fee rate"], &rows))
        })
    }
}
