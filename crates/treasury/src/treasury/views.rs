//! What can be read: operators, policy, log, events, fees and status.

use anya_api::{
    access::Scope,
    audit::{Entry, Line},
    page::{Page, PageQuery},
    people::Operator,
    policy::PolicyVersion,
    status::{
        Component, Event, FeeEstimate, FeeEstimates, NodeStatus, PoolNode, ProviderStatus, SourceStatus,
        Status,
    },
};
use anya_chain::{Capabilities, NodeReport, NodeState};
use anya_primitives::OperatorId;
use anya_store::{Value, params};

use super::Treasury;
use crate::{Error, Principal, audit, cursor, outbox, people, policy};

/// A part of an audit export.
#[derive(Clone, Debug)]
pub struct AuditChunk {
    /// The lines, in order.
    pub lines: Vec<Line>,
    /// Pass it as `after` for the next chunk; none when this was the last.
    pub next: Option<u64>,
}

/// Targets for which fee estimates are shown, in blocks.
const FEE_TARGETS: [u16; 5] = [1, 3, 6, 24, 144];

impl Treasury {
    /// The tenant's operators, oldest first.
    pub async fn operators(&self, caller: &Principal, query: PageQuery) -> Result<Page<Operator>, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        let (limit, after) = cursor::read::<OperatorId>(&query)?;
        let after = after.map(String::from).unwrap_or_default();
        self.inner
            .ledger
            .read(tenant, move |tx| {
                let rows = tx.query(
                    "SELECT * FROM operators WHERE tenant = :tenant AND id > :after ORDER BY id LIMIT :limit",
                    &params! { "after" => after, "limit" => limit + 1 },
                    people::operator_from_row,
                )?;
                Ok(cursor::page(rows, limit, |operator| operator.id.to_string()))
            })
            .await
    }

    /// One operator.
    pub async fn operator(&self, caller: &Principal, id: OperatorId) -> Result<Operator, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        self.inner.ledger.read(tenant, move |tx| people::operator(tx, id)).await
    }

    /// The policy in force.
    pub async fn policy(&self, caller: &Principal) -> Result<PolicyVersion, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        self.inner
            .ledger
            .read(tenant, |tx| {
                policy::ledger::active(tx)?.ok_or(Error::NotFound("policy: the tenant has none yet"))
            })
            .await
    }

    /// The policies that were and are in force, newest first.
    pub async fn policy_versions(
        &self,
        caller: &Principal,
        query: PageQuery,
    ) -> Result<Page<PolicyVersion>, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        let (limit, before) = cursor::read::<u32>(&query)?;
        let before = before.unwrap_or(u32::MAX);
        self.inner
            .ledger
            .read(tenant, move |tx| {
                let rows = tx.query(
                    "SELECT * FROM policies WHERE tenant = :tenant AND version < :before ORDER BY version DESC LIMIT :limit",
                    &params! { "before" => before, "limit" => limit + 1 },
                    policy::ledger::from_row,
                )?;
                Ok(cursor::page(rows, limit, |version| version.version.to_string()))
            })
            .await
    }

    /// Audit entries, oldest first.
    pub async fn audit_entries(&self, caller: &Principal, query: PageQuery) -> Result<Page<Entry>, Error> {
        let owner = caller.owner_for(Scope::AuditRead)?;
        let (limit, after) = cursor::read::<u64>(&query)?;
        self.inner
            .ledger
            .read(owner, move |tx| {
                let entries = audit::entries(tx, after.unwrap_or(0), limit + 1)?;
                Ok(cursor::page(entries, limit, |entry| entry.seq.to_string()))
            })
            .await
    }

    /// The log from after entry `after`, for offline verification. The first chunk signs the log's present head and
    /// begins with the header.
    pub async fn audit_export(
        &self,
        caller: &Principal,
        after: u64,
        limit: u32,
    ) -> Result<AuditChunk, Error> {
        let owner = caller.owner_for(Scope::AuditRead)?;
        let limit = limit.clamp(1, audit::MAX_CHUNK);
        let key = &self.inner.checkpoint_key;
        if after == 0 {
            key.sign_head(&self.inner.ledger, &self.inner.keyring, owner, self.now()).await?;
        }
        let lines = self.inner.ledger.read(owner, move |tx| audit::lines(tx, after, limit)).await?;
        let entries: Vec<u64> = lines
            .iter()
            .filter_map(|line| match line {
                Line::Entry(entry) => Some(entry.seq),
                _ => None,
            })
            .collect();
        let full = entries.len() == usize::try_from(limit).unwrap_or(usize::MAX);
        let next = if full { entries.last().copied() } else { None };
        let header = (after == 0).then(|| Line::Header(key.header(owner)));
        Ok(AuditChunk { lines: header.into_iter().chain(lines).collect(), next })
    }

    /// Events after `after`, oldest first.
    pub async fn events(&self, caller: &Principal, after: u64, limit: u32) -> Result<Vec<Event>, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        Value::try_from(after)
            .map_err(|_| Error::invalid("after", "use the `seq` of the last event seen"))?;
        self.inner.ledger.read(tenant, move |tx| outbox::after(tx, after, limit)).await
    }

    /// What the chain source holds to be right fees now.
    pub async fn fee_estimates(&self, caller: &Principal) -> Result<FeeEstimates, Error> {
        caller.tenant_for(Scope::Read)?;
        let mut estimates = Vec::with_capacity(FEE_TARGETS.len());
        for target_blocks in FEE_TARGETS {
            if let Some(fee_rate) = self.inner.chain.estimate_fee(target_blocks).await? {
                estimates.push(FeeEstimate { target_blocks, fee_rate });
            }
        }
        let source = self.inner.chain.capabilities().fees.name().to_owned();
        Ok(FeeEstimates { estimates, source, minimum: self.inner.chain.min_relay_fee().await? })
    }

    /// How the server and what it leans on are doing.
    pub async fn status(&self, caller: &Principal) -> Result<Status, Error> {
        caller.owner_for(Scope::Read)?;
        let followed = self.inner.follower.borrow().clone();
        let detail = match &followed.node {
            NodeState::Reachable => followed.sink_error.clone(),
            other => Some(in_words(other)),
        };
        let ok = followed.node == NodeState::Reachable && followed.sink_error.is_none();
        let node = NodeStatus {
            ok,
            detail,
            tip_height: followed.tip.map(|block| block.height),
            tip_hash: followed.tip.map(|block| block.hash.to_string()),
            synced_height: followed.synced.map(|block| block.height),
            source: source(self.inner.chain.capabilities()),
            nodes: self.inner.chain.nodes().into_iter().map(pool_node).collect(),
        };
        let providers = self.inner.keyring.health().await.into_iter().map(|(name, health)| ProviderStatus {
            name,
            ok: health.ready,
            detail: (!health.ready).then_some(health.detail),
        });
        let ledger = match self.ready().await {
            Ok(()) => Component { ok: true, detail: None },
            Err(error) => Component { ok: false, detail: Some(error.to_string()) },
        };
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            network: self.inner.network,
            started_at: self.inner.started_at,
            node,
            providers: providers.collect(),
            ledger,
        })
    }
}

