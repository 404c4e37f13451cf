//! What a profile and the token in hand can do together.

use anya_provider::{
    Algorithm, Attestation, Capabilities, HdMode, KeySpec, ProviderKind, Residence, TransferScheme,
};
use cryptoki_sys::{
    CKM_AES_GCM, CKM_AES_KEY_GEN, CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_PAD, CKM_EC_EDWARDS_KEY_PAIR_GEN,
    CKM_EC_KEY_PAIR_GEN, CKM_ECDSA, CKM_EDDSA, CKM_GENERIC_SECRET_KEY_GEN, CKM_RSA_PKCS_KEY_PAIR_GEN,
    CKM_RSA_PKCS_OAEP, CKM_RSA_PKCS_PSS, CKM_SHA256_HMAC, CKM_SHA256_RSA_PKCS_PSS,
};
use serde::{Deserialize, Serialize};

use crate::profile::{HdWay, Profile, PssWay, SealWay, TransferWay, WrapWay};

/// The vendor's mechanisms for BIP32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bip32Codes {
    pub(crate) master: u64,
    pub(crate) child: u64,
}

/// The ways that were chosen. Nothing is tried that is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) device: Vec<KeySpec>,
    pub(crate) wrapped: Vec<KeySpec>,
    pub(crate) import: Vec<KeySpec>,
    pub(crate) pss: Option<PssWay>,
    /// The number of the mechanism that wraps under an AES key.
    pub(crate) wrap: Option<u64>,
    pub(crate) seal: Option<SealWay>,
    pub(crate) transfer: Option<TransferWay>,
    pub(crate) bip32: Option<Bip32Codes>,
    pub(crate) hd: HdMode,
}

impl Plan {
    /// Chooses, of what `profile` lists, the first of each that the token `offers`.
    pub(crate) fn resolve(profile: &Profile, mut offers: impl FnMut(u64) -> bool) -> Self {
        let mut all = |codes: &[u64]| codes.iter().all(|code| offers(*code));
        let pss = profile.pss.iter().copied().find(|way| match way {
            PssWay::Digest => all(&[CKM_RSA_PKCS_PSS]),
            PssWay::Message => all(&[CKM_SHA256_RSA_PKCS_PSS]),
        });
        let mut can = |spec: &KeySpec| match spec {
            KeySpec::Secp256k1 | KeySpec::P256 => {
                profile.curve(*spec).is_some() && all(&[CKM_EC_KEY_PAIR_GEN, CKM_ECDSA])
            }
            KeySpec::Ed25519 => {
                profile.curve(*spec).is_some() && all(&[CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_EDDSA])
            }
            KeySpec::Rsa3072 => pss.is_some() && all(&[CKM_RSA_PKCS_KEY_PAIR_GEN]),
            KeySpec::Aes256 => all(&[CKM_AES_KEY_GEN, CKM_AES_GCM]),
            KeySpec::Bip32Seed => false,
        };
        let device: Vec<KeySpec> = profile.device.iter().copied().filter(&mut can).collect();
        let mut wrapped: Vec<KeySpec> = profile.wrapped.iter().copied().filter(&mut can).collect();
        let mut import: Vec<KeySpec> = profile.import.iter().copied().filter(&mut can).collect();
        let mut first = |name: &str, standard: &[u64]| {
            profile.codes(name, standard).iter().copied().find(|code| all(&[*code]))
        };
        let wrap = profile.wrap.iter().find_map(|way| match way {
            WrapWay::AesKeyWrapPad => first("aes-key-wrap-pad", &[CKM_AES_KEY_WRAP_PAD]),
            WrapWay::AesKeyWrap => first("aes-key-wrap", &[CKM_AES_KEY_WRAP]),
        });
        let bip32 = first("bip32-master-derive", &[])
            .zip(first("bip32-child-derive", &[]))
            .map(|(master, child)| Bip32Codes { master, child });
        let seal = profile.seal.iter().copied().find(|way| match way {
            SealWay::AesGcm => all(&[CKM_AES_KEY_GEN, CKM_AES_GCM]),
            SealWay::HmacGcm => all(&[CKM_GENERIC_SECRET_KEY_GEN, CKM_SHA256_HMAC]),
        });
        let transfer = profile.transfer.iter().copied().find(|way| match way {
            TransferWay::OaepThenWrap => {
                wrap.is_some()
                    && all(&[CKM_RSA_PKCS_KEY_PAIR_GEN, CKM_RSA_PKCS_OAEP, CKM_AES_KEY_GEN])
                    && profile.session_objects
            }
        });
        if wrap.is_none() || seal.is_none() || !profile.session_objects || !all(&[CKM_AES_KEY_GEN]) {
            wrapped.clear();
        }
        let hd = profile.hd.iter().find_map(|way| match way {
            HdWay::InDevice => bip32.map(|_| HdMode::InDevice),
            HdWay::Sealed => seal.map(|_| HdMode::Sealed),
        });
        let hd = hd.unwrap_or(HdMode::None);
        if profile.import_by == crate::profile::ImportBy::Unwrap && transfer.is_none() {
            import.clear();
        }
        if hd != HdMode::None {
            import.push(KeySpec::Bip32Seed);
        }
        Self { device, wrapped, import, pss, wrap, seal, transfer, bip32, hd }
    }

