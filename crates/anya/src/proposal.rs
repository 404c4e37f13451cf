//! Proposing: the one way by which commands ask for an operation.

use std::time::Duration;

use anya_api::operation::{Operation, OperationState, Proposal, ProposedAct};
use clap::Args;
use serde::Serialize;

use crate::{
    context::Context,
    error::Result,
    intent_text,
    output::{fields, note, plain},
    progress::with_progress,
    wait::{WaitFlags, ended, until},
};

/// Flags of every command that proposes.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProposalFlags {
    /// Repeats a proposal safely: the same key answers the same operation. Made and shown when it is not given
    #[arg(long, value_name = "KEY", value_parser = idempotency_key)]
    pub(crate) idempotency_key: Option<String>,
    /// How long the operation may wait, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub(crate) expires_in: Option<u64>,
    /// Only show what the policy would decide; nothing is proposed
    #[arg(long, conflicts_with_all = ["wait", "idempotency_key"])]
    pub(crate) simulate: bool,
    #[command(flatten)]
    pub(crate) waiting: WaitFlags,
}

/// What commands that propose answer.
#[derive(Serialize)]
struct Answer<'a> {
    idempotency_key: &'a str,
    replayed: bool,
    operation: &'a Operation,
}

fn idempotency_key(text: &str) -> Result<String, String> {
    let fits = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(text.to_owned()) } else { Err("use 1 to 128 visible ASCII characters".into()) }
}

/// Proposes `act`, or simulates it, and prints the answer. An operation that the policy refuses is printed, too, and is
/// an error.
pub(crate) async fn propose(context: &Context, act: ProposedAct, flags: ProposalFlags) -> Result<()> {
    let client = context.client()?;
    let proposal = Proposal { act, expires_in_seconds: flags.expires_in };
    if flags.simulate {
        return simulate(context, &proposal).await;
    }
    let key = flags.idempotency_key.unwrap_or_else(|| {
        let key = format!("cli-{}", uuid::Uuid::now_v7().simple());
        // Before it is used: if this process or the connection dies, the key is what makes a second try safe.
        note(&format!("idempotency key: {key}"));
        key
    });
    let proposed = with_progress("waiting for the server", client.propose(&key, &proposal)).await;
    let proposed = proposed.inspect_err(|error| {
        if error.problem().is_none() {
            note(&format!("to try again without paying twice, repeat with --idempotency-key {key}"));
        }
    })?;
    let mut operation = proposed.operation;
    let mut outcome = Ok(());
    if let Some(wanted) = flags.waiting.wait {
        let timeout = Duration::from_secs(flags.waiting.wait_timeout);
        match until(&client, operation.id, wanted, timeout).await {
            Ok(latest) => operation = latest,
            Err(error) => {
                operation = client.operation(operation.id).await.unwrap_or(operation);
                outcome = Err(error);
            }
        }
    } else if matches!(operation.state, OperationState::Refused | OperationState::Failed) {
        outcome = Err(ended(&operation));
    }
    let answer = Answer { idempotency_key: &key, replayed: proposed.replayed, operation: &operation };
    context.out.document(&answer, |_| {
        let replayed = if proposed.replayed { "  (proposed before under this key)" } else { "" };
        format!("{}{replayed}\n{}", operation.id, intent_text::operation(&operation))
    })?;
    outcome
}

/// Shows what a proposal would meet. That the policy would refuse is an answer like another, not an error.
pub(crate) async fn simulate(context: &Context, proposal: &Proposal) -> Result<()> {
    let simulation = with_progress("waiting for the server", context.client()?.simulate(proposal)).await?;
    let evaluation = &simulation.evaluation;
    context.out.document(&simulation, |_| {
        let verdict = serde_json::to_value(evaluation.verdict).ok();
        let verdict = verdict.as_ref().and_then(|verdict| verdict.as_str()).unwrap_or("?").to_owned();
        let mut text = fields(&[
            ("verdict", verdict),
            ("policy version", evaluation.policy_version.to_string()),
            ("because", plain(&evaluation.summary)),
        ]);
        for rule in &evaluation.rules {
            let mark = if rule.matched { "matches" } else { "does not match" };
            text.push_str(&format!("  {} {mark}: {}\n", plain(&rule.rule), plain(&rule.said)));
        }
        text
    })
}
