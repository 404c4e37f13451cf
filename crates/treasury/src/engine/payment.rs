//! Payments, fee bumps and children: prepare, sign, broadcast.

use anya_api::{
    intent::{Act, Intent, Recipient},
    operation::OperationState,
};
use anya_chain::{BroadcastOutcome, RejectKind};
use anya_primitives::{
    Actor, Amount, Classified, ErrorKind, FeeRate, OperationId, TenantId, Timestamp, WalletId,
};
use anya_store::TenantTx;
use anya_wallet::{Draft, DraftBump, DraftCpfp, DraftRequest, Terms, TxStatus};
use bitcoin::{Psbt, ScriptBuf, Transaction, Txid, consensus::encode};

use super::{crash, gate, retry_at};
use crate::{
    Error, Treasury, address,
    operation::{
        record::Record,
        transition::{self, Step},
    },
};

/// Confirmation target of payments that name no fee rate, in blocks.
const FEE_TARGET: u16 = 6;

/// Audit name of every failure.
const FAILED: &str = "operation.failed";

impl Treasury {
    /// Fixes the transaction: chooses coins, reserves them, and records the PSBT with its transaction id, before
    /// anything is signed.
    pub(super) async fn prepare(&self, tenant: TenantId, record: Record) -> Result<bool, Error> {
        let now = self.now();
        // Asked before the work as well as in the transaction, so that coins are not chosen for nothing.
        let seen = record.clone();
        let stopped = self.inner.ledger.write(tenant, move |tx| gate::pass(tx, now, &seen)).await?;
        if stopped.is_some() {
            return Ok(false);
        }
        // Two drafts at a time would choose the same coins and the same change address, and one of them for nothing.
        let _turn = self.inner.turns.take(wallet_of(&record.intent)?).await;
        let draft = match self.draft(tenant, &record).await {
            Ok(draft) => draft,
            Err(error) => return self.cannot_draft(tenant, record, error).await,
        };
        crash::point("prepare:drafted");
        let now = self.now();
        self.inner
            .ledger
            .write(tenant, move |tx| {
                let record = Record::load(tx, record.id)?;
                if record.state != OperationState::Approved || gate::pass(tx, now, &record)?.is_some() {
                    return Ok(());
                }
                let record = Record::load(tx, record.id)?;
                draft.reserve(tx)?;
                transition::apply(tx, now, &record, prepared(&draft, now)?).map(drop)
            })
            .await?;
        crash::point("prepare:recorded");
        Ok(true)
    }

    async fn draft(&self, tenant: TenantId, record: &Record) -> Result<Draft, Error> {
        let wallets = &self.inner.wallets;
        let operation = record.id;
        Ok(match &record.intent.act {
            Act::Payment(payment) => {
                let fee_rate = match payment.fee_rate {
                    Some(fee_rate) => fee_rate,
                    None => self.estimated_fee_rate().await?,
                };
                let recipients = scripts(&payment.recipients, &record.intent)?;
                let spend_path = payment.spend_path.and_then(|path| usize::try_from(path).ok());
                let request =
                    DraftRequest { operation, recipients, fee_rate, fee_cap: payment.fee_cap, spend_path };
                wallets.draft_payment(tenant, payment.wallet, request).await?
            }
            Act::FeeBump(bump) => {
                let replaces = parse_txid(&bump.replaced_txid)?;
                let request =
                    DraftBump { operation, replaces, fee_rate: bump.fee_rate, fee_cap: bump.fee_cap };
                wallets.draft_fee_bump(tenant, bump.wallet, request).await?
            }
            Act::ChildPaysForParent(child) => {
                let parent = parse_txid(&child.parent_txid)?;
                let request =
                    DraftCpfp { operation, parent, fee_rate: child.fee_rate, fee_cap: child.fee_cap };
                wallets.draft_cpfp(tenant, child.wallet, request).await?
            }
            Act::PolicyChange(_) | Act::OperatorChange(_) => {
                return Err(Error::internal("a change of what is allowed has no transaction"));
            }
        })
    }

