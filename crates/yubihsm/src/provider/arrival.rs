//! Keys that come into the device past the module, because they may leave again: made, imported, or wrapped by another
//! device. Each gets its label beside it, as the module keeps it, and what cannot be used is not left behind.

use anya_provider::{
    Error, Generated, KeyContext, KeySpec, KeyTemplate, Provider as _, PublicMaterial, Residence, Result,
};
use bitcoin::secp256k1::PublicKey;
use secrecy::{ExposeSecret, SecretSlice};

use super::YubihsmProvider;
use crate::{
    error::{self, DeviceError},
    metadata::{Target, device_label, key_label},
    session::{ASYMMETRIC_KEY, Conversation, NewObject, OPAQUE},
};

/// Capabilities, by their numbers in Yubico's list.
const SIGN_PSS: u64 = 1 << 0x06;
const SIGN_ECDSA: u64 = 1 << 0x07;
const SIGN_EDDSA: u64 = 1 << 0x08;
pub(super) const EXPORTABLE: u64 = 1 << 0x10;

/// How a key comes to be in the device.
pub(super) enum Arrival<'a> {
    Made,
    Imported(&'a SecretSlice<u8>),
    Wrapped { wrap_key: u16, wrapped: &'a [u8] },
}

/// How the device knows a sort of key, and what such a key may do.
pub(super) fn device_terms(spec: KeySpec) -> Option<(u8, u64)> {
    match spec {
        KeySpec::Secp256k1 => Some((15, SIGN_ECDSA)),
        KeySpec::P256 => Some((12, SIGN_ECDSA)),
        KeySpec::Ed25519 => Some((46, SIGN_EDDSA)),
        KeySpec::Rsa3072 => Some((10, SIGN_PSS)),
        KeySpec::Bip32Seed | KeySpec::Aes256 => None,
    }
}

impl YubihsmProvider {
    /// Checks that a key can be made that may leave, and says how the device knows it.
    pub(super) fn leaving(&self, ctx: &KeyContext, template: KeyTemplate) -> Result<(u8, u64)> {
        let unable = || self.unsupported(format!("make {} keys that can leave it", ctx.spec));
        if template.residence.is_some_and(|wish| wish != Residence::Device) || self.wrap_key.is_none() {
            return Err(unable());
        }
        device_terms(ctx.spec).ok_or_else(unable)
    }

    /// Makes or takes in a key natively, with its label beside it, and has the inner provider find it.
    pub(super) async fn place(
        &self,
        ctx: &KeyContext,
        rights: (u8, u64),
        how: Arrival<'_>,
    ) -> Result<Generated> {
        let mut talk = self.converse(ctx.deadline).await.map_err(|error| self.mine(error))?;
        let placed = self.placed(&mut talk, ctx, rights, how).await;
        talk.close().await;
        let (target, companion, public) = placed?;
        match self.adopt(ctx, public).await {
            Ok(made) => Ok(made),
            Err(error) => {
                self.take_away(ctx, target, companion).await;
                Err(error)
            }
        }
    }

    async fn placed(
        &self,
        talk: &mut Conversation<'_>,
        ctx: &KeyContext,
        (algorithm, rights): (u8, u64),
        how: Arrival<'_>,
    ) -> Result<(Target, u16, PublicMaterial)> {
        let label = key_label(ctx);
        if self.find(talk, &label).await.map_err(|error| self.mine(error))?.is_some() {
            return Err(Error::Unavailable {
                provider: self.inner.id().to_owned(),
                reason: "the device already holds this key and version: destroy it first".to_owned(),
            });
        }
        let id = match self.arrive(talk, &label, algorithm, rights, how).await {
            Ok(id) => id,
            Err(error::Error::Device { reason: DeviceError::AuthenticationFailed, .. }) => {
                return Err(Error::invalid(
                    "transfer",
                    "it was not wrapped under this device's wrap key, or altered since",
                ));
            }
            Err(error) => return Err(self.mine(error)),
        };
        let mut companion = None;
        let settled = self.settle(talk, ctx, &label, id, algorithm, &mut companion).await;
        match (settled, companion) {
            (Ok((target, public)), Some(companion)) => Ok((target, companion, public)),
            (outcome, companion) => {
                // What was made and cannot be used is not left behind.
                Self::erase(talk, id, companion).await;
                Err(outcome.err().unwrap_or(Error::Internal("a key without its label")))
            }
        }
    }

    async fn arrive(
        &self,
        talk: &mut Conversation<'_>,
        label: &str,
        algorithm: u8,
        rights: u64,
        how: Arrival<'_>,
    ) -> error::Result<u16> {
        let object = NewObject {
            label: device_label(label),
            domains: talk.own_domains(self.credentials.id).await?,
            capabilities: rights | EXPORTABLE,
            algorithm,
        };
        match how {
            Arrival::Made => talk.generate(&object).await,
            Arrival::Imported(secret) => talk.put_key(&object, secret.expose_secret()).await,
            Arrival::Wrapped { wrap_key, wrapped } => match talk.import(wrap_key, wrapped).await? {
                (ASYMMETRIC_KEY, id) => Ok(id),
                (kind, id) => {
                    // Only what this call brought in is deleted again.
                    talk.delete(id, kind).await?;
                    Err(error::Error::Protocol("what came in wrapped is no key pair"))
                }
            },
        }
    }

    /// Reads a new key back, and writes its label beside it.
    async fn settle(
        &self,
        talk: &mut Conversation<'_>,
        ctx: &KeyContext,
        label: &str,
        id: u16,
        algorithm: u8,
        companion: &mut Option<u16>,
    ) -> Result<(Target, PublicMaterial)> {
        let mine = |error: error::Error| self.mine(error);
        let info = talk.object_info(id, ASYMMETRIC_KEY).await.map_err(mine)?;
        if info.algorithm != algorithm {
            return Err(Error::invalid("transfer", format!("it holds no {} key", ctx.spec)));
        }
        let (found, bytes) = talk.public_key(id).await.map_err(mine)?;
        if found != algorithm {
            return Err(self.wrong("a public key of another sort"));
        }
        let public =
            public_material(ctx.spec, &bytes).ok_or_else(|| self.wrong("a public key that is none"))?;
        let target = Target { kind: ASYMMETRIC_KEY, id, sequence: info.sequence };
        *companion = Some(talk.describe(&target, info.domains, label).await.map_err(mine)?);
        self.remember(label, target);
        Ok((target, public))
    }

    /// The inner provider's handle for a key that came into the device past it.
    ///
    /// Yubico's module overlooks what it did not make itself until it is started anew: the inner provider's profile has to
    /// know that its listing may be stale.
    async fn adopt(&self, ctx: &KeyContext, public: PublicMaterial) -> Result<Generated> {
        let held = self.inner.inventory(ctx.deadline).await?;
        let ours = held
            .into_iter()
            .find(|held| (held.tenant, held.key, held.version) == (ctx.tenant, ctx.key, ctx.version));
        let handle = ours.ok_or_else(|| Error::Missing(self.inner.id().to_owned()))?.handle;
        Ok(Generated { handle, public, residence: Residence::Device })
    }

    async fn take_away(&self, ctx: &KeyContext, target: Target, companion: u16) {
        self.known().remove(&key_label(ctx));
        match self.converse(ctx.deadline).await {
            Ok(mut talk) => {
                Self::erase(&mut talk, target.id, Some(companion)).await;
                talk.close().await;
            }
            Err(error) => {
                tracing::warn!(provider = self.inner.id(), object = target.id, %error, "a key is left in the device");
            }
        }
    }

    async fn erase(talk: &mut Conversation<'_>, id: u16, companion: Option<u16>) {
        let mut doomed = vec![(id, ASYMMETRIC_KEY)];
        doomed.extend(companion.map(|companion| (companion, OPAQUE)));
        for (id, kind) in doomed {
            if let Err(error) = talk.delete(id, kind).await {
                tracing::warn!(object = id, kind, %error, "an object is left in the device");
            }
        }
    }
}

/// A public key as the device gives it: a point's coordinates, an Ed25519 key, an RSA modulus (the exponent is 65537).
fn public_material(spec: KeySpec, bytes: &[u8]) -> Option<PublicMaterial> {
    let point = || [&[4], bytes].concat();
    Some(match spec {
        KeySpec::Secp256k1 => PublicMaterial::Secp256k1 { public_key: PublicKey::from_slice(&point()).ok()? },
        KeySpec::P256 => PublicMaterial::P256 { public_key: point().try_into().ok()? },
        KeySpec::Ed25519 => PublicMaterial::Ed25519 { public_key: bytes.try_into().ok()? },
        KeySpec::Rsa3072 => {
            let modulus: &[u8; 384] = bytes.try_into().ok()?;
            // `RSAPublicKey` of a modulus of 3072 bits, whose highest bit is set: two headers, two numbers.
            if modulus[0] < 0x80 {
                return None;
            }
            const HEAD: [u8; 9] = [0x30, 0x82, 0x01, 0x8a, 0x02, 0x82, 0x01, 0x81, 0x00];
            const EXPONENT: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];
            PublicMaterial::Rsa3072 { public_key: [&HEAD[..], modulus, &EXPONENT].concat() }
        }
        KeySpec::Bip32Seed | KeySpec::Aes256 => return None,
    })
}
