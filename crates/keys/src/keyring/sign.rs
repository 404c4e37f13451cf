//! Use of a key: ask the provider, believe nothing, release what was checked.

use anya_primitives::{KeyId, TenantId};
use aws_lc_rs::rand;
use bitcoin::{bip32::DerivationPath, secp256k1::PublicKey};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{KeyInfo, KeyState, Keyring, row::KeyRow, within, wrong};
use crate::{
    error::{Error, Result},
    material::{MAX_MESSAGE, Message, PublicMaterial, SignRequest, Signature},
    provider::{KeyContext, Provider},
    spec::{Algorithm, KeySpec, SignAlgorithm},
    verify::Expected,
};

/// Longer than [`MAX_MESSAGE`] by what encryption may add.
const MAX_CIPHERTEXT: usize = MAX_MESSAGE + 256;

impl Keyring {
    /// Signs. The signature has been verified against the public key in the ledger.
    pub async fn sign(&self, tenant: TenantId, key: KeyId, request: &SignRequest<'_>) -> Result<Signature> {
        let row = self.row(tenant, key).await?;
        let (handle, provider) = self.usable(&row, request.algorithm.algorithm(), "sign")?;
        check_request(&row.info, request)?;
        let info = &row.info;
        let expected = match (&info.public, &request.path) {
            (PublicMaterial::Bip32 { .. }, Some(path)) => {
                Expected::Curve(self.public_at(tenant, &row, path).await?.public_key)
            }
            (PublicMaterial::Secp256k1 { public_key }, None) => Expected::Curve(*public_key),
            (public, _) => Expected::Other(public),
        };
        let ctx = self.context(tenant, info.id, info.version, info.spec, self.deadlines.sign);
        self.checked(provider, &ctx, handle, request, &expected).await
    }

