//! Health, found out by real signatures.
//!
//! Each provider has a canary: a key of the server's own that it alone holds. A watcher has it sign again and again. A
//! provider that went out of use, for whatever reason, comes back only after the short form of the conformance suite has
//! passed there on that key.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use anya_conformance::{Canary, short_form};
use anya_primitives::TenantId;
use anya_provider::{Algorithm, Error as Fault, KeySpec, Provider};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::Keyring;
use crate::{
    error::{Error, Result},
    key::NewKey,
    pool::member::Member,
    row::KeyRow,
};

/// How long an examination may take.
const EXAMINATION: Duration = Duration::from_secs(10);
/// Canaries in the order of preference: what is quickest to compute on most devices.
const SPECS: [(KeySpec, Algorithm); 4] = [
    (KeySpec::Secp256k1, Algorithm::EcdsaSecp256k1),
    (KeySpec::P256, Algorithm::EcdsaP256),
    (KeySpec::Ed25519, Algorithm::Ed25519),
    (KeySpec::Secp256k1, Algorithm::SchnorrSecp256k1),
];

/// A watcher at work. It stops when this is dropped.
pub struct Watch {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Stops, and waits for the examination in progress.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

impl Keyring {
    /// Watches the providers: each signs with its canary `every` so often, and one that is out of use is examined until
    /// it passes.
    pub fn watch(self: &Arc<Self>, every: Duration) -> Watch {
        let (stop, stopped) = watch::channel(false);
        let keyring = self.clone();
        let task = tokio::spawn(async move { keyring.keep_watch(every, stopped).await });
        Watch { stop, task }
    }

    async fn keep_watch(self: Arc<Self>, every: Duration, mut stopped: watch::Receiver<bool>) {
        let mut looks: JoinSet<String> = JoinSet::new();
        // One look at a time for each provider: one that hangs holds up nobody else's.
        let mut looked_at: HashMap<String, Instant> = HashMap::new();
        let mut busy: HashSet<String> = HashSet::new();
        loop {
            let now = Instant::now();
            let mut wake = now + every;
            for member in self.pool.all() {
                let name = member.id().to_owned();
                let due = match member.breaker.next_try() {
                    Some(next_try) => next_try,
                    None if member.rests() => continue,
                    None => looked_at.get(&name).map_or(now, |last| *last + every),
                };
                if busy.contains(&name) {
                    continue;
                }
                if due > now {
                    wake = wake.min(due);
                    continue;
                }
                busy.insert(name.clone());
                let keyring = self.clone();
                looks.spawn(async move {
                    match member.breaker.is_closed() {
                        true => keyring.look_at(&member).await,
                        false => keyring.try_again(&member).await,
                    }
                    name
                });
            }
            tokio::select! {
                Some(looked) = looks.join_next() => {
                    if let Ok(name) = looked {
                        busy.remove(&name);
                        looked_at.insert(name, Instant::now());
                    }
                }
                () = tokio::time::sleep_until(wake.into()) => (),
                () = self.pool.trouble.notified() => (),
                changed = stopped.changed() => {
                    if changed.is_err() || *stopped.borrow() {
                        looks.shutdown().await;
                        return;
                    }
                }
            }
        }
    }

    /// One signature with the canary.
    async fn look_at(&self, member: &Arc<Member>) {
        let began = Instant::now();
        let row = match self.canary(member).await {
            Ok(row) => row,
            Err(error) => {
                tracing::warn!(provider = member.id(), %error, "there is no canary to look at");
                if let Error::Provider(fault) = error {
                    member.failed(&fault, began);
                }
                return;
            }
        };
        let looked = async {
            let handle = row.handle(member.id()).ok_or(Error::internal("a canary without its handle"))?;
            let wait = self.deadlines.attempt.max(member.provider.capabilities().objective.p99 * 4);
            let ctx = self.context(TenantId::SERVER, &row.info, wait);
            self.prove(member, &ctx, handle, &row.info.public).await
        };
        match looked.await {
            // Of any other key that would be the key's own trouble; of the canary it is the provider's.
            Err(Error::Provider(error @ (Fault::Missing(_) | Fault::HandleDamaged))) => {
                member.unfit(&error.to_string(), began);
            }
            Err(error) => tracing::warn!(provider = member.id(), %error, "the canary did not sign"),
            Ok(()) => (),
        }
    }

    async fn try_again(&self, member: &Arc<Member>) {
        match self.examine(member).await {
            Ok(()) => {
                tracing::info!(provider = member.id(), "provider back in use: it passed its examination");
                member.breaker.admit();
            }
            Err(error) => {
                tracing::warn!(provider = member.id(), %error, "provider still out of use");
                member.breaker.still_bad(&error.to_string());
            }
        }
    }

    /// Examines a provider of the pool with its canary.
    pub(super) async fn examine(&self, member: &Arc<Member>) -> Result<()> {
        let row = self.canary(member).await?;
        self.short_form(&member.provider, &row).await
    }

    /// Examines a provider that is not in the pool yet: with the canary that one of its name has left, else with one that
    /// it makes.
    pub(super) async fn examine_new(&self, provider: &Arc<dyn Provider>) -> Result<()> {
        let row = self.canary(&Member::new(provider.clone())).await?;
        self.short_form(provider, &row).await
    }

    async fn short_form(&self, provider: &Arc<dyn Provider>, row: &KeyRow) -> Result<()> {
        let handle = row.handle(provider.id()).ok_or(Error::internal("a canary without its handle"))?;
        let ctx = self.context(TenantId::SERVER, &row.info, EXAMINATION);
        let canary = Canary { ctx: &ctx, handle, public: &row.info.public };
        let examined = short_form(provider.as_ref(), canary, ctx.deadline).await;
        examined.map_err(|failure| {
            let reason = format!("it did not pass its examination: {failure}");
            Fault::Unavailable { provider: provider.id().to_owned(), reason }.into()
        })
    }

    /// The provider's canary; made when there is none.
    async fn canary(&self, member: &Arc<Member>) -> Result<Arc<KeyRow>> {
        let name = format!("canary/{}", member.id());
        if let Some(info) = self.find(TenantId::SERVER, &name).await? {
            return self.row(TenantId::SERVER, info.id).await;
        }
        let capabilities = member.provider.capabilities();
        let (spec, _) = SPECS
            .into_iter()
            .find(|(spec, algorithm)| {
                capabilities.specs.contains(spec)
                    && capabilities.computes(*spec, *algorithm)
                    && capabilities.residence_for(*spec, None).is_some()
            })
            .ok_or_else(|| member.provider.unsupported("make a key to be watched by".to_owned()))?;
        let info = self.add_at(member, TenantId::SERVER, NewKey::new(name, spec, member.id())).await?;
        self.row(TenantId::SERVER, info.id).await
    }
}
