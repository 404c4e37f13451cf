//! The holders of keys, under the care of the server's own administrators.
//!
//! What changes a provider leaves two entries in the server's own log: that it was ordered, before anything is done, and
//! how it went. What takes long runs to its end even when its caller goes away, one such act at a time.

use std::{future::Future, time::Duration};

use anya_api::{
    access::Scope,
    key::KeyKind,
    page::{Page, PageQuery},
    provider::{
        Drill, DrillRequest, DrillStep, Finding, KekRequest, KekStatus, MAX_DRILLED, Provider,
        ProviderLatency, ProviderObjective, ProviderResidence, ProviderUse, Reconciliation,
        ReconciliationRequest, ReloadReport, RewrapReport,
    },
};
use anya_keys::{DrillReport, ProviderStatus};
use anya_primitives::{Actor, TenantId};
use anya_store::{Row, TenantTx, Value, params};
use async_trait::async_trait;

use super::{
    Treasury,
    key_words::{kind_of, same},
    whole,
};
use crate::{Error, Principal, audit, cursor};

/// Findings of a comparison that are shown.
const MAX_FINDINGS: usize = 1000;

/// Reads the configuration of the providers anew, and has the keyring's follow it.
#[async_trait]
pub trait ProviderLoader: Send + Sync {
    /// Does it, and says what changed; or why nothing did.
    async fn reload(&self) -> Result<ReloadReport, String>;
}

