//! Follows operations on the chain: into a block, to the depth that settles them, and back out again.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anya_api::{intent::Act, operation::OperationState};
use anya_chain::{BroadcastOutcome, MempoolView};
use anya_primitives::{Actor, Amount, OperationId, TenantId, Timestamp};
use anya_store::{TenantTx, Value, params};
use bitcoin::Txid;

use super::{
    crash,
    outlook::{Outlook, weigh},
    payment::{release, transaction_of, wallet_of},
};
use crate::{
    Error, Treasury,
    operation::{
        propose,
        record::Record,
        transition::{self, Step},
    },
    policy,
};

/// How deep a settled operation lies when it is no longer watched: a day of blocks beyond what settled it.
const WATCHED_DEPTH: u32 = 144;

/// The shortest pause between two sends of a transaction that the node lost.
const RESEND: Duration = Duration::from_secs(20);

/// The same where no mempool is seen: nobody tells whether a peer still has it.
const RESEND_UNSEEN: Duration = Duration::from_secs(600);

/// When lost transactions were last sent again by this process.
#[derive(Default)]
pub(super) struct Resends(HashMap<OperationId, Instant>);

impl Treasury {
    /// Looks at every operation that the chain can still change.
    pub(super) async fn settle(&self, resends: &mut Resends) -> Result<(), Error> {
        let watched: Vec<(TenantId, OperationId)> = self
            .inner
            .ledger
            .read_system(|tx| {
                tx.query::<_, Error>(
                    "SELECT tenant, id FROM operations WHERE watch = 1 ORDER BY id",
                    &[],
                    |row| Ok((row.get("tenant")?, row.get("id")?)),
                )
            })
            .await?;
        resends.0.retain(|id, _| watched.iter().any(|(_, watched)| watched == id));
        for (tenant, id) in watched {
            // One operation in trouble must not keep the others from settling.
            if let Err(error) = self.settle_one(tenant, id, resends).await {
                tracing::warn!(operation = %id, %error, "cannot follow the operation on the chain now");
            }
        }
        Ok(())
    }

    async fn settle_one(
        &self,
        tenant: TenantId,
        id: OperationId,
        resends: &mut Resends,
    ) -> Result<(), Error> {
        // A broadcast operation can go on to be settled at once, and a reorganised one back and forth again.
        for _ in 0..4 {
            let (record, carriers, depth) = self.inner.ledger.read(tenant, move |tx| read(tx, id)).await?;
            let wallet = wallet_of(&record.intent)?;
            let mut statuses = Vec::with_capacity(carriers.len());
            for (txid, _) in &carriers {
                let txid = *txid;
                statuses.push((txid, self.inner.wallets.tx_status(tenant, wallet, txid).await?));
            }
            let outlook = weigh(&statuses);
            let unseen = self.inner.chain.capabilities().mempool == MempoolView::None;
            let waits = outlook == Outlook::Lost || (unseen && outlook == Outlook::Waiting);
            if waits && record.state == OperationState::Broadcast {
                self.resend(&record, unseen, resends).await?;
            }
            if deep_enough(&record, outlook, depth, self.synced_height()) {
                return self.inner.ledger.write(tenant, move |tx| forget(tx, &record)).await;
            }
            let now = self.now();
            let Some(step) = next(&record, outlook, &carriers, depth, now)? else { return Ok(()) };
            crash::point("settle:before");
            self.inner
                .ledger
                .write(tenant, move |tx| -> Result<(), Error> {
                    let record = transition::apply(tx, now, &record, step)?;
                    if matches!(record.state, OperationState::Failed | OperationState::Superseded) {
                        release(tx, &record)?;
                    }
                    Ok(())
                })
                .await?;
            crash::point("settle:recorded");
        }
        Ok(())
    }

    /// Sends again what the node has lost: it restarted without its mempool, or dropped it for want of space. Where no
    /// mempool is seen that cannot be known, so it is sent again at times.
    async fn resend(&self, record: &Record, unseen: bool, resends: &mut Resends) -> Result<(), Error> {
        let now = Instant::now();
        let pause = if unseen { RESEND_UNSEEN } else { RESEND };
        let last = resends.0.get(&record.id).copied();
        if last.is_some_and(|last| now.duration_since(last) < pause) || record.raw_tx.is_none() {
            return Ok(());
        }
        resends.0.insert(record.id, now);
        if unseen && last.is_none() {
            // It was sent a moment ago, or by the process before this one.
            return Ok(());
        }
        let transaction = transaction_of(record)?;
        if unseen {
            // Peers do not ask for what they have: their silence is no news, and nobody waits for it.
            let (chain, operation) = (Arc::clone(&self.inner.chain), record.id);
            tokio::spawn(async move {
                if let Err(error) = chain.broadcast(&transaction).await {
                    tracing::debug!(%operation, %error, "no peer asked for the transaction again");
                }
            });
            return Ok(());
        }
        let outcome = self.inner.chain.broadcast(&transaction).await?;
        if let BroadcastOutcome::Rejected { reason, .. } = outcome {
            tracing::warn!(operation = %record.id, %reason, "the node does not take back the transaction; it is sent again later");
        }
        Ok(())
    }
}

/// A transaction that can carry an operation, and its fee.
type Carrier = (Txid, Amount);

fn fee_of(carriers: &[Carrier], txid: Txid) -> Result<Value, Error> {
    let fee = carriers.iter().find(|(carrier, _)| *carrier == txid).map(|(_, fee)| *fee);
    let fee = fee.ok_or_else(|| Error::internal("what confirmed is none of the operation's transactions"))?;
    Ok(Value::try_from(fee.to_sat())?)
}

