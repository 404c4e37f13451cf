//! Signing with the keyring's keys, and taking over what others signed.

use std::collections::BTreeMap;

use anya_keys::{Authority, Message, SignAlgorithm, SignRequest, Signature};
use anya_primitives::{KeyId, OperationId, TenantId, WalletId};
use bitcoin::{EcdsaSighashType, Psbt, TapSighashType, bip32::DerivationPath, ecdsa, taproot};

use super::{Signed, Terms, check::checked_bench, signatures::Bench};
use crate::{
    error::{Error, Result},
    wallets::Wallets,
};

/// One signature that a key of ours is to make.
#[derive(Clone)]
struct Task {
    input: usize,
    /// The key expression that signs.
    at: usize,
    key: KeyId,
    algorithm: SignAlgorithm,
    path: Option<DerivationPath>,
    digest: [u8; 32],
}

impl Wallets {
    /// What [`sign`](Wallets::sign) would have signed: the digests, for each key that signs by itself. The keyring signs
    /// them once the operation was granted them.
    ///
    /// # Errors
    /// Those of [`check`](Wallets::check).
    pub async fn to_sign(
        &self,
        tenant: TenantId,
        wallet: WalletId,
        psbt: &Psbt,
        terms: &Terms,
    ) -> Result<Vec<(KeyId, Vec<[u8; 32]>)>> {
        let tasks = self
            .draft(tenant, wallet, |slot, ground, state, _, _| {
                let keys = ground.keys_of(terms.operation, &slot.keys)?;
                let mut bench = checked_bench(psbt, terms, &keys, ground, state)?;
                bench.take(psbt)?;
                tasks(&bench)
            })
            .await?;
        let digests = tasks.into_iter().filter_map(|tasks| {
            let key = tasks.first()?.key;
            Some((key, tasks.iter().map(|task| task.digest).collect()))
        });
        Ok(digests.collect())
    }

    /// Checks a transaction against what was agreed, and signs it with the keys that sign by themselves, as far as
    /// signatures are needed. Signatures that it has already are kept when they are good. The operation must have been
    /// granted what [`to_sign`](Wallets::to_sign) says.
    ///
    /// # Errors
    /// Those of [`check`](Wallets::check); [`Error::Keys`] when a needed key cannot sign now.
    pub async fn sign(
        &self,
        tenant: TenantId,
        wallet: WalletId,
        psbt: &Psbt,
        terms: &Terms,
    ) -> Result<Signed> {
        let tasks = self
            .draft(tenant, wallet, |slot, ground, state, _, _| {
                let keys = ground.keys_of(terms.operation, &slot.keys)?;
                let mut bench = checked_bench(psbt, terms, &keys, ground, state)?;
                bench.take(psbt)?;
                tasks(&bench)
            })
            .await?;
        let mut made = Vec::new();
        let mut failed = None;
        for tasks in tasks {
            match self.sign_all(tenant, terms.operation, &tasks).await {
                Ok(signatures) => made.extend(signatures),
                // Another key may do.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let signed = self
            .draft(tenant, wallet, |slot, ground, state, _, _| {
                let keys = ground.keys_of(terms.operation, &slot.keys)?;
                let mut bench = checked_bench(psbt, terms, &keys, ground, state)?;
                bench.take(psbt)?;
                for (task, signature) in &made {
                    if !bench.enough(task.input) {
                        put(&mut bench, task, signature)?;
                    }
                }
                bench.signed()
            })
            .await?;
        match failed {
            Some(error) if !signed.complete => Err(error),
            _ => Ok(signed),
        }
    }

    async fn sign_all(
        &self,
        tenant: TenantId,
        operation: OperationId,
        tasks: &[Task],
    ) -> Result<Vec<(Task, Signature)>> {
        let Some(key) = tasks.first().map(|task| task.key) else { return Ok(Vec::new()) };
        let requests: Vec<_> = tasks
            .iter()
            .map(|task| SignRequest {
                algorithm: task.algorithm,
                path: task.path.clone(),
                message: Message::Digest(task.digest),
            })
            .collect();
        let authority = Authority::Operation(operation);
        let made = self.inner.keyring.sign_many(tenant, key, authority, &requests).await?;
        Ok(tasks.iter().cloned().zip(made).collect())
    }

    /// Takes over the signatures of `other` into `base`. Both must be of the same transaction; every signature must be
    /// a cosigner's and verify; nothing else of either is kept.
    ///
    /// # Errors
    /// [`Error::BadPsbt`], [`Error::BadSignature`].
    pub async fn combine(
        &self,
        tenant: TenantId,
        wallet: WalletId,
        base: &Psbt,
        other: &Psbt,
    ) -> Result<Signed> {
        self.draft(tenant, wallet, |slot, ground, state, _, _| {
            super::well_formed(base)?;
            let keys = ground.keys_for(&base.unsigned_tx, &slot.keys, state)?;
            let mut bench = Bench::new(&base.unsigned_tx, &keys, state)?;
            bench.take(base)?;
            bench.take(other)?;
            bench.signed()
        })
        .await
    }

    /// How far a transaction is signed.
    ///
    /// # Errors
    /// As [`combine`](Wallets::combine).
    pub async fn progress(&self, tenant: TenantId, wallet: WalletId, psbt: &Psbt) -> Result<Signed> {
        self.combine(tenant, wallet, psbt, psbt).await
    }
}

/// What the keys that sign by themselves are to sign, for each key.
fn tasks(bench: &Bench<'_>) -> Result<Vec<Vec<Task>>> {
    let mut all: BTreeMap<KeyId, Vec<Task>> = BTreeMap::new();
    for input in 0..bench.spent.len() {
        if bench.enough(input) {
            continue;
        }
        for (at, key) in bench.wanted(input)? {
            let (digest, algorithm) =
                (bench.digest(input, at, TapSighashType::Default)?, bench.algorithm(input, at)?);
            let path = bench.path(input, at)?;
            all.entry(key).or_default().push(Task { input, at, key, algorithm, path, digest });
        }
    }
    Ok(all.into_values().collect())
}

/// The keyring's signature is verified once more, against the key that this wallet derives.
fn put(bench: &mut Bench<'_>, task: &Task, signature: &Signature) -> Result<()> {
    match signature {
        Signature::EcdsaSecp256k1(signature) => {
            let sighash_type = EcdsaSighashType::All;
            let signature = ecdsa::Signature { signature: *signature, sighash_type };
            bench.take_ecdsa(task.input, task.at, signature)
        }
        Signature::SchnorrSecp256k1(signature) => {
            let sighash_type = TapSighashType::Default;
            bench.take_schnorr(
                task.input,
                task.at,
                taproot::Signature { signature: *signature, sighash_type },
            )
        }
        _ => Err(Error::internal("a key signed by another algorithm than was asked for")),
    }
}
