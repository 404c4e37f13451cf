//! Providers come, go and change places while keys are in use. Nobody's call fails for it: whoever began with the old
//! one ends with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anya_provider::{Algorithm, Capabilities, Health, Provider};

use super::{Keyring, within};
use crate::{
    error::{Error, Result},
    row,
};

/// A provider as it stands.
#[derive(Clone, Debug)]
pub struct ProviderStatus {
    /// Its name.
    pub name: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Whether keys are used there now.
    pub in_use: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Signatures that it made for this server since it was put in use, all of them verified.
    pub signatures: u64,
    /// Faults since then.
    pub faults: u64,
    /// The smoothed time of a signature, for each algorithm that was used.
    pub latency: Vec<(Algorithm, Duration)>,
    /// Its place in the order in which providers are asked, from 0, where it was given one.
    pub preference: Option<usize>,
}

impl Keyring {
    /// The providers' names, in their order.
    pub fn provider_names(&self) -> Vec<String> {
        self.pool.all().iter().map(|member| member.id().to_owned()).collect()
    }

    /// What a provider can do.
    pub fn capabilities(&self, provider: &str) -> Result<Capabilities> {
        Ok(self.member(provider)?.provider.capabilities().clone())
    }

    /// The providers as they stand, in the order of their names.
    pub fn providers(&self) -> Vec<ProviderStatus> {
        let preferred = self.pool.preferred();
        let all = self.pool.all().into_iter();
        all.map(|member| ProviderStatus {
            name: member.id().to_owned(),
            capabilities: member.provider.capabilities().clone(),
            in_use: member.is_ready(),
            reason: member.why_not(),
            signatures: member.signatures(),
            faults: member.faults(),
            latency: Algorithm::ALL
                .into_iter()
                .filter_map(|algorithm| Some((algorithm, member.latency.mean(algorithm)?)))
                .collect(),
            preference: preferred.iter().position(|name| name == member.id()),
        })
        .collect()
    }

    /// What each provider says of itself, and what the keyring has found out.
    pub async fn health(&self) -> Vec<(String, Health)> {
        let mut report = Vec::new();
        for member in self.pool.all() {
            let wait = self.deadlines.sign;
            let said =
                within(member.id(), wait, async { Ok(member.provider.health(Instant::now() + wait).await) });
            let mut health =
                said.await.unwrap_or_else(|error| Health { ready: false, detail: error.to_string() });
            if let Some(reason) = member.why_not() {
                health = Health { ready: false, detail: reason };
            }
            report.push((member.id().to_owned(), health));
        }
        report
    }

    /// Puts a new provider in use, once it has passed its examination.
    ///
    /// # Errors
    /// [`Error::ProviderExists`]; whatever the examination found.
    pub async fn attach(&self, provider: Arc<dyn Provider>) -> Result<()> {
        if self.pool.get(provider.id()).is_some() {
            return Err(Error::ProviderExists(provider.id().to_owned()));
        }
        self.examine_new(&provider).await?;
        self.pool.put(provider);
        Ok(())
    }

    /// Puts a provider in the place of the one of the same name: a newer library, other settings, a device that took
    /// over its keys. It must pass its examination, and sign with the canary of the old one, first. Calls in progress end
    /// where they began; then the old one is let go of.
    ///
    /// # Errors
    /// [`Error::ProviderAbsent`]; whatever the examination found. The old one then stays.
    pub async fn replace(&self, provider: Arc<dyn Provider>) -> Result<()> {
        let old = self.member(provider.id())?;
        let missing = old
            .provider
            .capabilities()
            .algorithms
            .iter()
            .find(|a| !provider.capabilities().algorithms.contains(a));
        if let Some(missing) = missing {
            let act = format!("take the place of the present one: it does not compute {missing}");
            return Err(provider.unsupported(act).into());
        }
        self.examine_new(&provider).await?;
        let (_, replaced) = self.pool.put(provider);
        if let Some(replaced) = replaced {
            tokio::spawn(replaced.retire());
        }
        Ok(())
    }

    /// Takes a provider out for good. Calls in progress end; keys that it alone holds cannot be used any more, which is
    /// why that many must be expected.
    ///
    /// # Errors
    /// [`Error::Invalid`](anya_provider::Error::Invalid) when more keys would be out of reach than `expected_losses`.
    pub async fn detach(&self, name: &str, expected_losses: u64) -> Result<()> {
        self.member(name)?;
        let losses = self.held_alone(name).await?;
        if losses > expected_losses {
            let reason = format!(
                "{losses} keys are held by `{name}` alone and could not be used any more: give them to another provider \
                 first, or say that they may be out of reach"
            );
            return Err(Error::invalid("expected_losses", reason));
        }
        if let Some(member) = self.pool.remove(name) {
            tokio::spawn(member.retire());
        }
        Ok(())
    }

    /// How many keys, not destroyed, this provider alone holds. Canaries do not count.
    pub async fn held_alone(&self, name: &str) -> Result<u64> {
        let name = name.to_owned();
        self.ledger.read_system(move |tx| row::held_alone(tx, &name)).await
    }

    /// Takes a provider out of use, or puts it back: back only once it has passed its examination. A key that it alone
    /// holds cannot be used meanwhile.
    pub async fn set_in_use(&self, name: &str, in_use: bool) -> Result<()> {
        let member = self.member(name)?;
        if in_use {
            self.examine(&member).await?;
            member.breaker.admit();
        }
        member.set_rests(!in_use);
        Ok(())
    }

    /// Lets go of every provider, when the server ends.
    pub async fn close(&self) {
        for member in self.pool.all() {
            member.provider.close().await;
        }
    }

    /// Has this provider asked first, of those that hold a key.
    pub fn prefer(&self, name: &str) -> Result<()> {
        self.member(name)?;
        self.pool.prefer(name);
        Ok(())
    }
}
