//! Uses of a key that show whose it is.

use std::sync::Arc;

use anya_provider::{Algorithm, Error, KeyContext, KeySpec, SignatureBytes};
use zeroize::Zeroizing;

use crate::{
    ask::{Ask, random, variants},
    judge::Seen,
    lab::{Key, Lab},
    verdict::{Stop, fail},
};

/// What only the holder of the private part can make.
#[derive(Debug)]
pub(crate) enum Proof {
    Signature { ask: Ask, bytes: SignatureBytes },
    Ciphertext { text: [u8; 32], bytes: Vec<u8> },
}

/// Bound to every ciphertext.
pub(crate) const AAD: &[u8] = b"anya/conformance";

impl Lab {
    /// The algorithm by which keys of `spec` show that they work, if the provider declares one.
    pub(crate) fn way(&self, spec: KeySpec) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| self.capabilities.computes(spec, *algorithm))
    }

    /// Sorts of keys that can be had and used.
    pub(crate) fn usable(&self) -> Vec<KeySpec> {
        self.specs().into_iter().filter(|spec| self.way(*spec).is_some()).collect()
    }

    /// A request that keys of `spec` can serve; none for ciphers.
    pub(crate) fn ask(&self, spec: KeySpec) -> Result<Option<Ask>, Stop> {
        let Some(algorithm) = self.way(spec) else {
            return fail(format!("no algorithm is declared for {spec} keys"));
        };
        match variants(algorithm)?.into_iter().next() {
            Some(algorithm) => Ask::random(spec, algorithm).map(Some),
            None => Ok(None),
        }
    }

    /// Uses a key once.
    pub(crate) async fn prove(
        &self,
        provider: &dyn anya_provider::Provider,
        ctx: &KeyContext,
        handle: &[u8],
    ) -> Result<Result<Proof, Error>, Stop> {
        match self.ask(ctx.spec)? {
            Some(ask) => {
                let request = ask.request();
                let made = self.answer("sign", ctx.deadline, provider.sign(ctx, handle, &request)).await?;
                drop(request);
                Ok(made.map(|bytes| Proof::Signature { ask, bytes }))
            }
            None => {
                let text = random()?;
                let call = provider.encrypt(ctx, handle, AAD, &text);
                let made = self.answer("encrypt", ctx.deadline, call).await?;
                Ok(made.map(|bytes| Proof::Ciphertext { text, bytes }))
            }
        }
    }

    /// Whether `proof` was made with the private part of `key`.
    pub(crate) async fn confirm(&self, key: &Key, proof: &Proof) -> Result<(), Stop> {
        match proof {
            Proof::Signature { ask, bytes } => self.check(key, ask, bytes).await.map(drop),
            Proof::Ciphertext { text, bytes } => {
                let opened = self.decrypt(key, AAD, bytes).await?;
                if opened[..] == text[..] {
                    Ok(())
                } else {
                    fail("decrypt: what comes out is not what went in")
                }
            }
        }
    }

    /// Uses `key` and sees that it is itself.
    pub(crate) async fn works(&self, key: &Key) -> Result<(), Stop> {
        let proof = match self.prove(&*self.at(key.home), &self.again(&key.ctx), &key.handle).await? {
            Ok(proof) => proof,
            Err(error) => return fail(format!("use a {} key: {error}", key.ctx.spec)),
        };
        self.confirm(key, &proof).await
    }

    /// A signature as it was asked for, judged.
    pub(crate) async fn sign(&self, key: &Key, ask: &Ask) -> Result<(SignatureBytes, Seen), Stop> {
        let (ctx, provider, request) = (self.again(&key.ctx), self.at(key.home), ask.request());
        let act = format!("sign with a {} key", ctx.spec);
        let bytes = self.get(&act, ctx.deadline, provider.sign(&ctx, &key.handle, &request)).await?;
        let seen = self.check(key, ask, &bytes).await?;
        Ok((bytes, seen))
    }

    pub(crate) async fn check(&self, key: &Key, ask: &Ask, bytes: &SignatureBytes) -> Result<Seen, Stop> {
        let point = self.point(key, ask.path.as_ref()).await?;
        match self.judge.check(&point, ask, bytes) {
            Ok(seen) => Ok(seen),
            Err(reason) => fail(format!("{:?} with a {} key: {reason}", ask.algorithm, key.ctx.spec)),
        }
    }

    pub(crate) async fn encrypt(&self, key: &Key, aad: &[u8], text: &[u8]) -> Result<Vec<u8>, Stop> {
        let (ctx, provider) = (self.again(&key.ctx), self.at(key.home));
        self.get("encrypt", ctx.deadline, provider.encrypt(&ctx, &key.handle, aad, text)).await
    }

    pub(crate) async fn decrypt(
        &self,
        key: &Key,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Stop> {
        let (ctx, provider) = (self.again(&key.ctx), self.at(key.home));
        self.get("decrypt", ctx.deadline, provider.decrypt(&ctx, &key.handle, aad, sealed)).await
    }

    /// A shared key of every sort that can be used.
    pub(crate) async fn shared_keys(&self) -> Result<Vec<Arc<Key>>, Stop> {
        let mut keys = Vec::new();
        for spec in self.usable() {
            keys.push(self.shared(spec).await?);
        }
        Ok(keys)
    }
}
