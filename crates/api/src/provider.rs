//! The holders of keys: what they can do, how they are, and their care.

use std::fmt;

use anya_primitives::{Actor, KeyId, TenantId, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{PartialSchema, ToSchema};

use crate::key::{HdMode, KeyAlgorithm, KeyKind, Residence};

/// The most characters of a passphrase.
pub const MAX_PASSPHRASE: usize = 1024;

/// The most providers in one drill.
pub const MAX_DRILLED: usize = 8;

/// What a provider can prove about where a key lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AttestationKind {
    /// Nothing: the operator vouches for the machine.
    None,
    /// The device's own word, which nothing signs.
    Claims,
    /// A certificate that the device signs for the key.
    Certificate,
    /// A quote of the processor that the signer runs on.
    Quote,
    /// Evidence of a simulation, which proves nothing.
    Simulated,
}

/// What sort of holder a provider is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// Keys sealed in the server's own storage.
    Software,
    /// A device or token behind a PKCS#11 module.
    Pkcs11,
    /// A YubiHSM2.
    Yubihsm,
    /// A signer process of its own, attested or not.
    Enclave,
}

/// How a key comes out of one provider and into another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TransferScheme {
    /// `CKM_RSA_AES_KEY_WRAP` (PKCS#11 v3.0).
    RsaAesKeyWrap,
    /// Export and import under a wrap key that two YubiHSM2 hold.
    YubihsmWrap,
}

/// A place where a provider's keys can be made to live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProviderResidence {
    /// The place.
    pub residence: Residence,
    /// The same in words for an auditor.
    pub custody: String,
}

/// How fast a provider means to sign.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProviderObjective {
    /// Half of the signatures are made within this many milliseconds.
    pub p50_ms: f64,
    /// Of a hundred signatures ninety-nine are made within this many milliseconds.
    pub p99_ms: f64,
}

/// How long signatures take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProviderLatency {
    /// Of this algorithm.
    pub algorithm: KeyAlgorithm,
    /// The smoothed mean in milliseconds.
    pub mean_ms: f64,
}

/// A provider: what it says it can do, and how it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// What sort of holder it is.
    pub kind: ProviderKind,
    /// The product it was made for.
    pub product: String,
    /// The kinds of keys that it makes.
    pub makes: Vec<KeyKind>,
    /// The kinds of keys that it takes in from outside.
    pub imports: Vec<KeyKind>,
    /// What it computes with them.
    pub algorithms: Vec<KeyAlgorithm>,
    /// How it derives the keys of an HD root.
    pub hd: HdMode,
    /// Where its keys can live; the first is what a key gets that asks for nothing else.
    pub residences: Vec<ProviderResidence>,
    /// How keys come out of it and into others; empty when they do not.
    pub transfers: Vec<TransferScheme>,
    /// Whether its sealing key can be renewed.
    pub kek_rotation: bool,
    /// What it can prove of its keys.
    pub attestation: AttestationKind,
    /// How many keys it can hold, where there is a bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_keys: Option<u32>,
    /// How fast it means to sign.
    pub objective: ProviderObjective,
    /// Whether keys are used there now.
    pub in_use: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Signatures that it made since it was put in use, all of them verified.
    pub signatures: u64,
    /// Faults since then.
    pub faults: u64,
    /// How long its signatures take, for each algorithm that was used.
    pub latency: Vec<ProviderLatency>,
    /// Its place in the order in which providers are asked, from 0, where it was given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preference: Option<u32>,
}

/// Puts a provider in use or takes it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderUse {
    /// Whether keys shall be used there. It comes back only once it has passed its examination.
    pub in_use: bool,
}

/// How a device is compared with the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReconciliationRequest {
    /// Whether to delete keys from the device that this server made and told nobody of.
    #[serde(default)]
    pub delete_orphans: bool,
}

/// What is odd about a key in a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// This server was about to make it and never recorded it; it can be deleted.
    Orphan,
    /// It bears our labels but the ledger knows nothing of it.
    Unknown,
    /// The ledger says that the device holds it, and the device does not.
    Missing,
}

/// One odd key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What is odd.
    pub kind: FindingKind,
    /// Whose key, as its label or record says; absent for the server's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Which key.
    pub key: KeyId,
    /// Whether it was deleted from the device by this call.
    pub deleted: bool,
}

