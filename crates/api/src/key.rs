//! Keys on the wire. Private parts never are.

use anya_primitives::{KeyId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::canonical::Digest;

/// The most providers beside the first that hold one key.
pub const MAX_OTHERS: usize = 7;

/// The longest text that a provider's name can be.
pub const MAX_PROVIDER: usize = 64;

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// An HD root for wallets (BIP32 over secp256k1, from a BIP39 seed).
    Bip32Seed,
    /// One secp256k1 key (ECDSA, BIP340).
    Secp256k1,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// NIST P-256 (ECDSA).
    P256,
    /// RSA of 3072 bits (PSS).
    Rsa3072,
    /// AES-256 for GCM.
    Aes256,
}

/// Where a key stands in its life (NIST SP 800-57 part 1, revision 5, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Made, and not yet to be used.
    PreActivation,
    /// May be used.
    Active,
    /// May not be used until it is made active again.
    Suspended,
    /// Its time is over: it protects nothing new, and still decrypts what it protected.
    Deactivated,
    /// Someone else may have its private part: it does nothing any more.
    Compromised,
    /// Gone for good.
    Destroyed,
}

/// What a key can compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum KeyAlgorithm {
    /// ECDSA over secp256k1 on a digest of 32 bytes; 64 bytes `r || s`, low-S.
    #[serde(rename = "ecdsa-secp256k1")]
    EcdsaSecp256k1,
    /// Schnorr over secp256k1 (BIP340) on 32 bytes.
    #[serde(rename = "schnorr-secp256k1")]
    SchnorrSecp256k1,
    /// Ed25519, pure (RFC 8032), on the message.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// ECDSA over P-256 with SHA-256, on the message or its digest; 64 bytes `r || s`.
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// RSASSA-PSS with SHA-256 and a salt of 32 bytes, on the message.
    #[serde(rename = "rsa-pss-sha256")]
    RsaPssSha256,
    /// AES-256-GCM, to encrypt and decrypt.
    #[serde(rename = "aes256-gcm")]
    Aes256Gcm,
}

impl KeyAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 6] = [
        Self::EcdsaSecp256k1,
        Self::SchnorrSecp256k1,
        Self::Ed25519,
        Self::EcdsaP256,
        Self::RsaPssSha256,
        Self::Aes256Gcm,
    ];

    /// The name on the wire.
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

/// A place where the private part of a key can exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Residence {
    /// Sealed at rest; in the clear in the server's memory while it is made or used.
    ServerMemory,
    /// An object of the device, which its private part never leaves.
    Device,
    /// At rest outside the device, wrapped under a key that never leaves it; in the clear only inside it.
    DeviceWrapped,
    /// A seed, sealed under a key that never leaves the device; in the clear in the locked memory of the device's worker
    /// process while it is used.
    WorkerMemory,
    /// Sealed at rest; in the clear in the memory of a signer process whose isolation nothing proves.
    SignerProcess,
    /// Sealed at rest; in the clear only in the memory of an enclave that was attested before it got the key.
    Enclave,
}

impl Residence {
    /// Every place.
    pub const ALL: [Self; 6] = [
        Self::ServerMemory,
        Self::Device,
        Self::DeviceWrapped,
        Self::WorkerMemory,
        Self::SignerProcess,
        Self::Enclave,
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::ServerMemory => "server-memory",
            Self::Device => "device",
            Self::DeviceWrapped => "device-wrapped",
            Self::WorkerMemory => "worker-memory",
            Self::SignerProcess => "signer-process",
            Self::Enclave => "enclave",
        }
    }
}

/// How the keys of a BIP32 tree are derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HdMode {
    /// Not at all.
    None,
    /// The seed is sealed at rest and opened in locked memory while deriving.
    Sealed,
    /// The device derives by itself; the seed never leaves it.
    InDevice,
}

/// How often a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UseLimit {
    /// Uses in a window. An operation counts once, however many signatures it needs.
    #[schema(minimum = 1)]
    pub uses: u32,
    /// The window's length in seconds, up to 366 days. Windows follow each other from the Unix epoch.
    #[schema(minimum = 1, maximum = 31_622_400)]
    pub seconds: u32,
}

