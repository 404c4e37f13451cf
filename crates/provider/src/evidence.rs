//! What a provider shows to prove where a key lives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Evidence as the provider gives it. It proves nothing until it is verified against roots of trust that come from
/// elsewhere, and [`Evidence::Claims`] and [`Evidence::Simulated`] never do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Evidence {
    /// What the device says of the key, signed by nothing: devices exist that call an imported key one that never left
    /// them.
    Claims {
        /// Attribute and value, by their PKCS#11 names.
        claims: BTreeMap<String, String>,
    },
    /// X.509 certificates in DER: first the one for the key, then those that lead to the vendor's root.
    Certificate {
        /// The chain.
        chain: Vec<HexBytes>,
    },
    /// A quote of Intel SGX or TDX (DCAP), whose report data binds the signer's channel key, the nonce and the key.
    Dcap {
        /// The quote.
        quote: HexBytes,
    },
    /// An attestation document of AWS Nitro Enclaves (COSE_Sign1).
    Nitro {
        /// The document.
        document: HexBytes,
    },
    /// Made by a simulation of an enclave. Of a type of its own so that nothing can take it for the real thing.
    Simulated {
        /// The statement of the simulation.
        statement: HexBytes,
    },
}

/// Bytes that are written as hexadecimal text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HexBytes(#[serde(with = "hex")] pub Vec<u8>);

impl Evidence {
    /// Whether it comes from a simulation.
    pub fn is_simulated(&self) -> bool {
        matches!(self, Self::Simulated { .. })
    }
}