fn source(capabilities: Capabilities) -> SourceStatus {
    SourceStatus {
        kind: capabilities.kind.name().to_owned(),
        mempool: capabilities.mempool.name().to_owned(),
        fees: capabilities.fees.name().to_owned(),
    }
}

fn pool_node(node: NodeReport) -> PoolNode {
    PoolNode {
        name: node.name,
        state: node.state.name().to_owned(),
        detail: node.state.to_string(),
        since: node.since,
        usable: node.usable,
        leads: node.leads,
        tip_height: node.tip.map(|tip| tip.height),
        version: node.subversion,
    }
}

/// Why the node is of no use now.
fn in_words(state: &NodeState) -> String {
    match state {
        NodeState::Connecting => "not reached yet".to_owned(),
        NodeState::Reachable => "reachable".to_owned(),
        NodeState::Unreachable { reason, since } => format!("unreachable since {since}: {reason}"),
        NodeState::WarmingUp { message, since } => format!("warming up since {since}: {message}"),
        NodeState::WrongNetwork { expected, found, .. } => {
            format!("on the network {found} instead of {expected}")
        }
        NodeState::Pruned { reason, .. } => reason.clone(),
        NodeState::Distrusted { reason, since } => format!("not trusted since {since}: {reason}"),
    }
}
