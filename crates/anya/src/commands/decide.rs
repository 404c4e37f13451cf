//! Approving and rejecting: what is signed is what was shown, and what was shown is checked here, not believed.

use std::path::PathBuf;

use anya_api::{
    ballot::{Ballot, Decision},
    intent::Act,
    operation::Operation,
    page::{MAX_LIMIT, PageQuery},
    people::{Operator, OperatorState},
};
use anya_client::Client;
use anya_config::read_secret_file;
use anya_primitives::{Clock, OperationId, SystemClock};
use clap::Args;

use crate::{
    context::Context,
    credential::Credential,
    error::{Error, Result},
    intent_text::{describe, operation as operation_text},
    output::{note, plain},
    progress::with_progress,
    prompt,
};

/// Flags of approve and reject.
#[derive(Debug, Args)]
pub(crate) struct DecideArgs {
    /// The operation
    id: OperationId,
    /// The operator's credential file
    #[arg(long, value_name = "FILE")]
    credential: PathBuf,
    /// File that holds the credential's passphrase; without it the terminal is asked
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Shows the intent, asks, signs and hands the ballot in.
pub(crate) async fn decide(context: &Context, args: DecideArgs, decision: Decision) -> Result<()> {
    anya_provider::harden_process().map_err(Error::part)?;
    let credential = Credential::read(&args.credential)?;
    let client = context.client()?;
    let operation = with_progress("waiting for the server", client.operation(args.id)).await?;
    check(&operation, args.id)?;
    let operator = whose(&client, &credential).await?;

    note(&describe(&operation.intent));
    show_related(&client, &operation).await?;
    note(&format!("intent digest, computed here: {}", operation.intent_digest));
    let word = match decision {
        Decision::Approve => "Approve",
        Decision::Reject => "Reject",
    };
    let name = plain(&operator.name);
    prompt::confirm(&format!("{word} exactly this as {name} ({})?", operator.id), args.yes)?;

    let passphrase = match (&args.passphrase_file, credential.is_sealed()) {
        (_, false) => None,
        (Some(path), true) => Some(read_secret_file(path)?),
        (None, true) if prompt::is_interactive() => Some(prompt::secret("Passphrase of the credential")?),
        (None, true) => {
            return Err(Error::Usage("the credential is sealed: pass --passphrase-file".into()));
        }
    };
    let ballot = Ballot {
        version: Ballot::VERSION,
        operation: operation.id,
        intent: operation.intent_digest,
        operator: operator.id,
        decision,
        signed_at: SystemClock.now(),
    };
    let signed = credential.sign(ballot, passphrase.as_ref())?;
    let decided = with_progress("waiting for the server", client.decide(operation.id, &signed)).await?;
    context.out.document(&decided, |decided| format!("{}\n{}", decided.id, operation_text(decided)))
}

/// The digest must be that of the intent which is shown, for the operation that was asked for.
fn check(operation: &Operation, asked: OperationId) -> Result<()> {
    let refuse = |what: &str| Err(Error::Verification(format!("{what}; nothing was signed")));
    if operation.id != asked || operation.intent.operation != asked {
        return refuse("the server answered with another operation");
    }
    if operation.intent.version != anya_api::intent::VERSION {
        return refuse("the intent is of a format that this build cannot show in full: use a newer anya");
    }
    match operation.intent.digest() {
        Some(digest) if digest == operation.intent_digest => Ok(()),
        _ => refuse("the server's digest is not that of the intent it showed"),
    }
}

/// For a fee bump or a child: the payment behind it, whose recipients the intent names by id alone.
async fn show_related(client: &Client, operation: &Operation) -> Result<()> {
    let related = match &operation.intent.act {
        Act::FeeBump(bump) => bump.replaces,
        Act::ChildPaysForParent(child) => child.parent,
        _ => return Ok(()),
    };
    let parent = client.operation(related).await?;
    check(&parent, related)?;
    note(&format!("the payment behind it:\n{}", describe(&parent.intent)));
    Ok(())
}

/// The operator whom the server knows by this credential's public key.
async fn whose(client: &Client, credential: &Credential) -> Result<Operator> {
    let mut query = PageQuery { limit: Some(MAX_LIMIT), cursor: None };
    loop {
        let page = with_progress("waiting for the server", client.operators(&query)).await?;
        if let Some(operator) = page.items.into_iter().find(|operator| credential.belongs_to(operator)) {
            return match operator.state {
                OperatorState::Active => Ok(operator),
                OperatorState::Suspended => {
                    Err(Error::Invalid(format!("operator {} is suspended", operator.id)))
                }
            };
        }
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => {
                return Err(Error::Invalid(format!(
                    "no operator of this tenant has the public key {} of this credential",
                    credential.public_key
                )));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anya_api::{
        Digest,
        intent::{Intent, OperatorChange},
        operation::OperationState,
        policy::{Evaluation, Verdict},
    };
    use anya_primitives::{Actor, Network, OperatorId, TenantId, Timestamp};

    use super::*;

    fn operation() -> Operation {
        let id = OperationId::new();
        let at = Timestamp::from_millis(1_700_000_000_000).unwrap();
        let intent = Intent {
            version: 1,
            operation: id,
            tenant: TenantId::new(),
            network: Network::Regtest,
            act: Act::OperatorChange(OperatorChange::Suspend { operator: OperatorId::new() }),
            expires_at: at,
        };
        Operation {
            id,
            state: OperationState::PendingApproval,
            revision: 1,
            intent_digest: intent.digest().unwrap(),
            intent,
            proposer: Actor::System,
            created_at: at,
            updated_at: at,
            evaluation: Evaluation {
                verdict: Verdict::NeedsApproval,
                policy_version: 1,
                requirements: Vec::new(),
                rules: Vec::new(),
                summary: String::new(),
            },
            ballots: Vec::new(),
            transaction: None,
            reason: None,
        }
    }

    #[test]
    fn only_the_digest_of_the_shown_intent_is_signed() {
        let good = operation();
        check(&good, good.id).unwrap();
        assert!(check(&good, OperationId::new()).is_err(), "another operation");
        let other = Operation { intent_digest: Digest::of_bytes(b"x"), ..good.clone() };
        assert_eq!(check(&other, good.id).unwrap_err().code(), 9);
        let mut altered = good.clone();
        altered.intent.network = Network::Mainnet;
        assert!(check(&altered, good.id).is_err(), "another network under the old digest");
        let mut newer = good.clone();
        newer.intent.version = 2;
        newer.intent_digest = newer.intent.digest().unwrap();
        assert!(check(&newer, good.id).is_err(), "a format that cannot be shown in full");
    }
}
