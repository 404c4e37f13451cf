//! Waiting for an operation to come to a state.

use std::time::Duration;

use anya_api::operation::{Operation, OperationState};
use anya_client::Client;
use anya_primitives::{Classified, OperationId};
use clap::Args;
use tokio::time::{Instant, sleep};

use crate::{
    error::{Error, Result},
    output::{note, stderr_is_terminal},
};

/// Between two looks. A block takes minutes; an approval seconds.
const EVERY: Duration = Duration::from_millis(400);

/// Flags of commands that can wait.
#[derive(Clone, Debug, Args)]
pub(crate) struct WaitFlags {
    /// Wait until the operation is in this state (or past it)
    #[arg(
        long,
        value_name = "STATE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "settled",
        value_parser = state
    )]
    pub(crate) wait: Option<OperationState>,
    /// Longest wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) wait_timeout: u64,
}

/// Reads a state by its name.
pub(crate) fn state(text: &str) -> Result<OperationState, String> {
    OperationState::from_name(text).ok_or_else(|| {
        let names: Vec<_> = OperationState::ALL.iter().map(|state| state.name()).collect();
        format!("use one of {}", names.join(", "))
    })
}

/// How far on the way to settlement a state is; none off that way.
fn rank(state: OperationState) -> Option<u8> {
    match state {
        OperationState::PendingApproval => Some(0),
        OperationState::Approved => Some(1),
        OperationState::Prepared => Some(2),
        OperationState::AwaitingSignatures => Some(3),
        OperationState::Signed => Some(4),
        OperationState::Broadcast => Some(5),
        OperationState::Settled => Some(6),
        _ => None,
    }
}

/// Whether `state` is the one wanted, or one behind it.
pub(crate) fn reached(state: OperationState, wanted: OperationState) -> bool {
    match (rank(state), rank(wanted)) {
        (Some(state), Some(wanted)) => state >= wanted,
        _ => state == wanted,
    }
}

/// Waits until the operation is in `wanted` or past it. Says on stderr what it sees change.
///
/// A server that is away for a moment is waited for, too: asking changes nothing.
pub(crate) async fn until(
    client: &Client,
    id: OperationId,
    wanted: OperationState,
    timeout: Duration,
) -> Result<Operation> {
    let start = Instant::now();
    let mut seen = None;
    let mut told = start;
    loop {
        let operation = match client.operation(id).await {
            Ok(operation) => operation,
            Err(error) if error.kind().is_transient() && start.elapsed() < timeout => {
                note(&format!("{error}; trying again"));
                sleep(2 * EVERY).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let state = operation.state;
        if reached(state, wanted) {
            return Ok(operation);
        }
        if state.is_end() {
            return Err(ended(&operation));
        }
        if start.elapsed() >= timeout {
            return Err(Error::StillWaiting { id, state, seconds: timeout.as_secs() });
        }
        let quiet = Duration::from_secs(if stderr_is_terminal() { 5 } else { 30 });
        if seen != Some(state) || told.elapsed() > quiet {
            note(&format!("{} ({} s)", progress(&operation), start.elapsed().as_secs()));
            (seen, told) = (Some(state), Instant::now());
        }
        sleep(EVERY).await;
    }
}

/// The error of an operation that ended where nobody wanted it.
pub(crate) fn ended(operation: &Operation) -> Error {
    let reason = operation.reason.as_ref().map(|reason| reason.detail.clone());
    let reason = reason.or_else(|| {
        (operation.state == OperationState::Refused).then(|| operation.evaluation.summary.clone())
    });
    let reason = reason.map(|reason| without_state(&reason, operation.state).to_owned());
    Error::Ended { id: operation.id, state: operation.state, reason }
}

/// The policy's summary begins with its verdict, which the error says already.
fn without_state(reason: &str, state: OperationState) -> &str {
    reason.strip_prefix(state.name()).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(reason)
}

fn progress(operation: &Operation) -> String {
    let more = match (operation.state, &operation.transaction) {
        (OperationState::PendingApproval, _) => {
            let needed =
                operation.evaluation.requirements.iter().map(|requirement| requirement.approvals).max();
            format!(": {} of {} approvals", operation.ballots.len(), needed.unwrap_or_default())
        }
        (OperationState::AwaitingSignatures, Some(transaction)) => {
            format!(": {} must sign", transaction.missing_signers.join(", "))
        }
        (_, Some(transaction)) => format!(": {} confirmations", transaction.confirmations),
        _ => String::new(),
    };
    format!("{} is {}{more}", operation.id, operation.state.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_said_once() {
        let refused = OperationState::Refused;
        assert_eq!(without_state("refused: rule `a day` denies it", refused), "rule `a day` denies it");
        assert_eq!(without_state("refused", refused), "refused");
        assert_eq!(without_state("not enough coins", OperationState::Failed), "not enough coins");
    }

    #[test]
    fn a_state_past_the_wanted_one_will_do_but_an_end_off_the_way_will_not() {
        use OperationState as S;
        assert!(reached(S::Settled, S::Broadcast) && reached(S::Broadcast, S::Broadcast));
        assert!(!reached(S::Signed, S::Broadcast));
        for end in [S::Failed, S::Refused, S::Rejected, S::Expired, S::Cancelled, S::Superseded] {
            assert!(!reached(end, S::PendingApproval) && !reached(S::Settled, end) && reached(end, end));
        }
    }
}