    async fn estimated_fee_rate(&self) -> Result<FeeRate, Error> {
        let estimate = self.inner.chain.estimate_fee(FEE_TARGET).await?;
        let minimum = self.inner.chain.min_relay_fee().await?;
        estimate.or(self.inner.fallback_fee_rate).map(|rate| rate.max(minimum)).ok_or_else(|| {
            Error::Unavailable(
                "there is no fee estimate yet; name a fee rate, or configure bitcoin.fallback_fee_rate"
                    .to_owned(),
            )
        })
    }

    /// Waits where waiting can help; fails where it cannot.
    async fn cannot_draft(&self, tenant: TenantId, record: Record, error: Error) -> Result<bool, Error> {
        let code = match &error {
            Error::Wallet(anya_wallet::Error::InsufficientFunds { needed, available, reserved })
                if available.checked_add(*reserved).is_none_or(|both| both < *needed) =>
            {
                "insufficient_funds"
            }
            // What other operations hold may come free, and another draft may find other coins.
            Error::Wallet(
                anya_wallet::Error::InsufficientFunds { .. }
                | anya_wallet::Error::CoinTaken { .. }
                | anya_wallet::Error::ChangeTaken,
            ) => return self.hold(tenant, record, error).await,
            Error::Wallet(anya_wallet::Error::FeeAboveCap { .. }) => "fee_above_cap",
            Error::Wallet(anya_wallet::Error::TooEarly { .. }) => "too_early",
            _ => match error.kind() {
                ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Internal => {
                    return self.hold(tenant, record, error).await;
                }
                _ => "cannot_be_built",
            },
        };
        self.fail(tenant, record, code, error.to_string()).await
    }

    /// Leaves the operation where it is, says why, and looks again later.
    async fn hold(&self, tenant: TenantId, record: Record, error: Error) -> Result<bool, Error> {
        let now = self.now();
        let (code, detail) = (error.kind().name(), error.to_string());
        // The same reason is not worth an audit entry again: the caller puts the operation off.
        if record.reason.as_ref().is_some_and(|reason| reason.code == code && reason.detail == detail) {
            return Err(error);
        }
        let mut step = Step::new(record.state, Actor::System, "operation.held_up", now).because(code, detail);
        step.due_at = retry_at(now, record.attempts);
        self.inner.ledger.write(tenant, move |tx| transition::apply(tx, now, &record, step)).await?;
        Ok(false)
    }

    async fn fail(
        &self,
        tenant: TenantId,
        record: Record,
        code: &str,
        detail: String,
    ) -> Result<bool, Error> {
        let step = Step::new(OperationState::Failed, Actor::System, FAILED, self.now()).because(code, detail);
        self.end(tenant, record, step).await
    }

    /// Ends the operation and frees its coins.
    async fn end(&self, tenant: TenantId, record: Record, step: Step) -> Result<bool, Error> {
        let now = self.now();
        self.inner
            .ledger
            .write(tenant, move |tx| -> Result<(), Error> {
                transition::apply(tx, now, &record, step)?;
                Ok(anya_wallet::release(tx, record.id)?)
            })
            .await?;
        Ok(false)
    }

