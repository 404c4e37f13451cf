//! What goes in and out of a key: imports, requests, public parts, signatures.

use bitcoin::{
    bip32::{DerivationPath, Fingerprint, Xpub},
    secp256k1::{PublicKey, ecdsa, schnorr},
};
use secrecy::{SecretSlice, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    spec::{KeySpec, SignAlgorithm},
};

/// The longest message or plaintext that a key takes, in bytes.
pub const MAX_MESSAGE: usize = 1 << 20;

/// The public part of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum PublicMaterial {
    /// A point on secp256k1.
    Secp256k1 {
        /// The point, compressed (33 bytes).
        #[serde(with = "point")]
        public_key: PublicKey,
    },
    /// The root of a BIP32 tree.
    Bip32 {
        /// The first four bytes of the root public key's HASH160, as descriptors name a master key.
        fingerprint: Fingerprint,
        /// The root's extended public key, written with the mainnet prefix.
        xpub: Xpub,
    },
    /// An Ed25519 public key (32 bytes).
    Ed25519 {
        /// The encoded point.
        #[serde(with = "hex")]
        public_key: [u8; 32],
    },
    /// A point on P-256.
    P256 {
        /// The point, uncompressed (65 bytes, SEC 1).
        #[serde(with = "hex")]
        public_key: [u8; 65],
    },
    /// An RSA public key.
    Rsa3072 {
        /// `RSAPublicKey` in DER (RFC 8017, A.1.1).
        #[serde(with = "hex")]
        public_key: Vec<u8>,
    },
    /// A symmetric key has no public part.
    Aes256,
}

impl PublicMaterial {
    /// The sort of key that has this public part.
    pub fn spec(&self) -> KeySpec {
        match self {
            Self::Secp256k1 { .. } => KeySpec::Secp256k1,
            Self::Bip32 { .. } => KeySpec::Bip32Seed,
            Self::Ed25519 { .. } => KeySpec::Ed25519,
            Self::P256 { .. } => KeySpec::P256,
            Self::Rsa3072 { .. } => KeySpec::Rsa3072,
            Self::Aes256 => KeySpec::Aes256,
        }
    }
}

mod point {
    use bitcoin::secp256k1::PublicKey;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(point: &PublicKey, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(point.serialize()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| D::Error::custom("public_key is not a point on secp256k1"))
    }
}

/// A secret that comes from outside.
///
/// Its bytes are copied only on the provider's own threads; both forms wipe themselves when dropped.
pub enum ImportMaterial {
    /// A BIP39 phrase of English words, for a BIP32 root.
    Mnemonic {
        /// 12, 15, 18, 21 or 24 words.
        phrase: SecretString,
        /// The optional BIP39 passphrase ("25th word"). Another passphrase gives another, equally valid key.
        passphrase: Option<SecretString>,
    },
    /// The secret itself. secp256k1, P-256: a 32-byte big-endian scalar. BIP32: a seed of 16 to 64 bytes.
    /// Ed25519: the 32-byte seed of RFC 8032. RSA: PKCS#8 in DER. AES: 32 bytes.
    Secret(SecretSlice<u8>),
}

impl ImportMaterial {
    /// The same secret once more, for a second provider.
    pub fn duplicate(&self) -> Self {
        match self {
            Self::Mnemonic { phrase, passphrase } => {
                Self::Mnemonic { phrase: phrase.clone(), passphrase: passphrase.clone() }
            }
            Self::Secret(secret) => Self::Secret(secret.clone()),
        }
    }
}

/// What is to be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A digest that the caller made, such as a sighash.
    Digest([u8; 32]),
    /// The message itself, at most [`MAX_MESSAGE`] bytes.
    Bytes(&'a [u8]),
}

impl Message<'_> {
    /// A digest of exactly 32 bytes.
    ///
    /// # Errors
    /// Any other length is refused: devices exist that sign shorter and longer digests as if they were good.
    pub fn digest(bytes: &[u8]) -> Result<Self> {
        bytes
            .try_into()
            .map(Self::Digest)
            .map_err(|_| Error::invalid("digest", format!("32 bytes are needed, {} were given", bytes.len())))
    }
}

/// One thing to sign, and how.
#[derive(Clone, Debug)]
pub struct SignRequest<'a> {
    /// How to sign.
    pub algorithm: SignAlgorithm,
    /// Which key of the tree signs, from the root. Given for BIP32 keys, and for no others.
    pub path: Option<DerivationPath>,
    /// What is signed.
    pub message: Message<'a>,
}

/// A signature as a provider gives it, not yet believed.
///
/// secp256k1 and P-256 ECDSA: `r || s`, 64 bytes. Schnorr, Ed25519: 64 bytes. RSA-PSS: 384 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureBytes(pub Vec<u8>);

/// A signature that was verified against the expected public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// ECDSA over secp256k1, low-S.
    EcdsaSecp256k1(ecdsa::Signature),
    /// BIP340.
    SchnorrSecp256k1(schnorr::Signature),
    /// Ed25519.
    Ed25519([u8; 64]),
    /// ECDSA over P-256, `r || s`.
    EcdsaP256([u8; 64]),
    /// RSASSA-PSS with SHA-256.
    RsaPssSha256(Vec<u8>),
}

impl Signature {
    /// The signature's bytes: fixed-length forms, never DER.
    pub fn to_vec(&self) -> Vec<u8> {
        match self {
            Self::EcdsaSecp256k1(signature) => signature.serialize_compact().to_vec(),
            Self::SchnorrSecp256k1(signature) => signature.serialize().to_vec(),
            Self::Ed25519(bytes) | Self::EcdsaP256(bytes) => bytes.to_vec(),
            Self::RsaPssSha256(bytes) => bytes.clone(),
        }
    }
}
