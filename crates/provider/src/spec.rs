//! Sorts of keys, and what each may be asked to do.

use std::{fmt, str::FromStr};

use bitcoin::taproot::TapNodeHash;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The sort of a key. Its text form is what the ledger, the API and the sealed blobs' authenticated data hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeySpec {
    /// One secp256k1 key (SEC 2): Bitcoin's curve.
    Secp256k1,
    /// The root of a tree of secp256k1 keys (BIP32).
    #[serde(rename = "bip32")]
    Bip32Seed,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// NIST P-256 (FIPS 186-5).
    P256,
    /// RSA with a modulus of 3072 bits (RFC 8017).
    Rsa3072,
    /// AES with 256-bit keys, used in Galois/counter mode (SP 800-38D).
    Aes256,
}

impl KeySpec {
    /// Every sort.
    pub const ALL: [Self; 6] =
        [Self::Secp256k1, Self::Bip32Seed, Self::Ed25519, Self::P256, Self::Rsa3072, Self::Aes256];

    /// The name in configuration, API and ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secp256k1 => "secp256k1",
            Self::Bip32Seed => "bip32",
            Self::Ed25519 => "ed25519",
            Self::P256 => "p256",
            Self::Rsa3072 => "rsa3072",
            Self::Aes256 => "aes256",
        }
    }

    /// Whether keys of this sort may be used with `algorithm`.
    pub fn allows(self, algorithm: Algorithm) -> bool {
        match self {
            Self::Secp256k1 | Self::Bip32Seed => {
                matches!(algorithm, Algorithm::EcdsaSecp256k1 | Algorithm::SchnorrSecp256k1)
            }
            Self::Ed25519 => algorithm == Algorithm::Ed25519,
            Self::P256 => algorithm == Algorithm::EcdsaP256,
            Self::Rsa3072 => algorithm == Algorithm::RsaPssSha256,
            Self::Aes256 => algorithm == Algorithm::Aes256Gcm,
        }
    }
}

impl fmt::Display for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeySpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|spec| spec.name() == text).ok_or_else(|| {
            Error::invalid("spec", "use one of secp256k1, bip32, ed25519, p256, rsa3072, aes256")
        })
    }
}

/// What a provider can compute, as its capabilities declare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// ECDSA over secp256k1 on a 32-byte digest.
    #[serde(rename = "ecdsa-secp256k1")]
    EcdsaSecp256k1,
    /// Schnorr over secp256k1 (BIP340), with the key-path tweak of BIP341 where asked.
    #[serde(rename = "schnorr-secp256k1")]
    SchnorrSecp256k1,
    /// Ed25519, pure (RFC 8032).
    #[serde(rename = "ed25519")]
    Ed25519,
    /// ECDSA over P-256 with SHA-256.
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// RSASSA-PSS with SHA-256 and a salt of 32 bytes.
    #[serde(rename = "rsa-pss-sha256")]
    RsaPssSha256,
    /// AES-256-GCM, to encrypt and decrypt.
    #[serde(rename = "aes256-gcm")]
    Aes256Gcm,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 6] = [
        Self::EcdsaSecp256k1,
        Self::SchnorrSecp256k1,
        Self::Ed25519,
        Self::EcdsaP256,
        Self::RsaPssSha256,
        Self::Aes256Gcm,
    ];

    /// The name in configuration, API and ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::EcdsaSecp256k1 => "ecdsa-secp256k1",
            Self::SchnorrSecp256k1 => "schnorr-secp256k1",
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::RsaPssSha256 => "rsa-pss-sha256",
            Self::Aes256Gcm => "aes256-gcm",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The key-path tweak of a taproot output (BIP341).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapTweak {
    /// The root of the script tree; `None` for an output without scripts (BIP86).
    pub merkle_root: Option<TapNodeHash>,
}

/// How to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignAlgorithm {
    /// ECDSA over secp256k1 on a 32-byte digest; the signature is 64 bytes, low-S (BIP62 rule 5).
    EcdsaSecp256k1,
    /// Schnorr over secp256k1 (BIP340) on a 32-byte message.
    SchnorrSecp256k1 {
        /// Sign for the tweaked output key instead of the internal key.
        tweak: Option<TapTweak>,
    },
    /// Ed25519 on the message itself.
    Ed25519,
    /// ECDSA over P-256 on the SHA-256 of the message, or on a digest that is one; 64 bytes `r || s`.
    EcdsaP256,
    /// RSASSA-PSS, SHA-256, on the message itself.
    RsaPssSha256,
}

impl SignAlgorithm {
    /// The algorithm without its parameters.
    pub fn algorithm(self) -> Algorithm {
        match self {
            Self::EcdsaSecp256k1 => Algorithm::EcdsaSecp256k1,
            Self::SchnorrSecp256k1 { .. } => Algorithm::SchnorrSecp256k1,
            Self::Ed25519 => Algorithm::Ed25519,
            Self::EcdsaP256 => Algorithm::EcdsaP256,
            Self::RsaPssSha256 => Algorithm::RsaPssSha256,
        }
    }
}