    /// Signs the prepared transaction, after checking once more that it is what was approved.
    pub(super) async fn sign(&self, tenant: TenantId, record: Record) -> Result<bool, Error> {
        if record.expires_at <= self.now() {
            let now = self.now();
            self.inner.ledger.write(tenant, move |tx| gate::expire(tx, now, &record)).await?;
            return Ok(false);
        }
        let wallet = wallet_of(&record.intent)?;
        let psbt = psbt_of(&record)?;
        let terms = self.terms(tenant, &record).await?;
        let checked = match self.inner.wallets.check(tenant, wallet, &psbt, &terms).await {
            Ok(checked) => checked,
            Err(anya_wallet::Error::Disagrees(detail)) => {
                return self.fail(tenant, record, "not_what_was_approved", detail).await;
            }
            Err(error) => return Err(error.into()),
        };
        if record.txid != Some(checked.txid) {
            let detail = "the stored transaction is not the one that was prepared".to_owned();
            return self.fail(tenant, record, "not_what_was_approved", detail).await;
        }
        let digests = self.inner.wallets.to_sign(tenant, wallet, &psbt, &terms).await?;
        let (now, seen) = (self.now(), record.clone());
        let granted = self.inner.ledger.write(tenant, move |tx| gate::grant(tx, now, &seen, &digests)).await;
        if let Err(error) = granted {
            return self.hold(tenant, record, error).await;
        }
        crash::point("sign:before");
        let signed = match self.inner.wallets.sign(tenant, wallet, &psbt, &terms).await {
            Ok(signed) => signed,
            // A key that was suspended or destroyed does not come back by itself, but the operation may still expire.
            Err(error) => return self.hold(tenant, record, error.into()).await,
        };
        crash::point("sign:signed");
        let now = self.now();
        let step = if signed.complete {
            let transaction = self.inner.wallets.finalize(tenant, wallet, &signed.psbt, &terms).await?;
            signed_in_full(&record, &transaction, &signed.psbt, true, now)?
        } else {
            Step {
                due_at: record.expires_at,
                ..Step::new(
                    OperationState::AwaitingSignatures,
                    Actor::System,
                    "operation.awaiting_signatures",
                    now,
                )
                .telling(serde_json::json!({ "missing_signers": signed.missing }))
                .with("psbt", signed.psbt.to_string())
                .with("missing_signers", anya_store::json(&signed.missing)?)
                // An outside cosigner who has our signature can finish and send it without us.
                .with("watch", true)
            }
        };
        let complete = signed.complete;
        self.inner.ledger.write(tenant, move |tx| transition::apply(tx, now, &record, step)).await?;
        crash::point("sign:recorded");
        Ok(complete)
    }

    /// Hands the signed transaction to the node.
    pub(super) async fn broadcast(
        &self,
        tenant: TenantId,
        record: Record,
        resumed: bool,
    ) -> Result<bool, Error> {
        let transaction = transaction_of(&record)?;
        if !record.may_have_been_sent() && record.expires_at <= self.now() {
            let now = self.now();
            self.inner.ledger.write(tenant, move |tx| gate::expire(tx, now, &record)).await?;
            return Ok(false);
        }
        // The step to `signed` counted the send that follows it at once; every other send is counted before it happens,
        // so that one cut short by a crash is never taken for one that did not happen.
        let record = if resumed { self.count_send(tenant, record).await? } else { record };
        crash::point("broadcast:before");
        let outcome = self.inner.chain.broadcast(&transaction).await;
        crash::point("broadcast:sent");
        match outcome {
            Ok(
                outcome @ (BroadcastOutcome::Accepted
                | BroadcastOutcome::AlreadyKnown(_)
                | BroadcastOutcome::Sent),
            ) => {
                self.inner.wallets.note_broadcast(&transaction).await?;
                let now = self.now();
                let answer = match outcome {
                    BroadcastOutcome::Accepted => "accepted",
                    BroadcastOutcome::Sent => "sent",
                    _ => "already_known",
                };
                let txid = transaction.compute_txid().to_string();
                let step = Step::new(OperationState::Broadcast, Actor::System, "operation.broadcast", now)
                    .telling(serde_json::json!({ "txid": txid, "answer": answer }))
                    .with("answers", anya_store::Value::try_from(record.sends)?);
                self.inner.ledger.write(tenant, move |tx| transition::apply(tx, now, &record, step)).await?;
                crash::point("broadcast:recorded");
                Ok(false)
            }
            Ok(BroadcastOutcome::Rejected { reason, kind }) => {
                self.rejected(tenant, record, reason, kind).await
            }
            Err(error) => {
                if !error.maybe_sent() && record.sends == record.answers + 1 {
                    self.count_answer(tenant, record.id).await?;
                }
                self.hold(tenant, record, error.into()).await
            }
        }
    }

