//! What a provider says of itself before anyone relies on it.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    spec::{Algorithm, KeySpec},
    transfer::TransferScheme,
};

/// What sort of holder it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ProviderKind {
    /// Keys sealed in this machine's storage.
    Software,
    /// A device or token behind a PKCS#11 module.
    Pkcs11,
    /// A YubiHSM2: its PKCS#11 module for keys, its own protocol for what PKCS#11 has no words for.
    Yubihsm,
    /// A signer process of its own, attested or not.
    Enclave,
}

impl ProviderKind {
    /// The name in configuration and API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::Pkcs11 => "pkcs11",
            Self::Yubihsm => "yubihsm",
            Self::Enclave => "enclave",
        }
    }
}

/// How a provider derives the keys of a BIP32 tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HdMode {
    /// It cannot: each key stands alone.
    None,
    /// The seed is sealed at rest and opened in locked memory while deriving; [`Residence`] says in whose.
    Sealed,
    /// The device derives by itself; the seed never leaves it.
    InDevice,
}

/// Every place where the private part of a key can ever exist. Told of each key, and true for its whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Residence {
    /// Sealed at rest; in the clear in the server's memory while it is made or used.
    ServerMemory,
    /// An object of the device, which its private part never leaves.
    Device,
    /// At rest outside the device, wrapped under a key that never leaves the device; in the clear only inside it.
    DeviceWrapped,
    /// A seed, at rest sealed under a key that never leaves the device; in the clear in the locked memory of the
    /// device's worker process while a key is derived from it or signs.
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

    /// The name in API and ledger.
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

    /// The same in words for an auditor.
    pub fn describe(self) -> &'static str {
        match self {
            Self::ServerMemory => {
                "sealed in the ledger; in the clear in the memory of the server process, on its key threads, while \
                 the key is being made or used; whoever controls that process or its machine while the keystore is \
                 open can take it"
            }
            Self::Device => "inside the device only; its private part never leaves it in the clear",
            Self::DeviceWrapped => {
                "in the ledger, wrapped under a key that never leaves the device; in the clear inside the device only, \
                 while the key is being made or used"
            }
            Self::WorkerMemory => {
                "in the ledger, sealed under a key that never leaves the device; in the clear in the locked memory of \
                 the device's worker process while a key is derived or signs; whoever controls that process or its \
                 machine then can take it"
            }
            Self::SignerProcess => {
                "sealed at rest; in the clear in the memory of the signer process, whose isolation from its machine \
                 nothing proves"
            }
            Self::Enclave => {
                "sealed at rest to the enclave; in the clear only in the memory of the enclave, whose measurement was \
                 attested before it got the key"
            }
        }
    }
}

impl fmt::Display for Residence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Residence {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|place| place.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::invalid("residence", format!("use one of {names}"))
        })
    }
}

/// What a provider can prove about where a key lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Attestation {
    /// Nothing: the operator vouches for the machine.
    None,
    /// The device's own word, which nothing signs.
    Claims,
    /// A certificate that the device signs for the key.
    Certificate,
    /// A quote of the processor that the signer runs on.
    Quote,
    /// Evidence of a simulation, which proves nothing and is refused unless a policy names it.
    Simulated,
}

/// How fast a provider means to sign: its own objective, published, and what deadlines are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objective {
    /// Half of the signatures are made within this time.
    pub p50: Duration,
    /// Of a hundred signatures ninety-nine are made within this time. One that takes longer is hedged on a replica.
    pub p99: Duration,
}

/// What a provider is able to do. It answers [`Error::Unsupported`] to everything that it does not list here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// What sort of holder it is.
    pub kind: ProviderKind,
    /// The product it was made for, such as `SoftHSM2`: which vendor profile is at work.
    pub product: String,
    /// Sorts of keys that it generates.
    pub specs: Vec<KeySpec>,
    /// Sorts of keys that it takes in from outside.
    pub imports: Vec<KeySpec>,
    /// What it computes with them.
    pub algorithms: Vec<Algorithm>,
    /// How it derives BIP32 keys.
    pub hd: HdMode,
    /// Where its keys can be made to live; the first is what a key gets that asks for nothing else. A sort of key may
    /// be possible in some of them only: [`Capabilities::residence_for`].
    pub residences: Vec<Residence>,
    /// How a key comes out of it and into a replica; empty when neither is possible.
    pub transfers: Vec<TransferScheme>,
    /// Whether its sealing key can be renewed, so that handles are wrapped again.
    pub kek_rotation: bool,
    /// What it can prove.
    pub attestation: Attestation,
    /// How many keys it can hold, where there is a bound.
    pub max_keys: Option<u32>,
    /// How fast it means to sign.
    pub objective: Objective,
}

