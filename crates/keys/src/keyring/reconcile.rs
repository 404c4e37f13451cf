//! What a device holds, compared with what the ledger says of it.
//!
//! Power may fail after a device has made a key and before its record is durable, somebody may delete an object with
//! the vendor's tools, and two servers may share one token. Nothing is kept or deleted silently: this reports, and
//! deletes only orphans of this server's own making, when told to.

use std::{collections::HashSet, time::Instant};

use anya_primitives::{KeyId, TenantId};
use anya_provider::{KeySpec, Residence};
use serde::{Deserialize, Serialize};

use super::{Keyring, context, within};
use crate::{error::Result, row};

/// What is odd about a key in a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// This server was about to make it and never recorded it: nobody was told of it, and it can be deleted.
    Orphan,
    /// It bears our labels but this ledger knows nothing of it: another server's, or from before a restored backup.
    Unknown,
    /// The ledger says that the device holds it, and the device does not.
    Missing,
}

/// One odd key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What is odd.
    pub kind: FindingKind,
    /// Whose key, as its label or record says.
    pub tenant: TenantId,
    /// Which key.
    pub key: KeyId,
    /// Whether it was deleted from the device by this call.
    pub deleted: bool,
}

/// The outcome of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// Keys of ours that the device holds.
    pub held: u64,
    /// Of these, the ones that the ledger knows as held there.
    pub matched: u64,
    /// The rest, and what is missing.
    pub findings: Vec<Finding>,
}

impl Keyring {
    /// Compares what a provider's device holds with the ledger. With `delete_orphans`, orphans of this server's own
    /// making are deleted from the device.
    pub async fn reconcile(&self, provider: &str, delete_orphans: bool) -> Result<Reconciliation> {
        let member = self.member(provider)?;
        let wait = self.deadlines.generate;
        let inventory = within(member.id(), wait, member.provider.inventory(Instant::now() + wait)).await?;
        let name = provider.to_owned();
        let mut intents = self.ledger.read_system(move |tx| row::open_intents(tx, &name)).await?;
        // What is being made just now is no orphan yet.
        let settled = self.clock.now().saturating_sub(wait.saturating_mul(2));
        let recent: HashSet<_> = intents
            .iter()
            .filter(|(.., since)| *since > settled)
            .map(|(tenant, key, _)| (*tenant, *key))
            .collect();
        intents.retain(|(.., since)| *since <= settled);
        let mut recorded = HashSet::new();
        let mut in_device = Vec::new();
        let mut after = None;
        loop {
            let name = provider.to_owned();
            let page = self.ledger.read_system(move |tx| row::held_by(tx, &name, after, 500)).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.tenant, last.key));
            for held in page {
                recorded.insert((held.tenant, held.key));
                if held.residence == Residence::Device {
                    in_device.push((held.tenant, held.key));
                }
            }
        }
        let mut report = Reconciliation { held: inventory.len() as u64, ..Reconciliation::default() };
        let mut present = HashSet::new();
        for found in inventory {
            let id = (found.tenant, found.key);
            present.insert(id);
            if recorded.contains(&id) {
                report.matched += 1;
                continue;
            }
            if recent.contains(&id) {
                continue;
            }
            let ours = intents.iter().any(|(tenant, key, _)| (*tenant, *key) == id);
            let mut finding = Finding {
                kind: if ours { FindingKind::Orphan } else { FindingKind::Unknown },
                tenant: found.tenant,
                key: found.key,
                deleted: false,
            };
            if ours && delete_orphans {
                // Its sort is not known; a device deletes by handle.
                let ctx = context(found.tenant, found.key, found.version, KeySpec::Secp256k1, wait);
                within(member.id(), wait, member.provider.destroy(&ctx, &found.handle)).await?;
                let (key, name) = (found.key, provider.to_owned());
                self.ledger.write(found.tenant, move |tx| row::intended_with(tx, key, &name)).await?;
                finding.deleted = true;
            }
            tracing::warn!(
                provider, key = %finding.key, tenant = %finding.tenant, kind = ?finding.kind, deleted = finding.deleted,
                "the device holds a key that the ledger does not know"
            );
            report.findings.push(finding);
        }
        // An intent that the device has nothing for came to nothing.
        for (tenant, key, _) in
            intents.into_iter().filter(|(tenant, key, _)| !present.contains(&(*tenant, *key)))
        {
            let name = provider.to_owned();
            self.ledger.write(tenant, move |tx| row::intended_with(tx, key, &name)).await?;
        }
        for (tenant, key) in in_device.into_iter().filter(|id| !present.contains(id)) {
            tracing::error!(provider, %key, %tenant, "the device does not hold a key that the ledger says it holds");
            report.findings.push(Finding { kind: FindingKind::Missing, tenant, key, deleted: false });
        }
        Ok(report)
    }
}
