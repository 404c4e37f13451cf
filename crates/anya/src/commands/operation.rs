//! `anya operation`

use std::time::Duration;

use anya_api::{
    ballot::Decision,
    intent::ActKind,
    operation::{Operation, OperationFilter, OperationState},
};
use anya_primitives::{OperationId, WalletId};
use clap::{Args, Subcommand};

use crate::{
    commands::decide::{DecideArgs, decide},
    context::Context,
    error::Result,
    intent_text,
    listing::{Paging, list},
    output::{or_dash, plain},
    progress::with_progress,
    wait::{state, until},
};

/// Shows, approves, rejects, cancels and awaits operations
#[derive(Debug, Subcommand)]
pub(crate) enum OperationCommand {
    /// Lists operations, newest first
    #[command(after_help = "\
Examples:
  anya operation list --state pending_approval
  anya operation list --wallet wal_0198… --all --json | jq -r .id")]
    List(List),
    /// Shows an operation: what exactly will be done, what the policy said, who decided
    #[command(after_help = "Example:\n  anya operation show op_0198… --json | jq -r .state")]
    Show {
        /// Its id
        id: OperationId,
    },
    /// Shows the intent, asks, and signs a yes to exactly that
    #[command(after_help = "\
Examples:
  anya operation approve op_0198… --credential alice.json
  anya operation approve op_0198… --credential robot.json --yes --json | jq -r .state")]
    Approve(DecideArgs),
    /// Shows the intent, asks, and signs a no: the operation ends
    #[command(after_help = "Example:\n  anya operation reject op_0198… --credential alice.json")]
    Reject(DecideArgs),
    /// Withdraws an operation of which nothing is signed yet
    #[command(after_help = "Example:\n  anya operation cancel op_0198…")]
    Cancel {
        /// Its id
        id: OperationId,
    },
    /// Waits until an operation is in a state, or past it
    #[command(after_help = "\
Examples:
  anya operation wait op_0198…
  anya operation wait op_0198… --state broadcast --wait-timeout 60 --json

Exit code 7 or 10: it ended otherwise; 8: not within the time.")]
    Wait {
        /// Its id
        id: OperationId,
        /// The state
        #[arg(long, default_value = "settled", value_parser = state)]
        state: OperationState,
        /// Longest wait, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        wait_timeout: u64,
    },
}

/// Filters of the list.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those in this state
    #[arg(long, value_parser = state)]
    state: Option<OperationState>,
    /// Only those of this kind
    #[arg(long, value_parser = kind)]
    kind: Option<ActKind>,
    /// Only those of this wallet
    #[arg(long)]
    wallet: Option<WalletId>,
    #[command(flatten)]
    paging: Paging,
}

fn kind(text: &str) -> Result<ActKind, String> {
    const KINDS: [ActKind; 5] = [
        ActKind::Payment,
        ActKind::FeeBump,
        ActKind::ChildPaysForParent,
        ActKind::PolicyChange,
        ActKind::OperatorChange,
    ];
    KINDS.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
        let names: Vec<_> = KINDS.iter().map(|kind| kind.name()).collect();
        format!("use one of {}", names.join(", "))
    })
}

fn row(operation: &Operation) -> Vec<String> {
    vec![
        operation.id.to_string(),
        operation.state.name().into(),
        operation.kind().name().into(),
        operation.created_at.to_string(),
        or_dash(operation.transaction.as_ref().map(|transaction| plain(&transaction.txid))),
    ]
}

fn show(operation: &Operation) -> String {
    format!("{}\n{}", operation.id, intent_text::operation(operation))
}

impl OperationCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let operation = match self {
            Self::Approve(args) => return decide(context, args, Decision::Approve).await,
            Self::Reject(args) => return decide(context, args, Decision::Reject).await,
            Self::List(List { state, kind, wallet, paging }) => {
                let client = &context.client()?;
                let fetch = async |query: anya_api::page::PageQuery| {
                    let (limit, cursor) = (query.limit, query.cursor);
                    client.operations(&OperationFilter { state, kind, wallet, limit, cursor }).await
                };
                let headers = ["id", "state", "kind", "created", "txid"];
                return list(context, paging, &headers, row, fetch).await;
            }
            Self::Show { id } => {
                with_progress("waiting for the server", context.client()?.operation(id)).await?
            }
            Self::Cancel { id } => {
                with_progress("waiting for the server", context.client()?.cancel(id)).await?
            }
            Self::Wait { id, state, wait_timeout } => {
                let client = context.client()?;
                match until(&client, id, state, Duration::from_secs(wait_timeout)).await {
                    Ok(operation) => operation,
                    Err(error) => {
                        // A script that reads the document learns what became of it instead.
                        if let Ok(operation) = client.operation(id).await {
                            context.out.document(&operation, show)?;
                        }
                        return Err(error);
                    }
                }
            }
        };
        context.out.document(&operation, show)
    }
}
