//! How a key comes from one provider into another without being in the clear between them.
//!
//! The target makes an offer: a public key, or the name of a wrapping key that both devices hold. The source wraps the
//! key for it. The target unwraps. Whoever carries the bytes learns nothing; whoever alters them is found out, because
//! the keyring has the replica sign under the public key it already knows.

use serde::{Deserialize, Serialize};

/// The form of a wrapped key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TransferScheme {
    /// `CKM_RSA_AES_KEY_WRAP` (PKCS#11 v3.0, 2.1.22): an AES-256 key under RSA-OAEP (SHA-1, MGF1 with SHA-1, no
    /// label) for the target's RSA key of 3072 bits, then the key under AES key wrap with padding (RFC 5649).
    ///
    /// What is wrapped is PKCS#8 `PrivateKeyInfo` in DER for secp256k1 (SEC 1 `ECPrivateKey` inside), P-256, Ed25519
    /// and RSA keys, the seed's bytes for BIP32 roots, the key's bytes for AES keys. The offer's
    /// [`public`](TransferOffer::public) is the RSA key as `SubjectPublicKeyInfo` in DER.
    RsaAesKeyWrap,
    /// `EXPORT WRAPPED` and `IMPORT WRAPPED` of YubiHSM2 (AES-CCM) under a wrap key that both devices hold. The offer's
    /// [`public`](TransferOffer::public) is the wrap key's object id, two bytes, big-endian.
    YubihsmWrap,
}

/// A target's invitation to send it one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferOffer {
    /// In which form.
    pub scheme: TransferScheme,
    /// What the source needs to wrap for this target; its form depends on the scheme.
    pub public: Vec<u8>,
    /// What the target needs to unwrap; it holds no secret in the clear, and only the target understands it. An offer
    /// is good for one transfer.
    pub ticket: Vec<u8>,
}

/// A key on its way.
#[derive(Clone, PartialEq, Eq)]
pub struct Transfer {
    /// In which form.
    pub scheme: TransferScheme,
    /// The wrapped key.
    pub wrapped: Vec<u8>,
}