/// A device compared with the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reconciliation {
    /// Keys of ours that the device holds.
    pub held: u64,
    /// Of these, the ones that the ledger knows as held there.
    pub matched: u64,
    /// The rest, and what is missing: the first 1000.
    pub findings: Vec<Finding>,
    /// How many findings there are in all.
    pub found: u64,
}

/// A passphrase on its way. It is never shown, and wiped when it was used.
#[derive(Clone)]
pub struct Passphrase(SecretString);

impl Passphrase {
    /// The secret.
    pub fn into_secret(self) -> SecretString {
        self.0
    }
}

impl From<SecretString> for Passphrase {
    fn from(secret: SecretString) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

impl Serialize for Passphrase {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

impl<'de> Deserialize<'de> for Passphrase {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A wrong value would be quoted in the error, so what was sent is not looked at before it is known to be text.
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Passphrase;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a passphrase of at most {MAX_PASSPHRASE} characters")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Passphrase, E> {
                if text.chars().count() > MAX_PASSPHRASE {
                    return Err(E::custom(format!("use at most {MAX_PASSPHRASE} characters")));
                }
                Ok(Passphrase(SecretString::from(text)))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl PartialSchema for Passphrase {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::Password)))
            .description(Some("A secret: never logged, never shown"))
            .max_length(Some(MAX_PASSPHRASE))
            .into()
    }
}

impl ToSchema for Passphrase {}

/// What renewing or retiring a sealing key needs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KekRequest {
    /// The passphrase under which the sealing key is itself sealed, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<Passphrase>,
}

/// The generations of the key under which a provider seals what it keeps outside itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KekStatus {
    /// What new handles are sealed under.
    pub current: u32,
    /// Every generation that can still open handles, oldest first.
    pub generations: Vec<u32>,
}

/// How far a rewrapping came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RewrapReport {
    /// Handles looked at.
    pub seen: u64,
    /// Handles that were sealed anew, proved, and stored.
    pub rewrapped: u64,
    /// Handles that were under the newest generation already.
    pub current: u64,
    /// Handles that could not be sealed anew; the server's log says why. They stay as they are.
    pub failed: u64,
}

/// Which providers to drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillRequest {
    /// At least two, all of them in use and able to hold the same key.
    #[schema(min_items = 2, max_items = 8)]
    pub providers: Vec<String>,
}

/// One step of a drill: signatures while one provider is out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrillStep {
    /// The provider that was taken out.
    pub provider: String,
    /// Signatures made under the same public key while it was out, each verified.
    pub signatures: u32,
    /// Who made them.
    pub made_by: Vec<String>,
    /// Microseconds from taking it out to the first signature.
    pub first_us: u64,
    /// The longest wait for a signature, in microseconds.
    pub longest_us: u64,
    /// Whether it came back: it passed its examination and signed again.
    pub came_back: bool,
    /// What went wrong, if anything did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// What a drill showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drill {
    /// Its number, from 1.
    pub seq: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// Who ordered it.
    pub by: Actor,
    /// The providers that took part.
    pub providers: Vec<String>,
    /// Whether every step went well.
    pub passed: bool,
    /// Step by step.
    pub steps: Vec<DrillStep>,
}

/// What reading the configuration of the providers anew changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ReloadReport {
    /// Providers that were put in use.
    pub added: Vec<String>,
    /// Providers that took the place of one of the same name.
    pub replaced: Vec<String>,
    /// Providers that were taken out.
    pub removed: Vec<String>,
    /// Providers that stayed as they were.
    pub unchanged: Vec<String>,
    /// Providers that could not be put in use; what was there before stays.
    pub failures: Vec<ReloadFailure>,
}

/// A provider that could not be put in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadFailure {
    /// The provider.
    pub provider: String,
    /// Why.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_never_shown() {
        let request: KekRequest = serde_json::from_str(r#"{"passphrase": "correct horse"}"#).unwrap();
        assert!(!format!("{request:?}").contains("horse"));
        let long = format!(r#"{{"passphrase": "{}"}}"#, "horse".repeat(300));
        let error = serde_json::from_str::<KekRequest>(&long).unwrap_err().to_string();
        assert!(!error.contains("horse"), "{error}");
        assert_eq!(request.passphrase.unwrap().into_secret().expose_secret(), "correct horse");
    }
}
