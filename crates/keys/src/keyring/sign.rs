//! Use of a key: by what right, how often, and what is released.

use std::{num::NonZero, sync::Arc, thread};

use anya_primitives::{KeyId, TenantId};
use anya_provider::{
    Algorithm, Error as Fault, Expected, KeyContext, KeySpec, MAX_MESSAGE, Message, PublicMaterial,
    SignAlgorithm, SignRequest, Signature,
};
use anya_store::TenantTx;
use aws_lc_rs::rand;
use bitcoin::{bip32::DerivationPath, secp256k1::PublicKey};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use subtle::ConstantTimeEq;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::{Keyring, dispatch::Owned, grants, within, wrong};
use crate::{
    error::{Error, Result},
    key::KeyInfo,
    pool::member::Member,
    row::KeyRow,
    usage::Authority,
};

/// Longer than [`MAX_MESSAGE`] by what encryption may add.
const MAX_CIPHERTEXT: usize = MAX_MESSAGE + 256;
/// Signatures of one call, on one processor, that are in progress at once.
const AT_ONCE: usize = 16;

/// A signature, and who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The signature, verified against the public key in the ledger.
    pub signature: Signature,
    /// The provider that made it.
    pub provider: String,
}

impl Keyring {
    /// Signs by right of the server or of an approved operation. The signature has been verified against the public key
    /// in the ledger.
    ///
    /// # Errors
    /// [`Error::NotGranted`] when the operation may not have this signed; [`Error::Usage`] when the key's rules, or the
    /// authority, do not allow it.
    pub async fn sign(
        &self,
        tenant: TenantId,
        key: KeyId,
        authority: Authority,
        request: &SignRequest<'_>,
    ) -> Result<Signature> {
        let row = self.row(tenant, key).await?;
        self.may_use(tenant, &row.info, authority, request.algorithm.algorithm(), "sign")?;
        if let Authority::Operation(operation) = authority {
            let grant = self.granted(tenant, operation, key).await?;
            self.covered(&grant, operation, key, &digest_of(request)?)?;
        }
        self.sign_row(tenant, &row, request).await.map(|(signature, _)| signature)
    }

