//! A provider that wraps the software keystore, and lies in one way.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use anya_keystore::SoftwareProvider;
use anya_provider::{
    Algorithm, Attestation, Capabilities, Error, Generated, ImportMaterial, KeyContext, KeySpec, KeyTemplate,
    Message, Provider as _, ProviderKind, PublicMaterial, Residence, Result, SignAlgorithm, SignRequest,
};
use bitcoin::secp256k1::{Secp256k1, SecretKey};
use secrecy::{ExposeSecret as _, SecretSlice};

use crate::curve;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// An honest provider of fewer abilities.
    None,
    ConstantSignature,
    FixedNonce,
    ShortNonce,
    BiasedNonce,
    AnotherKeysSignature,
    AnotherDigest,
    WrongPublicKey,
    /// A `Message::Bytes` is cut after so many bytes.
    CutsMessages,
    RefusesZeros,
    SignsAnything,
    Panics,
    HangsOnSign,
    HangsAlways,
    AnswersLate,
    WorksAfterDeadline,
    /// The answer to a caller that went away is given to the next.
    GivesStaleAnswers,
    AlwaysReady,
    SameKeyTwice,
    LosesWrites,
    MixesCallers,
    ForgetsOnRestart,
    IgnoresTenant,
    IgnoresKey,
    IgnoresVersion,
    IgnoresSpec,
    IgnoresHandle,
    IgnoresEndOfHandle,
    SecretInHandle,
    ImportIgnoresSecret,
    ImportsZero,
    RefusalRepeatsSecret,
    DerivesAnotherPath,
    SignsForAnotherPath,
    AnswersUndeclaredAlgorithm,
    AnswersUndeclaredAttestation,
    AnswersUndeclaredWrongly,
    ClaimsDevice,
    ElsewhereThanAsked,
    ListsForAnother,
    OpensTampered,
    FixedCipherNonce,
    OwnCipher,
    DestroysNothing,
    DestroysForStrangers,
    DestroysAll,
    RefusesToDestroy,
    TakesTampered,
    ReplicaIsAnother,
    GivesAwayConfined,
    WrapsForAnybody,
    RewrapsNothing,
    RetiresNothing,
    RetiresCurrent,
    AnotherKindOfEvidence,
    StaleEvidence,
}

/// What the liar remembers of a key.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) ctx: KeyContext,
    pub(crate) handle: Vec<u8>,
    pub(crate) secret: Option<[u8; 32]>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) held: Vec<Held>,
    pub(crate) dead: HashSet<Vec<u8>>,
    pub(crate) constant: HashMap<String, Vec<u8>>,
    pub(crate) slots: Vec<Option<Vec<u8>>>,
    pub(crate) current: Option<[u8; 32]>,
    pub(crate) stale: Vec<Vec<u8>>,
    pub(crate) texts: Vec<Vec<u8>>,
    pub(crate) retired: HashSet<u32>,
    pub(crate) closed: bool,
}

pub(crate) struct Liar {
    pub(crate) honest: Arc<SoftwareProvider>,
    pub(crate) lie: Lie,
    pub(crate) told: Capabilities,
    state: Mutex<State>,
}

/// Quick sorts of keys: the lies are the same with the slow ones.
const SPECS: [KeySpec; 4] = [KeySpec::Secp256k1, KeySpec::Bip32Seed, KeySpec::Ed25519, KeySpec::Aes256];

fn secret(bytes: &[u8]) -> ImportMaterial {
    ImportMaterial::Secret(SecretSlice::from(bytes.to_vec()))
}