    /// What the profile promises, for as long as no token answers.
    pub(crate) fn assumed(profile: &Profile) -> Self {
        Self::resolve(profile, |_| true)
    }

    /// Keeps only sorts of keys that pass `keep`.
    pub(crate) fn retain(&mut self, keep: impl Fn(KeySpec) -> bool) {
        for list in [&mut self.device, &mut self.wrapped, &mut self.import] {
            list.retain(|spec| keep(*spec));
        }
    }

    /// What is declared to the rest of the house.
    pub(crate) fn capabilities(&self, profile: &Profile) -> Capabilities {
        let mut specs: Vec<KeySpec> = KeySpec::ALL
            .into_iter()
            .filter(|spec| self.device.contains(spec) || self.wrapped.contains(spec))
            .collect();
        let mut algorithms: Vec<Algorithm> = specs
            .iter()
            .map(|spec| match spec {
                KeySpec::Secp256k1 | KeySpec::Bip32Seed => Algorithm::EcdsaSecp256k1,
                KeySpec::Ed25519 => Algorithm::Ed25519,
                KeySpec::P256 => Algorithm::EcdsaP256,
                KeySpec::Rsa3072 => Algorithm::RsaPssSha256,
                KeySpec::Aes256 => Algorithm::Aes256Gcm,
            })
            .collect();
        if self.hd != HdMode::None {
            specs.push(KeySpec::Bip32Seed);
            if !algorithms.contains(&Algorithm::EcdsaSecp256k1) {
                algorithms.push(Algorithm::EcdsaSecp256k1);
            }
        }
        let mut residences = Vec::new();
        if !self.device.is_empty() || self.hd == HdMode::InDevice {
            residences.push(Residence::Device);
        }
        if !self.wrapped.is_empty() {
            residences.push(Residence::DeviceWrapped);
        }
        if self.hd == HdMode::Sealed {
            residences.push(Residence::WorkerMemory);
        }
        Capabilities {
            kind: ProviderKind::Pkcs11,
            product: profile.product.clone(),
            specs,
            imports: self.import.clone(),
            algorithms,
            hd: self.hd,
            residences,
            transfers: self.transfer.map(|_| TransferScheme::RsaAesKeyWrap).into_iter().collect(),
            kek_rotation: self.seal.is_some(),
            attestation: Attestation::Claims,
            max_keys: profile.max_keys,
            objective: profile.objective(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_without_a_mechanism_loses_what_needs_it_and_nothing_else() {
        let profile = Profile::named("softhsm2").unwrap();
        let whole = Plan::assumed(&profile);
        assert_eq!(whole.seal, Some(SealWay::AesGcm));
        assert!(whole.wrapped.contains(&KeySpec::Secp256k1));

        let lacking = |absent: u64| Plan::resolve(&profile, move |code| code != absent);
        assert_eq!(lacking(CKM_AES_GCM).seal, Some(SealWay::HmacGcm));
        assert!(!lacking(CKM_AES_GCM).device.contains(&KeySpec::Aes256));
        assert!(lacking(CKM_AES_KEY_WRAP_PAD).wrapped.is_empty());
        assert_eq!(lacking(CKM_AES_KEY_WRAP_PAD).transfer, None);
        assert_eq!(lacking(CKM_RSA_PKCS_PSS).pss, Some(PssWay::Message));
        assert!(!lacking(CKM_EDDSA).device.contains(&KeySpec::Ed25519));
        assert_eq!(Plan::resolve(&profile, |_| false).hd, HdMode::None);
    }

    #[test]
    fn a_luna_without_its_bip32_mechanisms_seals_seeds() {
        let profile = Profile::named("luna").unwrap();
        assert_eq!(Plan::assumed(&profile).hd, HdMode::InDevice);
        assert_eq!(Plan::resolve(&profile, |code| code != 0x8000_0E01).hd, HdMode::Sealed);
    }
}
