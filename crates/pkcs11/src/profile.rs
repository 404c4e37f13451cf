//! What differs from one vendor's device to the next, as data.
//!
//! A profile says what a product can do and in which form it wants to be asked. What it lists is intersected with the
//! mechanisms that the token really offers ([`crate::plan::Plan`]); of a list of ways the first that is offered is
//! taken.

use std::{collections::BTreeMap, time::Duration};

use anya_provider::{Error, KeySpec, Objective, Result};
use serde::{Deserialize, Serialize};

/// The profiles that come with Anya, by name.
const EMBEDDED: [(&str, &str); 5] = [
    ("softhsm2", include_str!("../profiles/softhsm2.toml")),
    ("yubihsm2", include_str!("../profiles/yubihsm2.toml")),
    ("cloudhsm", include_str!("../profiles/cloudhsm.toml")),
    ("luna", include_str!("../profiles/luna.toml")),
    ("generic", include_str!("../profiles/generic.toml")),
];

/// How a vendor's device wants to be spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name in the configuration.
    pub name: String,
    /// The product's name.
    pub product: String,
    /// Whether several processes can be logged in at once without standing in each other's way.
    pub shared: bool,
    /// Whether sessions are opened to read and write.
    pub read_write: bool,
    /// Whether objects can be made that end with their session.
    pub session_objects: bool,
    /// Whether the token takes a `CKA_ID` of ours; otherwise it gives one.
    pub chosen_ids: bool,
    /// Which object of a pair carries `CKA_EC_POINT`.
    pub public_point: PointOn,
    /// How many wrapped keys a session keeps loaded.
    pub loaded_keys: u32,
    /// Who makes the nonce of AES-GCM.
    pub gcm_nonce: NonceFrom,
    /// Sorts of keys to make for HMAC-SHA256; the first that the device makes is taken.
    pub hmac_keys: Vec<HmacKey>,
    /// How long, in milliseconds, a new key may take until it can be used.
    #[serde(default)]
    pub usable_after_ms: u64,
    /// Whether a process may overlook what another one has just made, until it starts the module anew.
    #[serde(default)]
    pub stale_listing: bool,
    /// Whether the module computes on the server's own processors, as a token in software does.
    #[serde(default)]
    pub computes_here: bool,
    /// Whether each curve is tried once before it is declared.
    #[serde(default)]
    pub probe: bool,
    /// How many keys the device can hold, where that is bounded.
    #[serde(default)]
    pub max_keys: Option<u32>,
    /// The longest message, in bytes, that the device takes whole, as Ed25519 needs it; where that is bounded.
    #[serde(default)]
    pub longest_message: Option<usize>,
    /// Sorts of keys that can live in the device.
    pub device: Vec<KeySpec>,
    /// Sorts of keys that can be wrapped by a key of the device, and loaded again.
    pub wrapped: Vec<KeySpec>,
    /// Sorts of keys that can be brought in.
    pub import: Vec<KeySpec>,
    /// How they are brought in.
    pub import_by: ImportBy,
    /// Ways to RSASSA-PSS.
    pub pss: Vec<PssWay>,
    /// Ways to wrap a key under an AES key.
    pub wrap: Vec<WrapWay>,
    /// Ways to seal what is opened outside the device.
    pub seal: Vec<SealWay>,
    /// Ways to move a key to another device.
    pub transfer: Vec<TransferWay>,
    /// Ways to BIP32.
    pub hd: Vec<HdWay>,
    /// How each curve is named in `CKA_EC_PARAMS`; one that is absent cannot be had.
    pub curves: Curves,
    /// The vendor's numbers of mechanisms, each a list in order of preference.
    #[serde(default)]
    pub codes: BTreeMap<String, Vec<u64>>,
    /// How fast the device means to sign.
    pub objective: ObjectiveMicros,
}

/// See [`Profile::public_point`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointOn {
    /// The public key's object.
    Public,
    /// The private key's object.
    Private,
}

/// See [`Profile::gcm_nonce`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NonceFrom {
    /// We do.
    Caller,
    /// The device, which writes it into the mechanism's parameter.
    Device,
}

/// See [`Profile::hmac_keys`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HmacKey {
    /// `CKK_GENERIC_SECRET`, of a length that is named.
    GenericSecret,
    /// `CKK_SHA256_HMAC`, whose length is the hash's.
    Sha256Hmac,
}

