//! Proposing, deciding, and looking at operations.

use anya_api::{
    access::Scope,
    ballot::SignedBallot,
    operation::{
        Operation, OperationFilter, OperationState, Proposal, ProposedAct, PsbtDocument, Simulation,
    },
    page::Page,
};
use anya_primitives::{OperationId, TenantId};
use anya_store::params;

use super::Treasury;
use crate::{
    Error, Principal, cursor,
    operation::{
        ballots,
        propose::{self, Context},
        record::Record,
        transition::{self, Step},
    },
};

/// The answer to a proposal.
#[derive(Clone, Debug)]
pub struct Proposed {
    /// The operation.
    pub operation: Operation,
    /// Whether it is the one that an earlier request with the same idempotency key made.
    pub replayed: bool,
}

impl Treasury {
    /// Proposes an operation. The same key with the same request gives the same operation, however often.
    pub async fn propose(
        &self,
        caller: &Principal,
        idempotency_key: &str,
        proposal: Proposal,
    ) -> Result<Proposed, Error> {
        let tenant = caller.tenant_for(scope_of(&proposal.act))?;
        propose::check_idempotency_key(idempotency_key)?;
        self.check_wallet(tenant, &proposal.act)?;
        let (context, key) = (self.context(caller), idempotency_key.to_owned());
        let (record, replayed) =
            self.inner.ledger.write(tenant, move |tx| propose::propose(tx, context, &key, proposal)).await?;
        if record.state == OperationState::Approved {
            self.inner.work.notify_one();
        }
        let operation = self.look_at(tenant, record.id).await?;
        Ok(Proposed { operation, replayed })
    }

    /// What a proposal would meet now. Nothing is written.
    pub async fn simulate(&self, caller: &Principal, proposal: Proposal) -> Result<Simulation, Error> {
        let tenant = caller.tenant_for(scope_of(&proposal.act))?;
        self.check_wallet(tenant, &proposal.act)?;
        let context = self.context(caller);
        self.inner.ledger.read(tenant, move |tx| propose::simulate(tx, context, proposal)).await
    }