impl Capabilities {
    /// Whether keys of `spec` can compute `algorithm` here.
    ///
    /// A seed that is opened to derive from it signs where it is opened, so that a device that knows only ECDSA does
    /// not keep its keys from BIP340.
    pub fn computes(&self, spec: KeySpec, algorithm: Algorithm) -> bool {
        let opened = spec == KeySpec::Bip32Seed && self.hd == HdMode::Sealed && self.specs.contains(&spec);
        spec.allows(algorithm) && (opened || self.algorithms.contains(&algorithm))
    }

    /// Where a key of `spec` lives when `wish` is asked for, or nothing where that cannot be had.
    ///
    /// A BIP32 root that the device cannot derive from lives in no device: its place is the first listed in which a
    /// seed can be opened.
    pub fn residence_for(&self, spec: KeySpec, wish: Option<Residence>) -> Option<Residence> {
        let fits = |place: &Residence| match (spec, self.hd, place) {
            (KeySpec::Bip32Seed, HdMode::None, _) => false,
            (KeySpec::Bip32Seed, HdMode::Sealed, Residence::Device | Residence::DeviceWrapped) => false,
            (KeySpec::Bip32Seed, _, _) => true,
            (_, _, Residence::WorkerMemory) => false,
            _ => true,
        };
        self.residences.iter().copied().filter(fits).find(|place| wish.is_none_or(|wish| wish == *place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Capabilities {
        Capabilities {
            kind: ProviderKind::Pkcs11,
            product: "a token".to_owned(),
            specs: vec![KeySpec::Secp256k1, KeySpec::Bip32Seed],
            imports: vec![],
            algorithms: vec![Algorithm::EcdsaSecp256k1],
            hd: HdMode::Sealed,
            residences: vec![Residence::Device, Residence::DeviceWrapped, Residence::WorkerMemory],
            transfers: vec![],
            kek_rotation: false,
            attestation: Attestation::Claims,
            max_keys: None,
            objective: Objective { p50: Duration::from_millis(1), p99: Duration::from_millis(5) },
        }
    }

    #[test]
    fn a_seed_lives_where_it_can_be_opened_and_a_key_where_it_need_not_be() {
        let token = token();
        assert_eq!(token.residence_for(KeySpec::Secp256k1, None), Some(Residence::Device));
        assert_eq!(token.residence_for(KeySpec::Bip32Seed, None), Some(Residence::WorkerMemory));
        assert_eq!(token.residence_for(KeySpec::Bip32Seed, Some(Residence::Device)), None);
        assert_eq!(token.residence_for(KeySpec::Secp256k1, Some(Residence::WorkerMemory)), None);
        let deriving = Capabilities { hd: HdMode::InDevice, ..token };
        assert_eq!(deriving.residence_for(KeySpec::Bip32Seed, None), Some(Residence::Device));
    }

    #[test]
    fn a_seed_that_is_opened_signs_as_its_curve_can_and_a_key_as_its_device_can() {
        let token = token();
        assert!(token.computes(KeySpec::Bip32Seed, Algorithm::SchnorrSecp256k1));
        assert!(!token.computes(KeySpec::Secp256k1, Algorithm::SchnorrSecp256k1));
        assert!(!token.computes(KeySpec::Bip32Seed, Algorithm::Ed25519));
        let deriving = Capabilities { hd: HdMode::InDevice, ..token };
        assert!(!deriving.computes(KeySpec::Bip32Seed, Algorithm::SchnorrSecp256k1));
        assert!(deriving.computes(KeySpec::Bip32Seed, Algorithm::EcdsaSecp256k1));
    }

    #[test]
    fn every_place_is_read_as_it_is_written() {
        for place in Residence::ALL {
            assert_eq!(place.name().parse::<Residence>().unwrap(), place);
        }
        assert!("elsewhere".parse::<Residence>().is_err());
    }
}
