//! `anya status`

use anya_api::status::SourceStatus;
use clap::Args;

use crate::{
    context::Context,
    error::Result,
    output::{fields, or_dash, plain},
    progress::with_progress,
};

/// Shows how the server, its node and its providers are doing
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anya status
  anya status --json | jq .node.synced_height")]
pub(crate) struct Status {}

impl Status {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let status = with_progress("waiting for the server", context.client()?.status()).await?;
        context.out.document(&status, |status| {
            let mut text = fields(&[
                ("version", plain(&status.version)),
                ("network", status.network.to_string()),
                ("started", status.started_at.to_string()),
                ("chain source", chain_source(&status.node.source)),
                ("node", health(status.node.ok, status.node.detail.as_deref())),
                ("node's best block", or_dash(status.node.tip_height)),
                ("followed to block", or_dash(status.node.synced_height)),
                ("ledger", health(status.ledger.ok, status.ledger.detail.as_deref())),
            ]);
            for node in &status.node.nodes {
                let block = or_dash(node.tip_height);
                let lead = if node.leads { ", leads" } else { "" };
                let state = plain(&node.detail);
                text.push_str(&format!("node {}  {state}, block {block}{lead}\n", plain(&node.name)));
            }
            for provider in &status.providers {
                let state = health(provider.ok, provider.detail.as_deref());
                text.push_str(&format!("provider {}  {state}\n", plain(&provider.name)));
            }
            text
        })
    }
}

fn chain_source(source: &SourceStatus) -> String {
    let kind = match source.kind.as_str() {
        "filters" => "compact block filters from peers",
        "electrum" => "an Electrum server",
        _ => "Bitcoin nodes",
    };
    let unseen = match source.mempool.as_str() {
        "none" => "; unconfirmed payments are not seen",
        _ => "",
    };
    format!("{kind}{unseen}")
}

fn health(ok: bool, detail: Option<&str>) -> String {
    let word = if ok { "ok" } else { "not ok" };
    detail.map_or_else(|| word.to_owned(), |detail| format!("{word}: {}", plain(detail)))
}