    /// Encrypts `plaintext` under an AES key, binding `aad`. What is returned has been decrypted again to prove that
    /// nothing is lost.
    pub async fn encrypt(
        &self,
        tenant: TenantId,
        key: KeyId,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>> {
        at_most("plaintext", plaintext, MAX_MESSAGE)?;
        at_most("aad", aad, MAX_MESSAGE)?;
        let row = self.row(tenant, key).await?;
        let (handle, provider) = self.usable(&row, Algorithm::Aes256Gcm, "encrypt")?;
        let wait = self.deadlines.sign;
        let ctx = self.context(tenant, key, row.info.version, row.info.spec, wait);
        within(provider.id(), wait, async {
            let ciphertext = provider.encrypt(&ctx, handle, aad, plaintext).await?;
            match provider.decrypt(&ctx, handle, aad, &ciphertext).await {
                Ok(again) if bool::from(again.as_slice().ct_eq(plaintext)) => Ok(ciphertext),
                Ok(_) | Err(Error::Decrypt) => Err(wrong(provider, "a ciphertext that does not decrypt")),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Decrypts what [`Keyring::encrypt`] made with the same key and `aad`.
    pub async fn decrypt(
        &self,
        tenant: TenantId,
        key: KeyId,
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        at_most("ciphertext", ciphertext, MAX_CIPHERTEXT)?;
        at_most("aad", aad, MAX_MESSAGE)?;
        let row = self.row(tenant, key).await?;
        let (handle, provider) = self.usable(&row, Algorithm::Aes256Gcm, "decrypt")?;
        let wait = self.deadlines.sign;
        let ctx = self.context(tenant, key, row.info.version, row.info.spec, wait);
        within(provider.id(), wait, provider.decrypt(&ctx, handle, aad, ciphertext)).await
    }

    /// The handle and the provider of a key that may be used in this way now.
    fn usable<'a>(
        &'a self,
        row: &'a KeyRow,
        algorithm: Algorithm,
        act: &'static str,
    ) -> Result<(&'a [u8], &'a dyn Provider)> {
        let info = &row.info;
        if !info.spec.allows(algorithm) {
            return Err(Error::WrongSpec { spec: info.spec, act: "be used with this algorithm" });
        }
        let (KeyState::Active, Some(handle)) = (info.state, &row.handle) else {
            return Err(Error::State { key: info.id, state: info.state, act });
        };
        let provider = self.provider(&info.provider)?;
        if !provider.capabilities().algorithms.contains(&algorithm) {
            return Err(provider.unsupported(format!("compute {algorithm:?}")));
        }
        Ok((handle, provider))
    }

    /// A signature of the provider, verified.
    async fn checked(
        &self,
        provider: &dyn Provider,
        ctx: &KeyContext,
        handle: &[u8],
        request: &SignRequest<'_>,
        expected: &Expected<'_>,
    ) -> Result<Signature> {
        let bytes = within(provider.id(), self.deadlines.sign, provider.sign(ctx, handle, request)).await?;
        self.verifier
            .check(expected, request.algorithm, request.message, &bytes)
            .ok_or_else(|| wrong(provider, "a signature that does not verify"))
    }

    /// Has the provider show that it can use the key that it says it made, before anyone relies on its public part:
    /// coins sent to a key that cannot sign are gone.
    pub(super) async fn prove(
        &self,
        provider: &dyn Provider,
        ctx: &KeyContext,
        handle: &[u8],
        public: &PublicMaterial,
    ) -> Result<()> {
        let challenge = challenge()?;
        let request = |algorithm, message| SignRequest { algorithm, path: None, message };
        let request = match public {
            PublicMaterial::Secp256k1 { public_key } => {
                return self.prove_point(provider, ctx, handle, None, *public_key).await;
            }
            PublicMaterial::Bip32 { xpub, fingerprint } => {
                if xpub.fingerprint() != *fingerprint || xpub.depth != 0 {
                    return Err(wrong(provider, "a root key that does not match its fingerprint"));
                }
                let path = Some(DerivationPath::master());
                return self.prove_point(provider, ctx, handle, path, xpub.public_key).await;
            }
            PublicMaterial::Ed25519 { .. } => request(SignAlgorithm::Ed25519, Message::Bytes(&challenge)),
            PublicMaterial::P256 { .. } => request(SignAlgorithm::EcdsaP256, Message::Bytes(&challenge)),
            PublicMaterial::Rsa3072 { .. } => {
                request(SignAlgorithm::RsaPssSha256, Message::Bytes(&challenge))
            }
            PublicMaterial::Aes256 => {
                return within(provider.id(), self.deadlines.sign, async {
                    let sealed = provider.encrypt(ctx, handle, &[], &challenge).await?;
                    match provider.decrypt(ctx, handle, &[], &sealed).await?.as_slice() == challenge {
                        true => Ok(()),
                        false => Err(wrong(provider, "a ciphertext that does not decrypt")),
                    }
                })
                .await;
            }
        };
        self.checked(provider, ctx, handle, &request, &Expected::Other(public)).await.map(drop)
    }

    /// The same for one point of secp256k1.
    pub(super) async fn prove_point(
        &self,
        provider: &dyn Provider,
        ctx: &KeyContext,
        handle: &[u8],
        path: Option<DerivationPath>,
        point: PublicKey,
    ) -> Result<()> {
        let ecdsa = provider.capabilities().algorithms.contains(&Algorithm::EcdsaSecp256k1);
        let algorithm = match ecdsa {
            true => SignAlgorithm::EcdsaSecp256k1,
            false => SignAlgorithm::SchnorrSecp256k1 { tweak: None },
        };
        let request = SignRequest { algorithm, path, message: Message::Digest(challenge()?) };
        self.checked(provider, ctx, handle, &request, &Expected::Curve(point)).await.map(drop)
    }
}

/// Random bytes, which no transaction's sighash can be made to equal.
fn challenge() -> Result<[u8; 32]> {
    let mut challenge = [0; 32];
    rand::fill(&mut challenge).map_err(|_| Error::Internal("the random generator failed"))?;
    Ok(challenge)
}

fn at_most(field: &'static str, bytes: &[u8], limit: usize) -> Result<()> {
    if bytes.len() > limit {
        return Err(Error::invalid(field, format!("at most {limit} bytes")));
    }
    Ok(())
}

fn check_request(info: &KeyInfo, request: &SignRequest<'_>) -> Result<()> {
    match (info.spec, &request.path) {
        (KeySpec::Bip32Seed, None) => return Err(Error::invalid("path", "a bip32 key signs at a path")),
        (KeySpec::Bip32Seed, Some(_)) | (_, None) => (),
        (_, Some(_)) => return Err(Error::invalid("path", "only bip32 keys have paths")),
    }
    match (request.algorithm, request.message) {
        (SignAlgorithm::EcdsaSecp256k1 | SignAlgorithm::SchnorrSecp256k1 { .. }, Message::Bytes(_)) => {
            Err(Error::invalid("message", "this algorithm signs a digest of 32 bytes"))
        }
        (SignAlgorithm::Ed25519 | SignAlgorithm::RsaPssSha256, Message::Digest(_)) => {
            Err(Error::invalid("message", "this algorithm signs the message itself, not a digest"))
        }
        (_, Message::Bytes(bytes)) => at_most("message", bytes, MAX_MESSAGE),
        (_, Message::Digest(_)) => Ok(()),
    }
}
