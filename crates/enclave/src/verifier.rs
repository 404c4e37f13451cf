//! The one place that decides whether a signer gets a key.

use std::sync::{Arc, PoisonError, RwLock};

use anya_primitives::{Network, Timestamp};
use anya_provider::{Evidence, Residence};

use crate::{
    binding::Binding,
    dcap::{self, Collateral},
    error::Refusal,
    nitro,
    policy::{EvidenceKind, EvidencePolicy, Measurement},
    simulated,
    tcb::TcbStatus,
};

/// What everything is traced back to.
#[derive(Clone)]
pub struct Roots {
    /// The certificate of Intel's SGX root, in DER.
    pub intel: Vec<u8>,
    /// The certificate of AWS's root for Nitro Enclaves, in DER.
    pub nitro: Vec<u8>,
}

impl Roots {
    /// The vendors' own.
    pub fn vendors() -> Self {
        Self { intel: dcap::INTEL_ROOT.to_vec(), nitro: nitro::AWS_ROOT.to_vec() }
    }
}

/// Evidence that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Of which sort it was.
    pub kind: EvidenceKind,
    /// The code that runs, as the policy names it. Nothing for a simulation.
    pub measurement: Option<Measurement>,
    /// How well the processor is patched, where the evidence says so.
    pub status: Option<TcbStatus>,
    /// The advisories that apply to the platform, all of them accepted by the policy.
    pub advisories: Vec<String>,
    /// When what the evidence rests on expires, where it does.
    pub until: Option<Timestamp>,
}

impl Verified {
    /// Where keys live that such a signer holds.
    pub fn residence(&self) -> Residence {
        match self.kind {
            EvidenceKind::Sgx | EvidenceKind::Tdx | EvidenceKind::Nitro => Residence::Enclave,
            EvidenceKind::Simulated | EvidenceKind::Other => Residence::SignerProcess,
        }
    }
}

/// Checks evidence against a policy. Clones share the collateral.
#[derive(Clone)]
pub struct Verifier {
    policy: EvidencePolicy,
    collateral: Arc<RwLock<Vec<Collateral>>>,
    roots: Roots,
}

impl Verifier {
    /// A verifier that trusts the vendors' roots.
    pub fn new(policy: EvidencePolicy) -> Self {
        Self::rooted(policy, Roots::vendors())
    }

    fn rooted(mut policy: EvidencePolicy, roots: Roots) -> Self {
        let collateral = Arc::new(RwLock::new(std::mem::take(&mut policy.collateral)));
        Self { policy, collateral, roots }
    }

    /// A verifier for a test bench, which has a certificate authority of its own.
    ///
    /// # Errors
    /// [`Refusal::ForeignRoots`] on mainnet.
    pub fn with_roots(policy: EvidencePolicy, roots: Roots) -> Result<Self, Refusal> {
        match policy.network {
            Network::Mainnet => Err(Refusal::ForeignRoots),
            _ => Ok(Self::rooted(policy, roots)),
        }
    }

    /// Puts newer collateral in the place of what there is, for every clone of this verifier: it expires every month.
    pub fn renew_collateral(&self, newer: Vec<Collateral>) {
        *self.collateral.write().unwrap_or_else(PoisonError::into_inner) = newer;
    }

    /// Where keys live whose signer satisfies the policy. One that allows simulations guarantees no more than a process.
    pub fn residence(&self) -> Residence {
        if self.policy.allow_simulated { Residence::SignerProcess } else { Residence::Enclave }
    }

    /// Verifies `evidence` at the time `now`. It has to be bound to `binding`.
    pub fn verify(
        &self,
        evidence: &Evidence,
        binding: &Binding,
        now: Timestamp,
    ) -> Result<Verified, Refusal> {
        match evidence {
            Evidence::Dcap { quote } => self.dcap(&quote.0, binding, now),
            Evidence::Simulated { statement } => self.simulated(&statement.0, binding),
            Evidence::Nitro { document } => self.nitro(&document.0, binding, now),
            _ => Err(Refusal::Kind(EvidenceKind::Other)),
        }
    }

    fn dcap(&self, quote: &[u8], binding: &Binding, now: Timestamp) -> Result<Verified, Refusal> {
        if ![EvidenceKind::Sgx, EvidenceKind::Tdx].into_iter().any(|kind| self.policy.names(kind)) {
            return Err(Refusal::Kind(dcap::kind_of(quote)));
        }
        let collateral = self.collateral.read().unwrap_or_else(PoisonError::into_inner).clone();
        let quoted = dcap::verify(quote, &collateral, &self.roots.intel, now)?;
        let measurement = self.measured(&quoted.measurements)?;
        self.policy.tcb.check(quoted.status, &quoted.advisories, quoted.evaluation)?;
        if quoted.report_data != binding.report_data() {
            return Err(Refusal::Binding);
        }
        Ok(Verified {
            kind: measurement.kind(),
            measurement: Some(measurement),
            status: Some(quoted.status),
            advisories: quoted.advisories,
            until: Some(quoted.until),
        })
    }

    /// A document has room for the nonce itself; the channel and the key are in its user data.
    fn nitro(&self, document: &[u8], binding: &Binding, now: Timestamp) -> Result<Verified, Refusal> {
        if !self.policy.names(EvidenceKind::Nitro) {
            return Err(Refusal::Kind(EvidenceKind::Nitro));
        }
        let document = nitro::verify(document, &self.roots.nitro, now)?;
        let measurement = self.measured(std::slice::from_ref(&document.measurement))?;
        let bound = document.user_data.as_deref() == Some(&binding.digest()[..])
            && document.nonce.as_deref() == Some(&binding.nonce[..]);
        if !bound {
            return Err(Refusal::Binding);
        }
        Ok(Verified {
            kind: EvidenceKind::Nitro,
            measurement: Some(measurement),
            status: None,
            advisories: Vec::new(),
            until: Some(document.until),
        })
    }

    fn simulated(&self, statement: &[u8], binding: &Binding) -> Result<Verified, Refusal> {
        if !self.policy.allow_simulated {
            return Err(Refusal::Simulated);
        }
        if self.policy.network == Network::Mainnet && !self.policy.allow_simulated_on_mainnet {
            return Err(Refusal::SimulatedOnMainnet);
        }
        if simulated::read(statement)? != binding.digest() {
            return Err(Refusal::Binding);
        }
        Ok(Verified {
            kind: EvidenceKind::Simulated,
            measurement: None,
            status: None,
            advisories: Vec::new(),
            until: None,
        })
    }

    /// The measurement of the policy that what was found satisfies.
    fn measured(&self, found: &[Measurement]) -> Result<Measurement, Refusal> {
        let named =
            self.policy.measurements.iter().find(|named| found.iter().any(|found| named.admits(found)));
        match (named, found.first()) {
            (Some(named), _) => Ok(named.clone()),
            (None, Some(first)) => Err(Refusal::Measurement(Box::new(first.clone()))),
            (None, None) => Err(Refusal::malformed("evidence", "it measures nothing")),
        }
    }
}
