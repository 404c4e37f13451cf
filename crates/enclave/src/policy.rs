//! Which signers get a key.

use std::fmt;

use anya_primitives::Network;
use serde::{Deserialize, Serialize};

use crate::{dcap::Collateral, tcb::TcbPolicy};

/// The sorts of evidence that can be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum EvidenceKind {
    /// A quote of an SGX enclave.
    Sgx,
    /// A quote of a TDX trust domain.
    Tdx,
    /// A document of an AWS Nitro enclave.
    Nitro,
    /// A simulation.
    Simulated,
    /// A sort of evidence that no signer shows.
    Other,
}

impl EvidenceKind {
    /// The name in configuration and API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sgx => "sgx",
            Self::Tdx => "tdx",
            Self::Nitro => "nitro",
            Self::Simulated => "simulated",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for EvidenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What code runs in an enclave: as a policy names it, or as evidence shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Measurement {
    /// One build of an SGX enclave.
    Sgx {
        /// MRENCLAVE: the hash of the enclave as it was loaded.
        #[serde(with = "hex")]
        mr_enclave: [u8; 32],
    },
    /// Any SGX enclave of one maker's product, from one security version on.
    SgxSigner {
        /// MRSIGNER: the hash of the maker's key.
        #[serde(with = "hex")]
        mr_signer: [u8; 32],
        /// ISVPRODID.
        isv_prod_id: u16,
        /// The least ISVSVN that is accepted.
        min_isv_svn: u16,
    },
    /// A TDX trust domain: its firmware, and what that started.
    Tdx {
        /// MRTD: the hash of the domain as it was built.
        #[serde(with = "hex")]
        mr_td: [u8; 48],
        /// RTMR0: the virtual hardware.
        #[serde(with = "hex")]
        rtmr0: [u8; 48],
        /// RTMR1: the kernel.
        #[serde(with = "hex")]
        rtmr1: [u8; 48],
        /// RTMR2: command line, initial file system and the applications in it.
        #[serde(with = "hex")]
        rtmr2: [u8; 48],
        /// RTMR3: what the applications extend; zeros when they do not.
        #[serde(with = "hex")]
        rtmr3: [u8; 48],
    },
    /// An AWS Nitro enclave image.
    Nitro {
        /// PCR0: the image.
        #[serde(with = "hex")]
        pcr0: [u8; 48],
        /// PCR1: kernel and boot file system.
        #[serde(with = "hex")]
        pcr1: [u8; 48],
        /// PCR2: the application.
        #[serde(with = "hex")]
        pcr2: [u8; 48],
    },
}

impl Measurement {
    /// Of what sort of enclave.
    pub fn kind(&self) -> EvidenceKind {
        match self {
            Self::Sgx { .. } | Self::SgxSigner { .. } => EvidenceKind::Sgx,
            Self::Tdx { .. } => EvidenceKind::Tdx,
            Self::Nitro { .. } => EvidenceKind::Nitro,
        }
    }

    /// Whether a policy that names this accepts what was `found`.
    pub(crate) fn admits(&self, found: &Self) -> bool {
        match (self, found) {
            (
                Self::SgxSigner { mr_signer, isv_prod_id, min_isv_svn },
                Self::SgxSigner { mr_signer: maker, isv_prod_id: product, min_isv_svn: svn },
            ) => mr_signer == maker && isv_prod_id == product && svn >= min_isv_svn,
            _ => self == found,
        }
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sgx { mr_enclave } => write!(f, "MRENCLAVE {}", hex::encode(mr_enclave)),
            Self::SgxSigner { mr_signer, isv_prod_id, min_isv_svn } => {
                write!(f, "MRSIGNER {} ISVPRODID {isv_prod_id} ISVSVN {min_isv_svn}", hex::encode(mr_signer))
            }
            Self::Tdx { mr_td, rtmr0, rtmr1, rtmr2, rtmr3 } => {
                write!(f, "MRTD {}", hex::encode(mr_td))?;
                for (index, register) in [rtmr0, rtmr1, rtmr2, rtmr3].into_iter().enumerate() {
                    write!(f, " RTMR{index} {}", hex::encode(register))?;
                }
                Ok(())
            }
            Self::Nitro { pcr0, pcr1, pcr2 } => {
                let [pcr0, pcr1, pcr2] = [pcr0, pcr1, pcr2].map(hex::encode);
                write!(f, "PCR0 {pcr0} PCR1 {pcr1} PCR2 {pcr2}")
            }
        }
    }
}

/// What evidence has to show before a key is released. The kinds of evidence that are accepted are those for which a
/// measurement is named; debug mode and revoked platforms are refused whatever the policy says.
#[derive(Clone, Debug)]
pub struct EvidencePolicy {
    /// What the keys are for: mainnet is stricter.
    pub network: Network,
    /// The code that may hold keys.
    pub measurements: Vec<Measurement>,
    /// How well the processor has to be patched. For SGX and TDX.
    pub tcb: TcbPolicy,
    /// What Intel says of the processors in use. For SGX and TDX.
    pub collateral: Vec<Collateral>,
    /// Whether a signer that proves nothing gets keys.
    pub allow_simulated: bool,
    /// Whether it gets them on mainnet as well.
    pub allow_simulated_on_mainnet: bool,
}

impl EvidencePolicy {
    /// A policy that accepts nothing yet.
    pub fn new(network: Network) -> Self {
        Self {
            network,
            measurements: Vec::new(),
            tcb: TcbPolicy::default(),
            collateral: Vec::new(),
            allow_simulated: false,
            allow_simulated_on_mainnet: false,
        }
    }

    pub(crate) fn names(&self, kind: EvidenceKind) -> bool {
        self.measurements.iter().any(|measurement| measurement.kind() == kind)
    }
}