impl Liar {
    pub(crate) fn new(honest: Arc<SoftwareProvider>, lie: Lie) -> Self {
        let mut told = honest.capabilities().clone();
        told.specs = SPECS.to_vec();
        told.imports = SPECS.to_vec();
        told.algorithms = vec![
            Algorithm::EcdsaSecp256k1,
            Algorithm::SchnorrSecp256k1,
            Algorithm::Ed25519,
            Algorithm::Aes256Gcm,
        ];
        match lie {
            Lie::AnswersUndeclaredAlgorithm => {
                told.algorithms.retain(|one| *one != Algorithm::SchnorrSecp256k1)
            }
            Lie::AnswersUndeclaredWrongly => told.kek_rotation = false,
            Lie::ClaimsDevice | Lie::ListsForAnother => {
                told.kind = ProviderKind::Pkcs11;
                told.residences = vec![Residence::Device];
                told.specs.retain(|spec| *spec != KeySpec::Bip32Seed);
                told.imports = told.specs.clone();
                told.hd = anya_provider::HdMode::None;
            }
            Lie::ElsewhereThanAsked => {
                told.kind = ProviderKind::Pkcs11;
                told.residences = vec![Residence::Device, Residence::DeviceWrapped];
            }
            Lie::AnotherKindOfEvidence => told.attestation = Attestation::Certificate,
            Lie::StaleEvidence => {
                told.kind = ProviderKind::Enclave;
                told.attestation = Attestation::Simulated;
            }
            _ => (),
        }
        Self { honest, lie, told, state: Mutex::default() }
    }

    /// The same provider, opened again.
    pub(crate) fn reopened(closed: &Self) -> Self {
        let new = Self::new(closed.honest.clone(), closed.lie);
        new.state().held = closed.state().held.clone();
        new.state().dead = closed.state().dead.clone();
        new
    }

