//! Signing with the keyring's keys, and taking over what others signed.

use anya_keys::{Authority, Message, SignAlgorithm, SignRequest, Signature, TapTweak};
use anya_primitives::{KeyId, OperationId, TenantId, WalletId};
use bitcoin::{EcdsaSighashType, Psbt, PublicKey, TapSighashType, bip32::DerivationPath, ecdsa, taproot};

use super::{Signed, Terms, check::checked_bench, signatures::Bench};
use crate::{
    descriptor::Spend,
    error::{Error, Result},
    wallets::Wallets,
};

/// One signature that a key of ours is to make.
#[derive(Clone)]
struct Task {
    input: usize,
    participant: usize,
    key: KeyId,
    public: PublicKey,
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
                let mut bench = checked_bench(psbt, terms, &slot.keys, ground, state)?;
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
        let (spend, tasks) = self
            .draft(tenant, wallet, |slot, ground, state, _, _| {
                let mut bench = checked_bench(psbt, terms, &slot.keys, ground, state)?;
                bench.take(psbt)?;
                Ok((slot.keys.spend, tasks(&bench)?))
            })
            .await?;
        let mut made = Vec::new();
        let mut failed = None;
        for tasks in tasks {
            match self.sign_all(tenant, terms.operation, spend, &tasks).await {
                Ok(signatures) => made.extend(signatures),
                // Another key may do.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let signed = self
            .draft(tenant, wallet, |slot, ground, state, _, _| {
                let mut bench = checked_bench(psbt, terms, &slot.keys, ground, state)?;
                bench.take(psbt)?;
                for (task, signature) in &made {
                    if !bench.enough(task.input) {
                        put(&mut bench, task, signature)?;
                    }
                }
                Ok(bench.signed())
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
        spend: Spend,
        tasks: &[Task],
    ) -> Result<Vec<(Task, Signature)>> {
        let Some(key) = tasks.first().map(|task| task.key) else { return Ok(Vec::new()) };
        let algorithm = match spend {
            Spend::Wpkh | Spend::Wsh => SignAlgorithm::EcdsaSecp256k1,
            Spend::Tr => SignAlgorithm::SchnorrSecp256k1 { tweak: Some(TapTweak { merkle_root: None }) },
        };
        let requests: Vec<_> = tasks
            .iter()
            .map(|task| SignRequest {
                algorithm,
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
        let slot = self.inner.slot((tenant, wallet))?;
        self.inner
            .look((tenant, wallet), &slot, |state, _, _| {
                super::well_formed(base)?;
                let mut bench = Bench::new(&base.unsigned_tx, &slot.keys, state)?;
                bench.take(base)?;
                bench.take(other)?;
                Ok(bench.signed())
            })
            .await?
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
    let mut all = Vec::new();
    for (participant, signer, key) in bench.active() {
        let mut tasks = Vec::new();
        for input in 0..bench.spent.len() {
            if bench.has(input, participant) || bench.enough(input) {
                continue;
            }
            let (public, path) = bench.task(input, &signer)?;
            let digest = bench.digest(input, TapSighashType::Default)?;
            tasks.push(Task { input, participant, key, public, path, digest });
        }
        all.push(tasks);
    }
    Ok(all)
}

/// The keyring's signature is verified once more, against the key that this wallet derives.
fn put(bench: &mut Bench<'_>, task: &Task, signature: &Signature) -> Result<()> {
    match signature {
        Signature::EcdsaSecp256k1(signature) => {
            let sighash_type = EcdsaSighashType::All;
            let signature = ecdsa::Signature { signature: *signature, sighash_type };
            bench.take_ecdsa(task.input, task.participant, task.public, signature)
        }
        Signature::SchnorrSecp256k1(signature) => {
            let sighash_type = TapSighashType::Default;
            bench.take_taproot(task.input, taproot::Signature { signature: *signature, sighash_type })
        }
        _ => Err(Error::internal("a key signed by another algorithm than was asked for")),
    }
}