    /// Signs many things with one key, several at a time; the signatures come in the order of the requests. All or
    /// none.
    pub async fn sign_many(
        self: &Arc<Self>,
        tenant: TenantId,
        key: KeyId,
        authority: Authority,
        requests: &[SignRequest<'_>],
    ) -> Result<Vec<Signature>> {
        let row = self.row(tenant, key).await?;
        for request in requests {
            self.may_use(tenant, &row.info, authority, request.algorithm.algorithm(), "sign")?;
        }
        if let Authority::Operation(operation) = authority {
            let grant = self.granted(tenant, operation, key).await?;
            for request in requests {
                self.covered(&grant, operation, key, &digest_of(request)?)?;
            }
        }
        let lanes = thread::available_parallelism().map_or(1, NonZero::get).min(AT_ONCE);
        let each = requests.len().div_ceil(lanes).max(1);
        let mut lanes = JoinSet::new();
        for (lane, requests) in requests.chunks(each).enumerate() {
            let owned: Vec<_> = requests.iter().map(Owned::new).collect();
            lanes.spawn(self.clone().sign_lane(tenant, row.clone(), lane, owned));
        }
        let mut signed = Vec::with_capacity(requests.len());
        while let Some(ended) = lanes.join_next().await {
            signed.push(ended.map_err(|_| Error::internal("a signing task ended without an answer"))??);
        }
        signed.sort_unstable_by_key(|(lane, _)| *lane);
        Ok(signed.into_iter().flat_map(|(_, signatures)| signatures).collect())
    }

    /// One processor's share of [`Keyring::sign_many`].
    async fn sign_lane(
        self: Arc<Self>,
        tenant: TenantId,
        row: Arc<KeyRow>,
        lane: usize,
        requests: Vec<Owned>,
    ) -> Result<(usize, Vec<Signature>)> {
        let requests: Vec<_> = requests.iter().map(Owned::borrow).collect();
        // Made before the stream: a closure in it would have to hold for every lifetime, and does not.
        let signatures: Vec<_> =
            requests.iter().map(|request| self.sign_row(tenant, &row, request)).collect();
        let signatures: Vec<_> = stream::iter(signatures)
            .buffered(AT_ONCE)
            .map_ok(|(signature, _)| signature)
            .try_collect()
            .await?;
        Ok((lane, signatures))
    }

    /// Signs for a caller of the API, who has shown no approval: only with keys whose rules allow that. `record` runs in
    /// the ledger transaction that counts the use; the signature is released when that is durable, or not at all.
    ///
    /// # Errors
    /// [`Error::Usage`] when the key signs for operations alone; [`Error::Limit`] when its limit is used up.
    pub async fn sign_direct<E, R>(
        &self,
        tenant: TenantId,
        key: KeyId,
        request: &SignRequest<'_>,
        record: R,
    ) -> Result<Signed, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: FnOnce(&TenantTx<'_>, &KeyInfo, &Signed) -> Result<(), E> + Send + 'static,
    {
        let row = self.row(tenant, key).await?;
        self.may_use(tenant, &row.info, Authority::Caller, request.algorithm.algorithm(), "sign")?;
        let (signature, member) = self.sign_row(tenant, &row, request).await?;
        let signed = Signed { signature, provider: member.id().to_owned() };
        let now = self.clock.now();
        self.ledger
            .write(tenant, move |tx| {
                grants::count(tx, &row.info, 1, now)?;
                record(tx, &row.info, &signed)?;
                Ok(signed)
            })
            .await
    }

    async fn sign_row(
        &self,
        tenant: TenantId,
        row: &Arc<KeyRow>,
        request: &SignRequest<'_>,
    ) -> Result<(Signature, Arc<Member>)> {
        let info = &row.info;
        check_request(info, request)?;
        let expected = match (&info.public, &request.path) {
            (PublicMaterial::Bip32 { .. }, Some(path)) => {
                Expected::Curve(self.public_at(tenant, row, path).await?.public_key)
            }
            (PublicMaterial::Secp256k1 { public_key }, None) => Expected::Curve(*public_key),
            (public, _) => Expected::Other(public),
        };
        let ctx = self.context(tenant, info, self.deadlines.sign);
        self.dispatch(&ctx, row, request, &expected).await
    }

    /// Encrypts `plaintext` under an AES key, binding `aad`. What is returned has been decrypted again to prove that
    /// nothing is lost. Counts as a use.
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
        self.may_use(tenant, &row.info, Authority::Caller, Algorithm::Aes256Gcm, "encrypt")?;
        self.count_use(tenant, &row.info).await?;
        let ctx = self.context(tenant, &row.info, self.deadlines.sign);
        self.on_any(&row, &ctx, |provider, ctx, handle| {
            Box::pin(async move {
                let ciphertext = provider.encrypt(&ctx, &handle, aad, plaintext).await?;
                match provider.decrypt(&ctx, &handle, aad, &ciphertext).await {
                    Ok(again) if bool::from(again.as_slice().ct_eq(plaintext)) => Ok(ciphertext),
                    Ok(_) | Err(Fault::Decrypt) => {
                        Err(wrong(provider.id(), "a ciphertext that does not decrypt"))
                    }
                    Err(error) => Err(error),
                }
            })
        })
        .await
    }

    /// Decrypts what [`Keyring::encrypt`] made with the same key and `aad`. Counts as a use.
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
        self.may_use(tenant, &row.info, Authority::Caller, Algorithm::Aes256Gcm, "decrypt")?;
        self.count_use(tenant, &row.info).await?;
        let ctx = self.context(tenant, &row.info, self.deadlines.sign);
        self.on_any(&row, &ctx, |provider, ctx, handle| {
            Box::pin(async move { provider.decrypt(&ctx, &handle, aad, ciphertext).await })
        })
        .await
    }

    async fn count_use(&self, tenant: TenantId, info: &KeyInfo) -> Result<()> {
        if info.usage.limit.is_none() {
            return Ok(());
        }
        let (info, now) = (info.clone(), self.clock.now());
        self.ledger.write(tenant, move |tx| grants::count(tx, &info, 1, now)).await
    }