/// See [`Profile::import_by`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportBy {
    /// `C_CreateObject` with the secret's value.
    Create,
    /// `C_UnwrapKey`, under an RSA key that the device makes for the purpose.
    Unwrap,
}

/// How RSASSA-PSS is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PssWay {
    /// `CKM_RSA_PKCS_PSS` over the digest.
    Digest,
    /// `CKM_SHA256_RSA_PKCS_PSS` over the message.
    Message,
}

/// How a key is wrapped under an AES key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WrapWay {
    /// Key wrap with padding (RFC 5649).
    AesKeyWrapPad,
    /// Key wrap (RFC 3394), for secrets of a multiple of eight bytes.
    AesKeyWrap,
}

/// How something is sealed under a key of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SealWay {
    /// AES-256-GCM in the device.
    AesGcm,
    /// AES-256-GCM in the worker, each time under a key that the device's HMAC-SHA256 makes of a fresh salt.
    HmacGcm,
}

/// How a key moves between devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransferWay {
    /// RSA-OAEP, then AES key wrap with padding: the bytes of `CKM_RSA_AES_KEY_WRAP` in two calls, each of which more
    /// devices know.
    OaepThenWrap,
}

/// How BIP32 keys are derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HdWay {
    /// By mechanisms of the vendor, whose numbers are in `codes`.
    InDevice,
    /// In the worker's memory, from a seed that is sealed at rest.
    Sealed,
}

/// How a curve is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CurveName {
    /// By its object identifier.
    Oid,
    /// By its name, as a `PrintableString`.
    Printable,
}

/// See [`Profile::curves`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curves {
    /// secp256k1.
    #[serde(default)]
    pub secp256k1: Option<CurveName>,
    /// P-256.
    #[serde(default)]
    pub p256: Option<CurveName>,
    /// Ed25519.
    #[serde(default)]
    pub ed25519: Option<CurveName>,
}

/// See [`Objective`]; in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectiveMicros {
    /// Half of the signatures.
    pub p50_us: u64,
    /// Ninety-nine of a hundred.
    pub p99_us: u64,
}

impl Profile {
    /// The profile with this name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another name than [`Profile::names`] has.
    pub fn named(name: &str) -> Result<Self> {
        let Some((_, text)) = EMBEDDED.iter().find(|(known, _)| *known == name) else {
            return Err(Error::invalid("profile", format!("use one of {}", Self::names().join(", "))));
        };
        Self::parse(text)
    }

    /// The names of the profiles that come with Anya.
    pub fn names() -> [&'static str; EMBEDDED.len()] {
        EMBEDDED.map(|(name, _)| name)
    }

    /// A profile of one's own, in TOML.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the line at fault.
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| Error::invalid("profile", error.to_string()))
    }

    /// The device's objective.
    pub fn objective(&self) -> Objective {
        Objective {
            p50: Duration::from_micros(self.objective.p50_us),
            p99: Duration::from_micros(self.objective.p99_us),
        }
    }

    /// How a curve of this sort of key is named, where it can be had.
    pub(crate) fn curve(&self, spec: KeySpec) -> Option<CurveName> {
        match spec {
            KeySpec::Secp256k1 => self.curves.secp256k1,
            KeySpec::P256 => self.curves.p256,
            KeySpec::Ed25519 => self.curves.ed25519,
            KeySpec::Bip32Seed | KeySpec::Rsa3072 | KeySpec::Aes256 => None,
        }
    }

    /// The numbers under which a mechanism may be offered, the vendor's or else the standard's.
    pub(crate) fn codes<'a>(&'a self, name: &str, standard: &'a [u64]) -> &'a [u64] {
        self.codes.get(name).map_or(standard, Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_profile_is_read_and_named_as_its_file() {
        for name in Profile::names() {
            let profile = Profile::named(name).unwrap();
            assert_eq!(profile.name, name);
            let bytes = postcard::to_allocvec(&profile).unwrap();
            assert_eq!(postcard::from_bytes::<Profile>(&bytes).unwrap(), profile);
        }
    }

    #[test]
    fn an_unknown_word_is_refused() {
        assert!(Profile::named("nshield").is_err());
        let text = EMBEDDED[0].1.replace("aes-gcm", "rot13");
        assert!(Profile::parse(&text).unwrap_err().to_string().contains("rot13"));
    }
}