    /// Records that a send begins, unless the operation was withdrawn meanwhile.
    async fn count_send(&self, tenant: TenantId, record: Record) -> Result<Record, Error> {
        let (id, seen) = (record.id, anya_store::Value::try_from(record.revision)?);
        self.inner
            .ledger
            .write(tenant, move |tx| -> Result<Record, Error> {
                let counted = tx.execute(
                    "UPDATE operations SET sends = sends + 1 \
                     WHERE tenant = :tenant AND id = :id AND state = 'signed' AND revision = :seen",
                    &anya_store::params! { "id" => id, "seen" => seen },
                )?;
                match counted {
                    0 => Err(Error::Conflict("the operation has changed meanwhile".to_owned())),
                    _ => Record::load(tx, id),
                }
            })
            .await
    }

    /// Records that no send is open: the last one was answered, or did not happen, and no earlier one was open.
    async fn count_answer(&self, tenant: TenantId, id: OperationId) -> Result<(), Error> {
        self.inner
            .ledger
            .write(tenant, move |tx| -> Result<(), Error> {
                tx.execute(
                    "UPDATE operations SET answers = sends WHERE tenant = :tenant AND id = :id",
                    &anya_store::params! { "id" => id },
                )?;
                Ok(())
            })
            .await
    }

    /// The node says no. The operation fails only where no copy of the transaction can be on its way; otherwise its
    /// coins stay reserved and it is sent again.
    async fn rejected(
        &self,
        tenant: TenantId,
        record: Record,
        reason: String,
        kind: RejectKind,
    ) -> Result<bool, Error> {
        let own = record.txid.ok_or_else(|| Error::internal("a signed operation has no transaction id"))?;
        let status = self.inner.wallets.tx_status(tenant, wallet_of(&record.intent)?, own).await?;
        if matches!(status, TxStatus::Confirmed { .. } | TxStatus::Mempool) {
            // It is known after all; settlement takes it from here.
            let now = self.now();
            let step = Step::new(OperationState::Broadcast, Actor::System, "operation.broadcast", now)
                .with("answers", anya_store::Value::try_from(record.sends)?);
            self.inner.ledger.write(tenant, move |tx| transition::apply(tx, now, &record, step)).await?;
            return Ok(false);
        }
        // Only the send that was just answered is open: no earlier one can have gone out unheard.
        let never_sent = record.sends == record.answers + 1;
        let hopeless = matches!(kind, RejectKind::Invalid | RejectKind::MissingInputs | RejectKind::Conflict);
        let too_late = record.expires_at <= self.now();
        if never_sent && (hopeless || too_late) {
            let record = Record { answers: record.sends, ..record };
            let step = Step::new(OperationState::Failed, Actor::System, FAILED, self.now())
                .because("node_rejected", format!("the node refuses the transaction: {reason}"))
                .with("answers", anya_store::Value::try_from(record.answers)?)
                .with("watch", !record.is_here_alone());
            return self.end(tenant, record, step).await;
        }
        if never_sent {
            self.count_answer(tenant, record.id).await?;
        }
        self.hold(
            tenant,
            record,
            Error::Unavailable(format!("the node does not take the transaction: {reason}")),
        )
        .await
    }

