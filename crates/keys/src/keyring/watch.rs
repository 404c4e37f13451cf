//! Health, found out by real signatures.
//!
//! Each provider has a canary: a key of the server's own that it alone holds. A watcher has it sign again and again. A
//! provider that went out of use, for whatever reason, comes back only after the short form of the conformance suite has
//! passed there on that key.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anya_conformance::{Canary, short_form};
use anya_primitives::TenantId;
use anya_provider::{Algorithm, Error as Fault, KeySpec, Provider};
use tokio::{sync::watch, task::JoinHandle};

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
        let mut next_round = Instant::now();
        loop {
            let members = self.pool.all();
            let now = Instant::now();
            let round = now >= next_round;
            let mut looks = tokio::task::JoinSet::new();
            for member in &members {
                let open = member.breaker.next_try();
                let (keyring, member) = (self.clone(), member.clone());
                match open {
                    Some(next_try) if next_try <= now => {
                        looks.spawn(async move { keyring.try_again(&member).await });
                    }
                    None if round && !member.rests() => {
                        looks.spawn(async move { keyring.look_at(&member).await });
                    }
                    _ => (),
                }
            }
            // Examinations have deadlines of their own; one that hangs does not hold up the others' next one for long.
            while looks.join_next().await.is_some() {}
            if round {
                next_round = Instant::now() + every;
            }
            let wake = members
                .iter()
                .filter_map(|member| member.breaker.next_try())
                .chain([next_round])
                .min()
                .unwrap_or(next_round);
            tokio::select! {
                () = tokio::time::sleep_until(wake.into()) => (),
                () = self.pool.trouble.notified() => (),
                changed = stopped.changed() => {
                    if changed.is_err() || *stopped.borrow() {
                        return;
                    }
                }
            }
        }
    }

    /// One signature with the canary.
    async fn look_at(&self, member: &Arc<Member>) {
        let looked = async {
            let row = self.canary(member).await?;
            let handle = row.handle(member.id()).ok_or(Error::internal("a canary without its handle"))?;
            let wait = self.deadlines.attempt.max(member.provider.capabilities().objective.p99 * 4);
            let ctx = self.context(TenantId::SERVER, &row.info, wait);
            self.prove(member, &ctx, handle, &row.info.public).await
        };
        if let Err(error) = looked.await {
            tracing::warn!(provider = member.id(), %error, "the canary did not sign");
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
