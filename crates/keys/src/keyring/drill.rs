//! The failover, practised in production.
//!
//! A key of the server's own, held by the providers that are drilled, signs while each of them in turn is taken out of
//! use, and again once it is back. No tenant's key is touched. The report says how long a caller waited.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anya_primitives::{TenantId, Timestamp};
use anya_provider::{Expected, KeySpec, Message, PublicMaterial, SignAlgorithm, SignRequest};
use serde::{Deserialize, Serialize};

use super::Keyring;
use crate::{
    error::{Error, Result},
    key::NewKey,
    row::KeyRow,
};

/// Signatures asked for in each step.
const ROUNDS: u32 = 20;

/// One step of a drill: signatures while one provider is out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillStep {
    /// The provider that was taken out.
    pub provider: String,
    /// Signatures made under the same public key while it was out, each verified.
    pub signatures: u32,
    /// Who made them.
    pub made_by: Vec<String>,
    /// The time from taking it out to the first signature, in microseconds.
    pub first_us: u64,
    /// The longest wait for a signature, in microseconds.
    pub longest_us: u64,
    /// Whether it came back: it passed its examination and signed again.
    pub came_back: bool,
    /// What went wrong, if anything did.
    pub fault: Option<String>,
}

/// What a drill showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillReport {
    /// When it began.
    pub started_at: Timestamp,
    /// The providers that took part.
    pub providers: Vec<String>,
    /// Whether every step went well.
    pub passed: bool,
    /// Step by step.
    pub steps: Vec<DrillStep>,
}

impl Keyring {
    /// Drills the failover between these providers: at least two, all of them in use, able to hold the same key.
    pub async fn drill(&self, providers: &[String]) -> Result<DrillReport> {
        if providers.len() < 2 {
            return Err(Error::invalid(
                "providers",
                "name at least two: with one there is nobody to fail over to",
            ));
        }
        let started_at = self.clock.now();
        let row = self.drill_key(providers).await?;
        let mut steps = Vec::new();
        for provider in providers {
            steps.push(self.drill_without(&row, provider).await?);
        }
        let passed = steps.iter().all(|step| step.fault.is_none() && step.came_back);
        Ok(DrillReport { started_at, providers: providers.to_vec(), passed, steps })
    }

    async fn drill_without(&self, row: &Arc<KeyRow>, provider: &str) -> Result<DrillStep> {
        let member = self.member(provider)?;
        if !member.is_ready() {
            let reason = member.why_not().unwrap_or_default();
            return Err(Error::invalid("providers", format!("`{provider}` is out of use already: {reason}")));
        }
        let mut step = DrillStep {
            provider: provider.to_owned(),
            signatures: 0,
            made_by: Vec::new(),
            first_us: 0,
            longest_us: 0,
            came_back: false,
            fault: None,
        };
        let out_since = Instant::now();
        member.set_rests(true);
        for round in 0..ROUNDS {
            let began = Instant::now();
            let signed = self.drill_sign(row).await;
            let took = micros(began.elapsed());
            match signed {
                Ok(by) if by == provider => step.fault = Some("the provider that is out signed".to_owned()),
                Ok(by) => {
                    if !step.made_by.contains(&by) {
                        step.made_by.push(by);
                    }
                }
                Err(error) => {
                    step.fault = Some(error.to_string());
                    break;
                }
            }
            if round == 0 {
                step.first_us = micros(out_since.elapsed());
            }
            step.longest_us = step.longest_us.max(took);
            step.signatures += 1;
        }
        // Whatever happened, the provider is put back if it is fit: a drill must not be the outage.
        match self.set_in_use(provider, true).await {
            Ok(()) => {
                let ctx = self.context(TenantId::SERVER, &row.info, self.deadlines.sign);
                let handle = row.handle(provider).ok_or(Error::internal("a replica without a handle"))?;
                match self.prove(&member, &ctx, handle, &row.info.public).await {
                    Ok(()) => step.came_back = true,
                    Err(error) => step.fault = step.fault.or_else(|| Some(error.to_string())),
                }
            }
            Err(error) => {
                // It did not pass: it is out of use for that, and no longer for the drill, so that it is tried again.
                member.unfit(&error.to_string(), Instant::now());
                member.set_rests(false);
                self.pool.trouble.notify_one();
                step.fault = step.fault.or_else(|| Some(error.to_string()));
            }
        }
        Ok(step)
    }

    async fn drill_sign(&self, row: &Arc<KeyRow>) -> Result<String> {
        let digest = super::sign::challenge()?;
        let (algorithm, message) = match row.info.spec {
            KeySpec::Secp256k1 => (SignAlgorithm::EcdsaSecp256k1, Message::Digest(digest)),
            KeySpec::P256 => (SignAlgorithm::EcdsaP256, Message::Digest(digest)),
            _ => return Err(Error::internal("a drill with a key of another sort")),
        };
        let expected = match &row.info.public {
            PublicMaterial::Secp256k1 { public_key } => Expected::Curve(*public_key),
            other => Expected::Other(other),
        };
        let request = SignRequest { algorithm, path: None, message };
        let ctx = self.context(TenantId::SERVER, &row.info, self.deadlines.sign);
        let (_, member) = self.dispatch(&ctx, row, &request, &expected).await?;
        Ok(member.id().to_owned())
    }

    /// The key that these providers drill with; made when there is none.
    async fn drill_key(&self, providers: &[String]) -> Result<Arc<KeyRow>> {
        let mut sorted = providers.to_vec();
        sorted.sort();
        sorted.dedup();
        if sorted.len() != providers.len() {
            return Err(Error::invalid("providers", "one is named twice"));
        }
        let joined: String = sorted.join("+").chars().take(50).collect();
        let name = format!("drill/{joined}");
        if let Some(info) = self.find(TenantId::SERVER, &name).await? {
            let held: Vec<_> = info.replicas.iter().map(|replica| replica.provider.as_str()).collect();
            if sorted.iter().all(|provider| held.contains(&provider.as_str())) {
                return self.row(TenantId::SERVER, info.id).await;
            }
        }
        let (first, others) = sorted.split_first().ok_or(Error::internal("a drill without providers"))?;
        let mut spec = None;
        for candidate in [KeySpec::Secp256k1, KeySpec::P256] {
            let mut able = true;
            for provider in &sorted {
                able &= self.member(provider)?.provider.capabilities().specs.contains(&candidate);
            }
            if able {
                spec = Some(candidate);
                break;
            }
        }
        let spec = spec.ok_or_else(|| {
            Error::invalid("providers", "there is no sort of key that each of them can hold and sign with")
        })?;
        let new = NewKey { replicas: others.to_vec(), ..NewKey::new(name, spec, first) };
        let info = self.generate(TenantId::SERVER, new, |_, _| Ok::<_, Error>(())).await?;
        self.row(TenantId::SERVER, info.id).await
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
