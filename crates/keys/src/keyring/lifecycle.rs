//! A key's way from state to state, and the proof of its end.

use anya_primitives::{KeyId, TenantId, Timestamp};
use anya_provider::Erasure;
use anya_store::TenantTx;
use serde::{Deserialize, Serialize};

use super::{Keyring, within};
use crate::{
    error::{Error, Result},
    key::{KeyDates, KeyInfo},
    row,
    state::KeyState,
    usage::KeyUsage,
};

/// How one provider's share of a destroyed key went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedShare {
    /// The provider.
    pub provider: String,
    /// When; none while the provider could not be reached.
    pub erased_at: Option<Timestamp>,
    /// What was done, and what may be left, in words for an auditor.
    pub statement: String,
}

/// What is known of a key's destruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestructionProof {
    /// Which key.
    pub key: KeyId,
    /// When it was ordered.
    pub ordered_at: Timestamp,
    /// Whether every share has been erased.
    pub complete: bool,
    /// Share by share.
    pub shares: Vec<ErasedShare>,
}

impl Keyring {
    /// Changes a key's state. `record` runs in the same ledger transaction. Destroying also has every provider erase
    /// what it holds; a provider that cannot be reached is asked again by [`Keyring::erase_pending`].
    ///
    /// # Errors
    /// [`Error::State`] where [`KeyState::may_become`] says no, and for a key whose time is over that is to become
    /// active.
    pub async fn set_state<E, R>(
        &self,
        tenant: TenantId,
        key: KeyId,
        next: KeyState,
        record: R,
    ) -> Result<KeyInfo, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: FnOnce(&TenantTx<'_>, &KeyInfo) -> Result<(), E> + Send + 'static,
    {
        let now = self.clock.now();
        let changed = self
            .ledger
            .write(tenant, move |tx| {
                let mut info = row::get(tx, key)?.info;
                step(&mut info, next, now)?;
                row::update(tx, &info)?;
                record(tx, &info)?;
                Ok::<_, E>(info)
            })
            .await;
        self.rows.invalidate(&(tenant, key));
        let info = changed?;
        if next != KeyState::Destroyed {
            return Ok(info);
        }
        self.erase(tenant, key).await?;
        Ok(self.get(tenant, key).await?)
    }

    /// Makes a key's rules narrower. `record` runs in the same ledger transaction.
    ///
    /// # Errors
    /// [`Error::Usage`] when the new rules allow what the old ones do not.
    pub async fn narrow<E, R>(
        &self,
        tenant: TenantId,
        key: KeyId,
        usage: KeyUsage,
        record: R,
    ) -> Result<KeyInfo, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: FnOnce(&TenantTx<'_>, &KeyInfo) -> Result<(), E> + Send + 'static,
    {
        self.change(tenant, key, record, move |info, _| {
            usage.check(info.spec)?;
            if !info.usage.covers(&usage) {
                let rule = "its rules can be made narrower, never wider: make another key";
                return Err(Error::Usage { key: info.id, rule });
            }
            info.usage = usage;
            Ok(())
        })
        .await
    }

    /// Sets a key's dates anew. `record` runs in the same ledger transaction.
    pub async fn set_dates<E, R>(
        &self,
        tenant: TenantId,
        key: KeyId,
        dates: KeyDates,
        record: R,
    ) -> Result<KeyInfo, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: FnOnce(&TenantTx<'_>, &KeyInfo) -> Result<(), E> + Send + 'static,
    {
        self.change(tenant, key, record, move |info, now| {
            if matches!(info.state, KeyState::Deactivated | KeyState::Compromised | KeyState::Destroyed) {
                return Err(Error::State { key: info.id, state: info.state, act: "be given other dates" });
            }
            if info.state != KeyState::PreActivation && dates.activates_at != info.activates_at {
                return Err(Error::invalid(
                    "activates_at",
                    "the key has been active already: leave it as it is",
                ));
            }
            dates.check(now)?;
            info.activates_at = dates.activates_at;
            info.deactivates_at = dates.deactivates_at;
            info.rotate_seconds =
                dates.rotate_after.map(|after| u32::try_from(after.as_secs()).unwrap_or(u32::MAX));
            Ok(())
        })
        .await
    }

    async fn change<E, R>(
        &self,
        tenant: TenantId,
        key: KeyId,
        record: R,
        change: impl FnOnce(&mut KeyInfo, Timestamp) -> Result<()> + Send + 'static,
    ) -> Result<KeyInfo, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: FnOnce(&TenantTx<'_>, &KeyInfo) -> Result<(), E> + Send + 'static,
    {
        let now = self.clock.now();
        let changed = self
            .ledger
            .write(tenant, move |tx| {
                let mut info = row::get(tx, key)?.info;
                change(&mut info, now)?;
                info.updated_at = now;
                row::update(tx, &info)?;
                record(tx, &info)?;
                Ok::<_, E>(info)
            })
            .await;
        self.rows.invalidate(&(tenant, key));
        changed
    }

    /// Has the providers of a destroyed key erase what they still hold. Answers whether nothing is left.
    pub(super) async fn erase(&self, tenant: TenantId, key: KeyId) -> Result<bool> {
        let row = self.row(tenant, key).await?;
        if row.info.state != KeyState::Destroyed {
            return Err(Error::State { key, state: row.info.state, act: "be erased: it is not destroyed" });
        }
        let mut complete = true;
        for (name, handle) in &row.handles {
            let Some(member) = self.pool.get(name) else {
                tracing::warn!(provider = name, %key, "a destroyed key cannot be erased: its provider is not configured");
                complete = false;
                continue;
            };
            let _in_flight = member.begin();
            let ctx = self.context(tenant, &row.info, self.deadlines.generate);
            let how = match within(name, self.deadlines.generate, member.provider.destroy(&ctx, handle)).await
            {
                Ok(Erasure::Object) => "object",
                Ok(_) => "handle",
                Err(error) => {
                    tracing::warn!(provider = name, %key, %error, "a destroyed key is not erased yet; tried again later");
                    complete = false;
                    continue;
                }
            };
            let (name, now) = (name.clone(), self.clock.now());
            self.ledger.write(tenant, move |tx| row::erase(tx, key, &name, how, now)).await?;
        }
        self.rows.invalidate(&(tenant, key));
        // The handles' bytes also stand in the write-ahead log.
        self.ledger.fold().await?;
        Ok(complete)
    }

    /// Destroyed keys that some provider still holds: what [`Keyring::erase_pending`] would look at.
    pub async fn unerased(&self) -> Result<Vec<(TenantId, KeyId)>> {
        self.ledger.read_system(|tx| row::unerased(tx, 1000)).await
    }

    /// Goes on with destructions that a provider's absence held up. Answers how many keys are erased by it, and how many
    /// are still waiting.
    pub async fn erase_pending(&self) -> Result<(usize, usize)> {
        let waiting = self.unerased().await?;
        let (mut erased, mut left) = (0, 0);
        for (tenant, key) in waiting {
            match self.erase(tenant, key).await? {
                true => erased += 1,
                false => left += 1,
            }
        }
        Ok((erased, left))
    }

    /// What is known of the destruction of a key.
    ///
    /// # Errors
    /// [`Error::State`] for a key that is not destroyed.
    pub async fn destruction(&self, tenant: TenantId, key: KeyId) -> Result<DestructionProof> {
        let info = self.get(tenant, key).await?;
        let Some(ordered_at) = info.destroyed_at else {
            return Err(Error::State { key, state: info.state, act: "show its destruction" });
        };
        let shares = self.ledger.read(tenant, move |tx| row::erasures(tx, key)).await?;
        let shares: Vec<_> = shares
            .into_iter()
            .map(|(provider, how, erased_at)| ErasedShare {
                statement: statement(how.as_deref()).to_owned(),
                provider,
                erased_at,
            })
            .collect();
        let complete = shares.iter().all(|share| share.erased_at.is_some());
        Ok(DestructionProof { key, ordered_at, complete, shares })
    }
}

/// Takes a step of a key's life.
pub(super) fn step(info: &mut KeyInfo, next: KeyState, now: Timestamp) -> Result<()> {
    let refused = |act| Err(Error::State { key: info.id, state: info.state, act });
    if !info.state.may_become(next) {
        return refused(match next {
            KeyState::PreActivation => "go back to pre-activation",
            KeyState::Active => "become active",
            KeyState::Suspended => "become suspended",
            KeyState::Deactivated => "become deactivated",
            KeyState::Compromised => "become compromised",
            KeyState::Destroyed => "be destroyed: take it out of use first",
        });
    }
    if next == KeyState::Active && info.deactivates_at.is_some_and(|end| end <= now) {
        return refused("become active: its cryptoperiod is over");
    }
    match next {
        KeyState::Active if info.state == KeyState::PreActivation => info.activates_at = Some(now),
        KeyState::Compromised => info.compromised_at = Some(now),
        KeyState::Destroyed => info.destroyed_at = Some(now),
        _ => (),
    }
    info.state = next;
    info.updated_at = now;
    Ok(())
}

fn statement(how: Option<&str>) -> &'static str {
    match how {
        Some("object") => {
            "the device deleted the key's object and no longer finds it; its handle was overwritten in the ledger. \
             Backups of the device that were made before, if there are any, may still hold it"
        }
        Some(_) => {
            "the sealed key was overwritten in the ledger and is on this disk no more. Backups of the ledger made before \
             hold it sealed; they can never be opened again once the provider's sealing key of that time is retired and \
             its copies are destroyed"
        }
        None => {
            "not erased yet: the provider could not be reached. No use of the key is possible through this server"
        }
    }
}