impl Treasury {
    /// The providers, in the order of their names.
    pub async fn providers(&self, caller: &Principal, query: PageQuery) -> Result<Page<Provider>, Error> {
        caller.owner_for(Scope::Read)?;
        let (limit, after) = cursor::read::<String>(&query)?;
        let statuses = self.inner.keyring.providers().into_iter();
        let after = statuses.filter(|status| after.as_ref().is_none_or(|after| status.name > *after));
        let some = after.take(usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1));
        let items = some.map(present).collect::<Result<_, _>>()?;
        Ok(cursor::page(items, limit, |provider| provider.name.clone()))
    }

    /// One provider.
    pub async fn provider(&self, caller: &Principal, name: &str) -> Result<Provider, Error> {
        caller.owner_for(Scope::Read)?;
        self.provider_now(name)
    }

    fn provider_now(&self, name: &str) -> Result<Provider, Error> {
        let found = self.inner.keyring.providers().into_iter().find(|status| status.name == name);
        present(found.ok_or(Error::NotFound("provider"))?)
    }

    /// Takes a provider out of use, or puts it back once it has passed its examination.
    pub async fn set_provider_use(
        &self,
        caller: &Principal,
        name: String,
        change: ProviderUse,
    ) -> Result<Provider, Error> {
        caller.require_server(Scope::ProvidersManage)?;
        self.provider_now(&name)?;
        let this = self.clone();
        let detail = serde_json::json!({ "in_use": change.in_use });
        self.log_act(caller.actor(), "provider.use", name.clone(), detail, async move {
            this.inner.keyring.set_in_use(&name, change.in_use).await?;
            Ok((this.provider_now(&name)?, serde_json::json!({})))
        })
        .await
    }

    /// Has a provider asked first, of those that hold a key.
    pub async fn prefer_provider(&self, caller: &Principal, name: String) -> Result<Provider, Error> {
        caller.require_server(Scope::ProvidersManage)?;
        self.provider_now(&name)?;
        let this = self.clone();
        self.log_act(caller.actor(), "provider.preference", name.clone(), serde_json::json!({}), async move {
            this.inner.keyring.prefer(&name)?;
            Ok((this.provider_now(&name)?, serde_json::json!({})))
        })
        .await
    }

    /// Compares what a provider's device holds with the ledger.
    pub async fn reconcile_provider(
        &self,
        caller: &Principal,
        name: String,
        request: ReconciliationRequest,
    ) -> Result<Reconciliation, Error> {
        caller.require_server(Scope::ProvidersManage)?;
        self.provider_now(&name)?;
        let (this, turn) = (self.clone(), self.provider_turn()?);
        let detail = serde_json::json!({ "delete_orphans": request.delete_orphans });
        self.log_act(caller.actor(), "provider.reconciliation", name.clone(), detail, async move {
            let _turn = turn;
            let report = this.inner.keyring.reconcile(&name, request.delete_orphans).await?;
            let deleted: Vec<_> =
                report.findings.iter().filter(|finding| finding.deleted).map(|finding| finding.key).collect();
            let outcome = serde_json::json!({
                "held": report.held, "matched": report.matched, "findings": report.findings.len(), "deleted": deleted,
            });
            let findings = report.findings.iter().take(MAX_FINDINGS).map(|finding| {
                Ok(Finding {
                    kind: same(&finding.kind)?,
                    tenant: (finding.tenant != TenantId::SERVER).then_some(finding.tenant),
                    key: finding.key,
                    deleted: finding.deleted,
                })
            });
            let shown = Reconciliation {
                held: report.held,
                matched: report.matched,
                findings: findings.collect::<Result<_, Error>>()?,
                found: report.findings.len() as u64,
            };
            Ok((shown, outcome))
        })
        .await
    }

    /// The generations of a provider's sealing key.
    pub async fn kek(&self, caller: &Principal, name: &str) -> Result<KekStatus, Error> {
        caller.require_server(Scope::ProvidersManage)?;
        self.provider_now(name)?;
        Ok(kek_status(self.inner.keyring.kek_status(name).await?))
    }

    /// Makes a new generation of a provider's sealing key.
    pub async fn rotate_kek(
        &self,
        caller: &Principal,
        name: String,
        request: KekRequest,
    ) -> Result<KekStatus, Error> {
        caller.require_server(Scope::ProvidersManage)?;
        self.provider_now(&name)?;
        let (this, turn) = (self.clone(), self.provider_turn()?);
        let passphrase = request.passphrase.map(|passphrase| passphrase.into_secret());
        self.log_act(
            caller.actor(),
            "provider.kek_rotation",
            name.clone(),
            serde_json::json!({}),
            async move {
                let _turn = turn;
                let status = kek_status(this.inner.keyring.rotate_kek(&name, passphrase).await?);
                let outcome =
                    serde_json::json!({ "current": status.current, "generations": status.generations });
                Ok((status, outcome))
            },
        )
        .await
    }

    /// Seals every handle of a provider under the newest generation.
    pub async fn rewrap_keys(&self, caller: &Principal, name: String) -> Result<RewrapReport, Error> {
        caller.require_server(Scope::ProvidersManage)?;
        self.provider_now(&name)?;
        let (this, turn) = (self.clone(), self.provider_turn()?);
        self.log_act(caller.actor(), "provider.kek_rewrap", name.clone(), serde_json::json!({}), async move {
            let _turn = turn;
            let report = this.inner.keyring.rewrap(&name, |_| ()).await?;
            let outcome = serde_json::json!({
                "seen": report.seen, "rewrapped": report.rewrapped, "current": report.current, "failed": report.failed,
            });
            let shown = RewrapReport {
                seen: report.seen,
                rewrapped: report.rewrapped,
                current: report.current,
                failed: report.failed,
            };
            Ok((shown, outcome))
        })
        .await
    }

    /// Erases an old generation of a provider's sealing key, once no handle needs it.
    pub async fn retire_kek(
        &self,
        caller: &Principal,
        name: String,
        generation: u32,
        request: KekRequest,
    ) -> Result<KekStatus, Error> {
        caller.require_server(Scope::ProvidersManage)?;
        self.provider_now(&name)?;
        let (this, turn) = (self.clone(), self.provider_turn()?);
        let passphrase = request.passphrase.map(|passphrase| passphrase.into_secret());
        let detail = serde_json::json!({ "generation": generation });
        self.log_act(caller.actor(), "provider.kek_retirement", name.clone(), detail, async move {
            let _turn = turn;
            let status = kek_status(this.inner.keyring.retire_kek(&name, generation, passphrase).await?);
            let outcome = serde_json::json!({ "current": status.current, "generations": status.generations });
            Ok((status, outcome))
        })
        .await
    }

    /// Drills the failover between providers, and keeps the report.
    pub async fn drill_providers(&self, caller: &Principal, request: DrillRequest) -> Result<Drill, Error> {
        caller.require_server(Scope::ProvidersManage)?;
        if !(2..=MAX_DRILLED).contains(&request.providers.len()) {
            return Err(Error::invalid("providers", format!("name 2 to {MAX_DRILLED}")));
        }
        if request.providers.iter().any(|name| self.inner.keyring.capabilities(name).is_err()) {
            return Err(Error::invalid("providers", "this server has no provider of one of these names"));
        }
        self.drill(caller.actor(), request.providers).await
    }

    pub(super) async fn drill(&self, actor: Actor, providers: Vec<String>) -> Result<Drill, Error> {
        let (this, turn) = (self.clone(), self.provider_turn()?);
        let subject = providers.join(",");
        self.log_act(actor, "provider.drill", subject, serde_json::json!({}), async move {
            let _turn = turn;
            let report = this.inner.keyring.drill(&providers).await?;
            let drill = this.inner.ledger.write(TenantId::SERVER, move |tx| keep(tx, actor, report)).await?;
            let outcome = serde_json::json!({ "drill": drill.seq, "passed": drill.passed });
            Ok((drill, outcome))
        })
        .await
    }

    /// The drills that were, newest first.
    pub async fn drills(&self, caller: &Principal, query: PageQuery) -> Result<Page<Drill>, Error> {
        caller.require_server(Scope::ProvidersManage)?;
        let (limit, before) = cursor::read::<u64>(&query)?;
        let before = match before {
            None => Value::from(i64::MAX),
            Some(before) => Value::try_from(before)
                .map_err(|_| Error::invalid("cursor", "use the `next` of the page before"))?,
        };
        self.inner
            .ledger
            .read(TenantId::SERVER, move |tx| {
                let rows = tx.query(
                    "SELECT * FROM provider_drills WHERE tenant = :tenant AND seq < :before ORDER BY seq DESC LIMIT :limit",
                    &params! { "before" => before, "limit" => limit + 1 },
                    from_row,
                )?;
                Ok(cursor::page(rows, limit, |drill| drill.seq.to_string()))
            })
            .await
    }

    /// Has the configuration of the providers read anew.
    pub async fn reload_providers(&self, caller: &Principal) -> Result<ReloadReport, Error> {
        caller.require_server(Scope::ProvidersManage)?;
        let Some(loader) = self.inner.loader.get().cloned() else {
            let message = "this server reads the configuration of its providers only when it starts";
            return Err(Error::Unsupported(message.to_owned()));
        };
        let turn = self.provider_turn()?;
        let subject = "providers".to_owned();
        self.log_act(caller.actor(), "provider.reload", subject, serde_json::json!({}), async move {
            let _turn = turn;
            let report = loader.reload().await.map_err(Error::Conflict)?;
            let outcome =
                serde_json::to_value(&report).map_err(|e| Error::internal(format!("a report: {e}")))?;
            Ok((report, outcome))
        })
        .await
    }

    /// One long act on providers at a time.
    fn provider_turn(&self) -> Result<tokio::sync::OwnedMutexGuard<()>, Error> {
        let turn = self.inner.provider_turn.clone().try_lock_owned();
        turn.map_err(|_| {
            Error::Conflict("another act on the providers is in progress: wait for its end".to_owned())
        })
    }

    /// Does something to a provider between two entries in the server's log, to its end. `act` also answers what the
    /// second entry tells.
    async fn log_act<T: Send + 'static>(
        &self,
        actor: Actor,
        action: &'static str,
        subject: String,
        mut detail: serde_json::Value,
        act: impl Future<Output = Result<(T, serde_json::Value), Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let this = self.clone();
        whole(async move {
            detail["stage"] = "ordered".into();
            this.log_of_server(actor, action, subject.clone(), detail).await?;
            let (result, outcome) = match act.await {
                Ok((answer, mut outcome)) => {
                    outcome["stage"] = "done".into();
                    (Ok(answer), outcome)
                }
                Err(error) => {
                    let reason = error.to_string();
                    (Err(error), serde_json::json!({ "stage": "failed", "reason": reason }))
                }
            };
            this.log_of_server(actor, action, subject, outcome).await?;
            result
        })
        .await
    }

    async fn log_of_server(
        &self,
        actor: Actor,
        action: &'static str,
        subject: String,
        detail: serde_json::Value,
    ) -> Result<(), Error> {
        let now = self.now();
        self.inner
            .ledger
            .write(TenantId::SERVER, move |tx| -> Result<(), Error> {
                audit::append(tx, now, actor, action, subject, detail)?;
                Ok(())
            })
            .await
    }
}