    /// Operations, newest first.
    pub async fn operations(
        &self,
        caller: &Principal,
        filter: OperationFilter,
    ) -> Result<Page<Operation>, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        let limit = cursor::limit(filter.limit)?;
        let before: Option<OperationId> = cursor::parse(filter.cursor.as_deref())?;
        let tip = self.synced_height();
        self.inner
            .ledger
            .read(tenant, move |tx| {
                let records = tx.query(
                    "SELECT * FROM operations WHERE tenant = :tenant \
                     AND (:state = '' OR state = :state) AND (:kind = '' OR kind = :kind) \
                     AND (:wallet = '' OR wallet = :wallet) AND (:before = '' OR id < :before) \
                     ORDER BY id DESC LIMIT :limit",
                    &params! {
                        "state" => filter.state.map_or("", OperationState::name),
                        "kind" => filter.kind.map_or("", |kind| kind.name()),
                        "wallet" => filter.wallet.map(String::from).unwrap_or_default(),
                        "before" => before.map(String::from).unwrap_or_default(),
                        "limit" => limit + 1
                    },
                    Record::from_row,
                )?;
                let operations = records
                    .into_iter()
                    .map(|record| Ok(record.view(ballots::cast(tx, record.id)?, tip)))
                    .collect::<Result<Vec<_>, Error>>()?;
                Ok(cursor::page(operations, limit, |operation| operation.id.to_string()))
            })
            .await
    }

    /// One operation.
    pub async fn operation(&self, caller: &Principal, id: OperationId) -> Result<Operation, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        self.look_at(tenant, id).await
    }

    /// Takes an operator's signed ballot.
    pub async fn decide(
        &self,
        caller: &Principal,
        id: OperationId,
        ballot: SignedBallot,
    ) -> Result<Operation, Error> {
        let tenant = caller.tenant_for(Scope::OperationsDecide)?;
        let (now, operator) = (self.now(), caller.operator());
        let record =
            self.inner.ledger.write(tenant, move |tx| ballots::take(tx, now, operator, id, &ballot)).await?;
        if record.state == OperationState::Approved {
            self.inner.work.notify_one();
        }
        self.look_at(tenant, id).await
    }

    /// Withdraws an operation whose transaction cannot be on its way: it is not signed in full, or the node refuses it.
    pub async fn cancel(&self, caller: &Principal, id: OperationId) -> Result<Operation, Error> {
        let tenant = caller.tenant_for(Scope::OperationsPropose)?;
        let (now, actor) = (self.now(), caller.actor());
        self.inner
            .ledger
            .write(tenant, move |tx| -> Result<(), Error> {
                let record = Record::load(tx, id)?;
                if record.state == OperationState::Cancelled {
                    return Ok(());
                }
                let sent = record.state == OperationState::Signed && record.may_have_been_sent();
                if sent || !transition::is_legal(record.state, OperationState::Cancelled) {
                    let message =
                        format!("the operation is {}; it can no longer be cancelled", record.state.name());
                    return Err(Error::Conflict(message));
                }
                let mut step = Step::new(OperationState::Cancelled, actor, "operation.cancelled", now)
                    .because("cancelled", "withdrawn before it was sent");
                if record.is_here_alone() {
                    step = step.with("watch", false);
                }
                transition::apply(tx, now, &record, step)?;
                Ok(anya_wallet::release(tx, id)?)
            })
            .await?;
        self.look_at(tenant, id).await
    }

    /// The PSBT of an operation that waits for outside signatures, to be signed there.
    pub async fn psbt(&self, caller: &Principal, id: OperationId) -> Result<PsbtDocument, Error> {
        let tenant = caller.tenant_for(Scope::OperationsPropose)?;
        self.inner
            .ledger
            .read(tenant, move |tx| {
                let record = Record::load(tx, id)?;
                let psbt = record.psbt.ok_or_else(|| {
                    Error::Conflict(format!(
                        "the operation is {}; it has no PSBT to sign",
                        record.state.name()
                    ))
                })?;
                Ok(PsbtDocument { psbt })
            })
            .await
    }

    /// Takes in a PSBT with outside signatures, merges what holds, and finishes the transaction when nothing is missing.
    pub async fn import_psbt(
        &self,
        caller: &Principal,
        id: OperationId,
        document: PsbtDocument,
    ) -> Result<Operation, Error> {
        let tenant = caller.tenant_for(Scope::OperationsPropose)?;
        self.take_psbt(tenant, caller.actor(), id, document).await?;
        self.inner.work.notify_one();
        self.look_at(tenant, id).await
    }

    fn context(&self, caller: &Principal) -> Context {
        Context { actor: caller.actor(), now: self.now(), network: self.inner.network }
    }

    /// A payment names a wallet of the caller's tenant.
    fn check_wallet(&self, tenant: TenantId, act: &ProposedAct) -> Result<(), Error> {
        if let ProposedAct::Payment { wallet, .. } = act {
            self.inner.wallets.get(tenant, *wallet).map_err(|error| {
                use anya_primitives::{Classified, ErrorKind};
                if error.kind() == ErrorKind::NotFound {
                    Error::invalid("act.wallet", "no wallet has this id")
                } else {
                    Error::Wallet(error)
                }
            })?;
        }
        Ok(())
    }

    pub(crate) async fn look_at(&self, tenant: TenantId, id: OperationId) -> Result<Operation, Error> {
        let tip = self.synced_height();
        self.inner
            .ledger
            .read(tenant, move |tx| {
                let record = Record::load(tx, id)?;
                let ballots = ballots::cast(tx, id)?;
                Ok(record.view(ballots, tip))
            })
            .await
    }
}

/// Changes of what is allowed need another scope than movements of value.
fn scope_of(act: &ProposedAct) -> Scope {
    match act {
        ProposedAct::Payment { .. }
        | ProposedAct::FeeBump { .. }
        | ProposedAct::ChildPaysForParent { .. } => Scope::OperationsPropose,
        ProposedAct::PolicyChange { .. } | ProposedAct::OperatorChange { .. } => Scope::GovernancePropose,
    }
}