    /// Whether state and rules of the key let it be used so.
    fn may_use(
        &self,
        tenant: TenantId,
        info: &KeyInfo,
        authority: Authority,
        algorithm: Algorithm,
        act: &'static str,
    ) -> Result<()> {
        if !info.spec.allows(algorithm) {
            let act = "be used with this algorithm";
            return Err(Fault::WrongSpec { spec: info.spec, act }.into());
        }
        let allowed = if act == "decrypt" { info.state.opens() } else { info.state.protects() };
        if !allowed {
            return Err(Error::State { key: info.id, state: info.state, act });
        }
        // Its time may be over before the schedule has seen to it.
        if act != "decrypt" && info.deactivates_at.is_some_and(|end| end <= self.clock.now()) {
            let state = crate::state::KeyState::Deactivated;
            return Err(Error::State { key: info.id, state, act });
        }
        let refused = |rule| Err(Error::Usage { key: info.id, rule });
        if !info.usage.allows(algorithm) {
            return refused("its rules do not name this algorithm");
        }
        let servers_own = tenant == TenantId::SERVER;
        match authority {
            Authority::Server if !servers_own => refused("the server signs with its own keys alone"),
            Authority::Caller if !servers_own && !info.usage.direct => {
                refused("it signs for approved operations alone: propose one, or make a key with direct use")
            }
            _ => Ok(()),
        }
    }

    /// Has a provider show that it can use the key that it says it has, before anyone relies on its public part: coins
    /// sent to a key that cannot sign are gone.
    pub(super) async fn prove(
        &self,
        member: &Arc<Member>,
        ctx: &KeyContext,
        handle: &[u8],
        public: &PublicMaterial,
    ) -> Result<()> {
        let challenge = challenge()?;
        let request = |algorithm, message| SignRequest { algorithm, path: None, message };
        let request = match public {
            PublicMaterial::Secp256k1 { public_key } => {
                return self.prove_point(member, ctx, handle, None, *public_key).await;
            }
            PublicMaterial::Bip32 { xpub, fingerprint } => {
                if xpub.fingerprint() != *fingerprint || xpub.depth != 0 {
                    return Err(wrong(member.id(), "a root key that does not match its fingerprint").into());
                }
                let path = Some(DerivationPath::master());
                return self.prove_point(member, ctx, handle, path, xpub.public_key).await;
            }
            PublicMaterial::Ed25519 { .. } => request(SignAlgorithm::Ed25519, Message::Bytes(&challenge)),
            PublicMaterial::P256 { .. } => request(SignAlgorithm::EcdsaP256, Message::Bytes(&challenge)),
            PublicMaterial::Rsa3072 { .. } => {
                request(SignAlgorithm::RsaPssSha256, Message::Bytes(&challenge))
            }
            PublicMaterial::Aes256 => {
                let provider = member.provider.as_ref();
                let proof = within(provider.id(), self.deadlines.sign, async {
                    let sealed = provider.encrypt(ctx, handle, &[], &challenge).await?;
                    match provider.decrypt(ctx, handle, &[], &sealed).await?.as_slice() == challenge {
                        true => Ok(()),
                        false => Err(wrong(provider.id(), "a ciphertext that does not decrypt")),
                    }
                });
                return Ok(proof.await?);
            }
        };
        self.attempt(member, ctx, handle, &request, &Expected::Other(public)).await.map(drop)
    }

    /// The same for one point of secp256k1.
    pub(super) async fn prove_point(
        &self,
        member: &Arc<Member>,
        ctx: &KeyContext,
        handle: &[u8],
        path: Option<DerivationPath>,
        point: PublicKey,
    ) -> Result<()> {
        let ecdsa = member.provider.capabilities().computes(ctx.spec, Algorithm::EcdsaSecp256k1);
        let algorithm = match ecdsa {
            true => SignAlgorithm::EcdsaSecp256k1,
            false => SignAlgorithm::SchnorrSecp256k1 { tweak: None },
        };
        let request = SignRequest { algorithm, path, message: Message::Digest(challenge()?) };
        self.attempt(member, ctx, handle, &request, &Expected::Curve(point)).await.map(drop)
    }
}

/// Random bytes, which no transaction's sighash can be made to equal.
pub(super) fn challenge() -> Result<[u8; 32]> {
    let mut challenge = [0; 32];
    rand::fill(&mut challenge).map_err(|_| Error::internal("the random generator failed"))?;
    Ok(challenge)
}

fn at_most(field: &'static str, bytes: &[u8], limit: usize) -> Result<()> {
    if bytes.len() > limit {
        return Err(Error::invalid(field, format!("at most {limit} bytes")));
    }
    Ok(())
}

fn digest_of(request: &SignRequest<'_>) -> Result<[u8; 32]> {
    match request.message {
        Message::Digest(digest) => Ok(digest),
        Message::Bytes(_) => Err(Error::invalid("message", "an operation has digests of 32 bytes signed")),
    }
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