fn present(status: ProviderStatus) -> Result<Provider, Error> {
    let capabilities = status.capabilities;
    let kinds =
        |specs: &[anya_keys::KeySpec]| -> Vec<KeyKind> { specs.iter().copied().map(kind_of).collect() };
    let residences = capabilities
        .residences
        .iter()
        .map(|place| Ok(ProviderResidence { residence: same(place)?, custody: place.describe().to_owned() }));
    let latency = status
        .latency
        .iter()
        .map(|(algorithm, mean)| Ok(ProviderLatency { algorithm: same(algorithm)?, mean_ms: millis(*mean) }));
    Ok(Provider {
        name: status.name,
        kind: same(&capabilities.kind)?,
        makes: kinds(&capabilities.specs),
        imports: kinds(&capabilities.imports),
        algorithms: capabilities.algorithms.iter().map(same).collect::<Result<_, _>>()?,
        hd: same(&capabilities.hd)?,
        residences: residences.collect::<Result<_, Error>>()?,
        transfers: capabilities.transfers.iter().map(same).collect::<Result<_, _>>()?,
        kek_rotation: capabilities.kek_rotation,
        attestation: same(&capabilities.attestation)?,
        max_keys: capabilities.max_keys,
        objective: ProviderObjective {
            p50_ms: millis(capabilities.objective.p50),
            p99_ms: millis(capabilities.objective.p99),
        },
        in_use: status.in_use,
        reason: status.reason,
        signatures: status.signatures,
        faults: status.faults,
        latency: latency.collect::<Result<_, Error>>()?,
        preference: status.preference.and_then(|place| u32::try_from(place).ok()),
        product: capabilities.product,
    })
}

