//! Keys on the wire. Private parts never are.

use anya_primitives::{KeyId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
    /// The provider that holds it.
    pub provider: String,
    /// Public part in hexadecimal: a compressed secp256k1 point, an Ed25519 key, an uncompressed P-256 point (SEC 1), an
    /// `RSAPublicKey` in DER (RFC 8017); absent for HD roots and AES.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// BIP32 fingerprint of an HD root, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Where the private part can ever exist.
    pub custody: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Moves a key to another state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyStateChange {
    /// The new state.
    pub state: KeyState,
}