    /// What the transaction must say, word for word, for the operation to be executed.
    pub(super) async fn terms(&self, tenant: TenantId, record: &Record) -> Result<Terms, Error> {
        let (recipients, fee_cap) = match &record.intent.act {
            Act::Payment(payment) => (scripts(&payment.recipients, &record.intent)?, payment.fee_cap),
            Act::FeeBump(bump) => {
                let parent = bump.replaces;
                let parent = self.inner.ledger.read(tenant, move |tx| Record::load(tx, parent)).await?;
                let Act::Payment(payment) = &parent.intent.act else {
                    return Err(Error::internal("a fee bump replaces something other than a payment"));
                };
                (scripts(&payment.recipients, &parent.intent)?, bump.fee_cap)
            }
            Act::ChildPaysForParent(child) => (Vec::new(), child.fee_cap),
            Act::PolicyChange(_) | Act::OperatorChange(_) => {
                return Err(Error::internal("a change of what is allowed has no transaction"));
            }
        };
        Ok(Terms { operation: record.id, recipients, fee_cap })
    }
}

/// The step that fixes a transaction. What it will sign is thereby recorded as intended.
fn prepared(draft: &Draft, now: Timestamp) -> Result<Step, Error> {
    let inputs: Vec<_> = draft.inputs.iter().map(ToString::to_string).collect();
    let detail = serde_json::json!({ "txid": draft.txid.to_string(), "fee_sat": draft.fee.to_sat(), "inputs": inputs });
    Ok(Step::new(OperationState::Prepared, Actor::System, "operation.prepared", now)
        .telling(detail)
        .with("txid", draft.txid.to_string())
        .with("fee", anya_store::Value::try_from(draft.fee.to_sat())?)
        .with("psbt", draft.psbt.to_string())
        .keeping_lease())
}

/// The step that stores the final transaction. That it will be sent is thereby recorded as intended; `sent_at_once` says
/// that the caller goes on to send it, and counts that send.
pub(super) fn signed_in_full(
    record: &Record,
    transaction: &Transaction,
    psbt: &Psbt,
    sent_at_once: bool,
    now: Timestamp,
) -> Result<Step, Error> {
    if record.txid != Some(transaction.compute_txid()) {
        return Err(Error::internal("the final transaction is not the one that was prepared"));
    }
    let step = Step::new(OperationState::Signed, Actor::System, "operation.signed", now)
        .telling(serde_json::json!({ "txid": transaction.compute_txid().to_string() }))
        .with("psbt", psbt.to_string())
        .with("raw_tx", encode::serialize_hex(transaction))
        .with("sends", u32::from(sent_at_once))
        .with("watch", true);
    Ok(if sent_at_once { step.keeping_lease() } else { step.with("missing_signers", "[]") })
}

/// Reads the stored PSBT.
pub(super) fn psbt_of(record: &Record) -> Result<Psbt, Error> {
    let text = record.psbt.as_deref().ok_or_else(|| Error::internal("a prepared operation has no PSBT"))?;
    text.parse().map_err(|e| Error::internal(format!("a stored PSBT is damaged: {e}")))
}

/// Reads the stored final transaction.
pub(super) fn transaction_of(record: &Record) -> Result<Transaction, Error> {
    let text =
        record.raw_tx.as_deref().ok_or_else(|| Error::internal("a signed operation has no transaction"))?;
    encode::deserialize_hex(text)
        .map_err(|e| Error::internal(format!("a stored transaction is damaged: {e}")))
}

pub(super) fn wallet_of(intent: &Intent) -> Result<WalletId, Error> {
    intent.act.wallet().ok_or_else(|| Error::internal("the act has no wallet"))
}

fn scripts(recipients: &[Recipient], intent: &Intent) -> Result<Vec<(ScriptBuf, Amount)>, Error> {
    recipients
        .iter()
        .map(|recipient| Ok((address::script(&recipient.address, intent.network)?, recipient.amount)))
        .collect()
}

fn parse_txid(text: &str) -> Result<Txid, Error> {
    text.parse().map_err(|_| Error::internal("a stored transaction id is damaged"))
}

/// Frees what an operation holds, inside the transaction that ends it.
pub(super) fn release(tx: &TenantTx<'_>, record: &Record) -> Result<(), Error> {
    Ok(anya_wallet::release(tx, record.id)?)
}