/// Milliseconds, to the microsecond.
fn millis(time: Duration) -> f64 {
    f64::from(u32::try_from(time.as_micros()).unwrap_or(u32::MAX)) / 1000.0
}

fn kek_status(status: anya_keys::KekStatus) -> KekStatus {
    KekStatus { current: status.current, generations: status.generations }
}

/// Keeps a drill's report under the next number.
fn keep(tx: &TenantTx<'_>, by: Actor, report: DrillReport) -> Result<Drill, Error> {
    let last = tx.query_opt::<_, Error>(
        "SELECT seq FROM provider_drills WHERE tenant = :tenant ORDER BY seq DESC LIMIT 1",
        &params! {},
        |row| Ok(row.get::<u64>("seq")?),
    )?;
    let steps = report.steps.into_iter().map(|step| DrillStep {
        provider: step.provider,
        signatures: step.signatures,
        made_by: step.made_by,
        first_us: step.first_us,
        longest_us: step.longest_us,
        came_back: step.came_back,
        fault: step.fault,
    });
    let drill = Drill {
        seq: last.unwrap_or(0) + 1,
        started_at: report.started_at,
        by,
        providers: report.providers,
        passed: report.passed,
        steps: steps.collect(),
    };
    tx.execute(
        "INSERT INTO provider_drills (tenant, seq, started_at, report) VALUES (:tenant, :seq, :at, :report)",
        &params! {
            "seq" => Value::try_from(drill.seq)?, "at" => drill.started_at, "report" => anya_store::json(&drill)?
        },
    )?;
    Ok(drill)
}

fn from_row(row: &Row<'_>) -> Result<Drill, Error> {
    Ok(row.json("report")?)
}