/// The rules of one key, which hold whoever asks. They can be made narrower later, never wider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyUsage {
    /// The algorithms it may be used with; without it, all of its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 6)]
    pub algorithms: Option<Vec<KeyAlgorithm>>,
    /// Whether a caller with the scope `keys:use` may have it sign without an approval. Such a key cannot be a wallet's.
    #[serde(default)]
    pub direct: bool,
    /// How often it may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<UseLimit>,
}

/// Asks for a new key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// A name, unique in the tenant.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// What it is.
    pub kind: KeyKind,
    /// The provider that makes it; without it, the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub provider: Option<String>,
    /// Where it shall live there; without it, where the provider prefers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residence: Option<Residence>,
    /// The other providers that shall hold it too. It exists only once each of them has signed with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 7)]
    pub replicas: Vec<String>,
    /// Whether it may be given to further providers later; what is made without it never leaves. A key with replicas may
    /// always.
    #[serde(default)]
    pub transferable: bool,
    /// Its rules; without them, it signs for approved operations alone.
    #[serde(default)]
    pub usage: KeyUsage,
    /// When it becomes active; at once without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activates_at: Option<Timestamp>,
    /// When its cryptoperiod ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deactivates_at: Option<Timestamp>,
    /// How long after its activation another key follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 60, maximum = 3_153_600_000_u32)]
    pub rotate_after_seconds: Option<u32>,
}

impl NewKey {
    /// A key of the default provider's that never leaves it, for approved operations alone, without dates.
    pub fn new(name: impl Into<String>, kind: KeyKind) -> Self {
        Self {
            name: name.into(),
            kind,
            provider: None,
            residence: None,
            replicas: Vec::new(),
            transferable: false,
            usage: KeyUsage::default(),
            activates_at: None,
            deactivates_at: None,
            rotate_after_seconds: None,
        }
    }
}

/// One provider's share in a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyReplica {
    /// The provider.
    pub provider: String,
    /// Where the private part can exist there.
    pub residence: Residence,
    /// The same in words for an auditor.
    pub custody: String,
    /// When it last signed a challenge with this key.
    pub proved_at: Timestamp,
    /// When it was erased there; absent while it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased_at: Option<Timestamp>,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: KeyKind,
    /// Where it stands.
    pub state: KeyState,
    /// The provider that made it.
    pub provider: String,
    /// Public part in hexadecimal: a compressed secp256k1 point, an Ed25519 key, an uncompressed P-256 point (SEC 1), an
    /// `RSAPublicKey` in DER (RFC 8017); absent for HD roots and AES.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// BIP32 fingerprint of an HD root, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Where the private part can ever exist at the provider that made it.
    pub custody: String,
    /// Who holds it, in the order in which they got it.
    pub replicas: Vec<KeyReplica>,
    /// Whether it outlives the loss of one provider.
    pub replicated: bool,
    /// Whether it may be given to further providers.
    pub transferable: bool,
    /// Its rules.
    pub usage: KeyUsage,
    /// What it can be asked to compute here: its rules allow it, and a provider that holds it is able to.
    pub algorithms: Vec<KeyAlgorithm>,
    /// How the tree of an HD root is derived; absent for others, and while its provider is not configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hd: Option<HdMode>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its record changed last.
    pub updated_at: Timestamp,
    /// When it becomes or became active, where that was not at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activates_at: Option<Timestamp>,
    /// When its cryptoperiod ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deactivates_at: Option<Timestamp>,
    /// How long after its activation another key follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_after_seconds: Option<u32>,
    /// When it became known or feared that someone else has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compromised_at: Option<Timestamp>,
    /// When its destruction was ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroyed_at: Option<Timestamp>,
    /// The key that it followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<KeyId>,
    /// The key that follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<KeyId>,
}

/// Moves a key to another state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyStateChange {
    /// The new state.
    pub state: KeyState,
}

/// When a key's life changes by itself. What is left out is not set any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyDates {
    /// When it becomes active. It cannot change once the key is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activates_at: Option<Timestamp>,
    /// When its cryptoperiod ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deactivates_at: Option<Timestamp>,
    /// How long after its activation another key follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 60, maximum = 3_153_600_000_u32)]
    pub rotate_after_seconds: Option<u32>,
}