/// The operation, the transactions that can carry it, and the depth that settles it.
fn read(tx: &TenantTx<'_>, id: OperationId) -> Result<(Record, Vec<Carrier>, u32), Error> {
    let record = Record::load(tx, id)?;
    let mut carriers: Vec<Carrier> = record.txid.zip(record.fee).into_iter().collect();
    if matches!(record.intent.act, Act::Payment(_)) {
        carriers.extend(
            propose::bumps(tx, id)?
                .into_iter()
                .filter(|bump| bump.sends > 0)
                .filter_map(|bump| bump.txid.zip(bump.fee)),
        );
    }
    let depth = policy::ledger::active(tx)?.map_or(1, |active| active.policy.settle_confirmations);
    Ok((record, carriers, depth))
}

/// Whether no reorganisation to reckon with can change the operation any more: what carries it, or what keeps it from
/// ever being carried, lies too deep. What ended and could still be sent, by a cosigner or a node that has it, is
/// watched on.
fn deep_enough(record: &Record, outlook: Outlook, depth: u32, tip: Option<u32>) -> bool {
    use OperationState as S;
    match outlook {
        Outlook::Confirmed { confirmations, .. } => {
            matches!(record.state, S::Settled | S::Superseded) && confirmations > depth + WATCHED_DEPTH
        }
        Outlook::Conflicted { at, .. } => {
            let confirmations = tip.map_or(0, |tip| tip.saturating_sub(at.height) + 1);
            record.state.is_end() && record.state != S::Settled && confirmations > depth + WATCHED_DEPTH
        }
        Outlook::Waiting | Outlook::Lost => false,
    }
}

/// Ends the watch, and frees what is left of the reservation.
fn forget(tx: &TenantTx<'_>, record: &Record) -> Result<(), Error> {
    tx.execute(
        "UPDATE operations SET watch = 0 WHERE tenant = :tenant AND id = :id",
        &params! { "id" => record.id },
    )?;
    release(tx, record)
}

/// The step that the chain calls for, if it calls for one.
fn next(
    record: &Record,
    outlook: Outlook,
    carriers: &[Carrier],
    depth: u32,
    now: Timestamp,
) -> Result<Option<Step>, Error> {
    use OperationState as S;
    let step = |to, action| Step::new(to, Actor::System, action, now);
    Ok(match (record.state, outlook) {
        (S::Broadcast, Outlook::Confirmed { txid, block, confirmations }) => {
            let hash = block.hash.to_string();
            let told = serde_json::json!({
                "txid": txid.to_string(), "block_height": block.height, "block_hash": hash, "confirmations": confirmations,
            });
            let (to, action) = if confirmations >= depth {
                (S::Settled, "operation.settled")
            } else if record.block_hash.as_ref() != Some(&hash) {
                (S::Broadcast, "operation.confirmed")
            } else {
                return Ok(None);
            };
            Some(
                step(to, action)
                    .telling(told)
                    .with("block_height", block.height)
                    .with("block_hash", hash)
                    .with("confirmed_txid", txid.to_string())
                    .with("confirmed_fee", fee_of(carriers, txid)?)
                    .with("answers", Value::try_from(record.sends)?),
            )
        }
        (S::Broadcast, Outlook::Waiting | Outlook::Lost) if record.block_hash.is_some() => {
            Some(out_of_its_block(record, step(S::Broadcast, "operation.reorganised")))
        }
        (S::Broadcast, Outlook::Conflicted { by, .. }) => {
            let by = by.to_string();
            Some(match record.intent.act {
                Act::FeeBump(_) => step(S::Superseded, "operation.superseded")
                    .because("superseded", format!("transaction {by} confirmed in its place")),
                _ => step(S::Failed, "operation.failed").because(
                    "double_spent",
                    format!("transaction {by}, which spends the same coins, confirmed in its place"),
                ),
            })
        }
        (S::Broadcast, Outlook::Waiting | Outlook::Lost) => None,
        (S::Settled, Outlook::Confirmed { block, confirmations, .. })
            if confirmations >= depth && record.block_hash == Some(block.hash.to_string()) =>
        {
            None
        }
        (S::Settled, _) => Some(out_of_its_block(record, step(S::Broadcast, "operation.reorganised"))),
        // The chain knows a transaction that this side had given up, or had not yet recorded as sent.
        (S::Signed | S::AwaitingSignatures, Outlook::Confirmed { .. } | Outlook::Waiting)
        | (
            S::Expired | S::Cancelled | S::Failed | S::Superseded,
            Outlook::Confirmed { .. } | Outlook::Waiting,
        ) if carried_by_its_own(record, outlook) => Some(
            step(S::Broadcast, "operation.seen_on_chain").with("answers", Value::try_from(record.sends)?),
        ),
        (S::Signed, Outlook::Conflicted { by, .. }) => Some(step(S::Failed, "operation.failed").because(
            "double_spent",
            format!("transaction {by}, which spends the same coins, confirmed first"),
        )),
        _ => None,
    })
}

/// Back to waiting: the block that held the transaction is no longer part of the chain, or lies less deep.
fn out_of_its_block(record: &Record, step: Step) -> Step {
    let told =
        serde_json::json!({ "left_block_height": record.block_height, "left_block_hash": record.block_hash });
    step.telling(told)
        .because("reorganised", "the chain was reorganised under the block that held the transaction")
        .with("block_height", None::<u32>)
        .with("block_hash", None::<String>)
        .with("confirmed_txid", None::<String>)
        .with("confirmed_fee", None::<i64>)
}

fn carried_by_its_own(record: &Record, outlook: Outlook) -> bool {
    match outlook {
        Outlook::Confirmed { txid, .. } => record.txid == Some(txid),
        _ => true,
    }
}
