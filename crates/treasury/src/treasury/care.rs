//! What keys and providers need from time to time, without anyone asking.

use anya_api::provider::Drill;
use anya_keys::{DueEvent, KeySpec, ProviderStatus, Schedule};
use anya_primitives::{Actor, KeyId, TenantId};

use super::{
    Treasury,
    keys::{rotated, told},
};
use crate::Error;

/// What was done for the keys in one round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyCare {
    /// Keys whose time had come.
    pub events: Vec<(TenantId, KeyId, DueEvent)>,
    /// Destroyed keys that nobody holds any more.
    pub erased: usize,
    /// Destroyed keys that a provider still holds, because it cannot be reached.
    pub waiting: usize,
}

impl Treasury {
    /// Acts on the dates of keys, and goes on with erasures that were held up. Called every minute or so, always with
    /// the same schedule: it is what notices that the clock jumped.
    pub async fn tend_keys(&self, schedule: &Schedule) -> Result<KeyCare, Error> {
        let (now, system) = (self.now(), Actor::System);
        let events = self
            .inner
            .keyring
            .act_on_dates(schedule, move |tx, info, event| -> Result<(), Error> {
                let action = match event {
                    DueEvent::Rotated { .. } => {
                        let old = info
                            .predecessor
                            .ok_or_else(|| Error::internal("a successor without a key before"))?;
                        return rotated(tx, now, system, old, info);
                    }
                    DueEvent::Activated => "key.activated",
                    DueEvent::Deactivated => "key.deactivated",
                };
                told(tx, now, system, action, info, |info| serde_json::json!({ "state": info.state.name() }))
            })
            .await?;
        let unerased = self.inner.keyring.unerased().await?;
        let (erased, waiting) = self.inner.keyring.erase_pending().await?;
        for (tenant, key) in unerased {
            if self.inner.keyring.destruction(tenant, key).await?.complete {
                self.log_destruction(tenant, key, system).await?;
            }
        }
        Ok(KeyCare { events, erased, waiting })
    }

    /// Drills the failover between the providers in use that can stand in for each other, and keeps the report. Nothing
    /// where there are no two such providers.
    pub async fn scheduled_drill(&self) -> Result<Option<Drill>, Error> {
        let in_use: Vec<_> =
            self.inner.keyring.providers().into_iter().filter(|status| status.in_use).collect();
        match team(&in_use) {
            None => Ok(None),
            Some(providers) => self.drill(Actor::System, providers).await.map(Some),
        }
    }
}

/// The largest set of providers that can hold one key: the first gives it, the others take it.
fn team(providers: &[ProviderStatus]) -> Option<Vec<String>> {
    let mut best: Vec<String> = Vec::new();
    for spec in [KeySpec::Secp256k1, KeySpec::P256] {
        let able: Vec<_> =
            providers.iter().filter(|status| status.capabilities.specs.contains(&spec)).collect();
        for (place, first) in able.iter().enumerate() {
            let takes = |other: &&&ProviderStatus| {
                let given = &first.capabilities.transfers;
                other.capabilities.transfers.iter().any(|scheme| given.contains(scheme))
            };
            let others = able.iter().skip(place + 1).filter(takes);
            let team: Vec<_> = std::iter::once(first)
                .chain(others)
                .take(anya_api::provider::MAX_DRILLED)
                .map(|status| status.name.clone())
                .collect();
            if team.len() > best.len() {
                best = team;
            }
        }
    }
    (best.len() > 1).then_some(best)
}