    /// Knows a key that was made before it lied.
    pub(crate) fn remember(&self, ctx: &KeyContext, handle: &[u8]) {
        self.state().held.push(Held { ctx: ctx.clone(), handle: handle.to_vec(), secret: None });
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn is(&self, lie: Lie) -> bool {
        self.lie == lie
    }

    pub(crate) fn residence(&self, asked: Option<Residence>) -> Residence {
        match self.lie {
            Lie::ElsewhereThanAsked => Residence::DeviceWrapped,
            Lie::ClaimsDevice | Lie::ListsForAnother => Residence::Device,
            _ => asked.unwrap_or(Residence::ServerMemory),
        }
    }

    pub(crate) fn undeclared(&self, spec: KeySpec) -> Result<()> {
        if self.told.specs.contains(&spec) {
            Ok(())
        } else {
            Err(self.unsupported(format!("hold {spec} keys")))
        }
    }

    pub(crate) async fn hang(&self) {
        if self.is(Lie::HangsAlways) {
            std::future::pending::<()>().await;
        }
    }

    /// Context and handle by which the honest keystore knows the key.
    pub(crate) fn real(&self, ctx: &KeyContext, handle: &[u8]) -> Result<(KeyContext, Vec<u8>)> {
        let state = self.state();
        let (mut ctx, mut handle) = (ctx.clone(), handle.to_vec());
        if state.dead.contains(&handle) {
            return Err(Error::Missing(self.id().to_owned()));
        }
        if self.is(Lie::LosesWrites) {
            let slot: [u8; 8] = handle.as_slice().try_into().map_err(|_| Error::HandleDamaged)?;
            let slot = usize::try_from(u64::from_be_bytes(slot)).map_err(|_| Error::HandleDamaged)?;
            handle = state.slots.get(slot).cloned().flatten().ok_or(Error::HandleDamaged)?;
        }
        if self.is(Lie::IgnoresEndOfHandle) {
            handle.pop();
        }
        if self.is(Lie::SecretInHandle) {
            handle.truncate(handle.len().saturating_sub(32));
        }
        if let Some(held) = state.held.iter().find(|held| held.handle == handle) {
            match self.lie {
                Lie::IgnoresTenant => ctx.tenant = held.ctx.tenant,
                Lie::IgnoresKey => ctx.key = held.ctx.key,
                Lie::IgnoresVersion => ctx.version = held.ctx.version,
                Lie::IgnoresSpec if ctx.spec != held.ctx.spec => ctx.spec = held.ctx.spec,
                _ => (),
            }
        }
        if self.is(Lie::IgnoresHandle)
            && let Some(held) = state.held.iter().find(|held| held.ctx.key == ctx.key)
        {
            handle = held.handle.clone();
        }
        if self.is(Lie::WorksAfterDeadline) {
            ctx.deadline = Instant::now() + Duration::from_secs(30);
        }
        Ok((ctx, handle))
    }

    pub(crate) async fn take(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        material: Option<ImportMaterial>,
    ) -> Result<Generated> {
        self.hang().await;
        self.undeclared(ctx.spec)?;
        let residence = self.residence(template.residence);
        if self.told.residence_for(ctx.spec, template.residence).is_none() {
            return Err(self.unsupported("put keys there".to_owned()));
        }
        let mut ctx = ctx.clone();
        if self.is(Lie::WorksAfterDeadline) {
            ctx.deadline = Instant::now() + Duration::from_secs(30);
        }
        let keeps = matches!(
            self.lie,
            Lie::FixedNonce
                | Lie::ShortNonce
                | Lie::BiasedNonce
                | Lie::FixedCipherNonce
                | Lie::OwnCipher
                | Lie::SecretInHandle
        );
        let mut known = None;
        let material = match (self.lie, material) {
            (Lie::ImportIgnoresSecret, Some(_)) => None,
            (Lie::ImportsZero, Some(ImportMaterial::Secret(bytes)))
                if ctx.spec == KeySpec::Secp256k1 && bytes.expose_secret() == [0; 32] =>
            {
                Some(secret(&[1; 32]))
            }
            (Lie::RefusalRepeatsSecret, Some(ImportMaterial::Secret(bytes)))
                if ctx.spec == KeySpec::Secp256k1
                    && SecretKey::from_slice(bytes.expose_secret()).is_err() =>
            {
                let text = hex::encode(bytes.expose_secret());
                return Err(Error::invalid("secret", format!("`{text}` is no scalar")));
            }
            (Lie::SameKeyTwice, None) if ctx.spec == KeySpec::Bip32Seed => Some(secret(&[7; 64])),
            (Lie::SameKeyTwice, None) => Some(secret(&[7; 32])),
            (_, Some(ImportMaterial::Secret(bytes))) if keeps => {
                known = <[u8; 32]>::try_from(bytes.expose_secret()).ok();
                Some(ImportMaterial::Secret(bytes))
            }
            (_, None) if keeps && ctx.spec != KeySpec::Bip32Seed => {
                let new = curve::secret();
                known = Some(new);
                Some(secret(&new))
            }
            (_, material) => material,
        };
        let transferable = template.transferable || self.is(Lie::GivesAwayConfined);
        let template = KeyTemplate { residence: None, transferable };
        let slot = self.state().slots.len();
        let mut made = match material {
            Some(material) => self.honest.import(&ctx, template, material).await?,
            None => self.honest.generate(&ctx, template).await?,
        };
        made.residence = residence;
        let mut state = self.state();
        state.held.push(Held { ctx: ctx.clone(), handle: made.handle.clone(), secret: known });
        match self.lie {
            Lie::LosesWrites => {
                if state.slots.len() <= slot {
                    state.slots.resize(slot + 1, None);
                }
                state.slots[slot] = Some(made.handle.clone());
                made.handle = (slot as u64).to_be_bytes().to_vec();
            }
            Lie::IgnoresEndOfHandle => made.handle.push(0),
            Lie::SecretInHandle => made.handle.extend(known.unwrap_or_default()),
            Lie::WrongPublicKey => {
                if let PublicMaterial::Secp256k1 { public_key } = &mut made.public {
                    *public_key = SecretKey::from_slice(&[9; 32]).unwrap().public_key(&Secp256k1::new());
                }
            }
            _ => (),
        }
        Ok(made)
    }

    pub(crate) fn secret_of(&self, handle: &[u8]) -> Option<[u8; 32]> {
        self.state().held.iter().find(|held| held.handle == handle).and_then(|held| held.secret)
    }

    /// ECDSA with a nonce that is not one, for keys whose secret the liar kept.
    pub(crate) fn own_signature(&self, handle: &[u8], request: &SignRequest<'_>) -> Option<Vec<u8>> {
        let Message::Digest(digest) = request.message else { return None };
        if request.algorithm != SignAlgorithm::EcdsaSecp256k1 || request.path.is_some() {
            return None;
        }
        let nonce = match self.lie {
            Lie::FixedNonce => [0x33; 32],
            Lie::ShortNonce => {
                let mut k = curve::secret();
                k[..16].fill(0);
                k
            }
            Lie::BiasedNonce => {
                let mut k = curve::secret();
                k[31] = 0x80;
                k
            }
            _ => return None,
        };
        Some(curve::sign(self.secret_of(handle)?, digest, nonce))
    }
}