/// The longest time after which a key is followed by another, in seconds: a hundred years.
pub const MAX_ROTATE_AFTER: u32 = 3_153_600_000;

/// Gives a key to one more provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewReplica {
    /// The provider that shall hold it too.
    #[schema(min_length = 1, max_length = 64)]
    pub provider: String,
}

/// Who showed that he can use a key, and who did not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyProof {
    /// The key, with the dates of the proofs.
    pub key: Key,
    /// The providers that did not sign the challenge.
    pub failures: Vec<ProofFailure>,
}

/// A provider that did not sign a challenge with a key that it should hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProofFailure {
    /// The provider.
    pub provider: String,
    /// Why.
    pub reason: String,
}

/// What is known of a key's destruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyDestruction {
    /// Which key.
    pub key: KeyId,
    /// When it was ordered.
    pub ordered_at: Timestamp,
    /// Whether every share has been erased.
    pub complete: bool,
    /// Share by share.
    pub shares: Vec<ErasedShare>,
}

/// How one provider's share of a destroyed key went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErasedShare {
    /// The provider.
    pub provider: String,
    /// When; absent while the provider could not be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased_at: Option<Timestamp>,
    /// What was done, and what may be left, in words for an auditor.
    pub statement: String,
}

/// Asks a provider for its evidence of where a key lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttestationRequest {
    /// Which of the key's providers; without it, the one that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub provider: Option<String>,
    /// 32 bytes of your choice, new for each request, which the evidence binds where its form can.
    pub nonce: Digest,
}

/// A provider's evidence of where a key lives, as it gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyAttestation {
    /// Which key.
    pub key: KeyId,
    /// Who gave the evidence.
    pub provider: String,
    /// The nonce that it was asked with.
    pub nonce: Digest,
    /// Whether the server verified it: never. Verify it against roots of trust that you got elsewhere.
    pub verified: bool,
    /// What that means.
    pub note: String,
    /// The evidence.
    pub evidence: KeyEvidence,
}

/// The forms of evidence. Bytes are in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum KeyEvidence {
    /// What the device says of the key; nothing signs it.
    Claims {
        /// Attribute and value, by their PKCS#11 names.
        claims: std::collections::BTreeMap<String, String>,
    },
    /// X.509 certificates in DER: the one for the key first, then those that lead to the vendor's root.
    Certificate {
        /// The chain.
        chain: Vec<String>,
    },
    /// A quote of Intel SGX or TDX (DCAP).
    Dcap {
        /// The quote.
        quote: String,
    },
    /// An attestation document of AWS Nitro Enclaves (COSE_Sign1).
    Nitro {
        /// The document.
        document: String,
    },
    /// Made by a simulation of an enclave: it proves nothing.
    Simulated {
        /// The statement of the simulation.
        statement: String,
    },
}

/// Asks for a signature that needs no approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureRequest {
    /// How to sign; `aes256-gcm` does not sign.
    pub algorithm: KeyAlgorithm,
    /// The digest to sign, for algorithms that sign one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The message to sign in base64, at most 1 MiB, for algorithms that sign it themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1_398_104)]
    pub message: Option<String>,
    /// Which key of the tree signs, from the root, such as `m/86'/0'/0'/0/0`; for HD roots, and for no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    pub path: Option<String>,
    /// Sign for the tweaked output key of BIP341 instead of the key itself; for `schnorr-secp256k1` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taproot: Option<TaprootTweak>,
}

/// The most characters of a derivation path.
pub const MAX_PATH: usize = 256;

/// The most characters of a message in base64: 1 MiB.
pub const MAX_MESSAGE_TEXT: usize = 1_398_104;

/// The key-path tweak of a taproot output (BIP341).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaprootTweak {
    /// The root of the script tree; without it, an output without scripts (BIP86).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merkle_root: Option<Digest>,
}

/// A signature. It was verified, and is in the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeySignature {
    /// The signature in hexadecimal, in its form of fixed length, never DER.
    pub signature: String,
    /// How it was made.
    pub algorithm: KeyAlgorithm,
    /// Who made it.
    pub provider: String,
    /// With which key.
    pub key: KeyId,
    /// The entry of the tenant's audit log that tells of it.
    pub audit_seq: u64,
}
