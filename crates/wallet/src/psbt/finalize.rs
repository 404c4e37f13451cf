//! From signatures to the transaction that goes out.

use anya_primitives::{TenantId, WalletId};
use bdk_wallet::miniscript::psbt::PsbtExt as _;
use bitcoin::{Psbt, Transaction};

use super::{Terms, check::checked_bench, final_txid};
use crate::{
    descriptor::SECP,
    error::{Error, Result},
    wallets::Wallets,
};

impl Wallets {
    /// Checks a fully signed transaction against what was agreed, and makes it ready to be broadcast. Its witnesses are
    /// built from verified signatures alone and run through a script interpreter.
    ///
    /// # Errors
    /// Those of [`check`](Wallets::check) and [`combine`](Wallets::combine); [`Error::Incomplete`] names who has not
    /// signed.
    pub async fn finalize(
        &self,
        tenant: TenantId,
        wallet: WalletId,
        psbt: &Psbt,
        terms: &Terms,
    ) -> Result<Transaction> {
        self.draft(tenant, wallet, |slot, ground, state, _, _| {
            let keys = ground.keys_of(terms.operation, &slot.keys)?;
            let mut bench = checked_bench(psbt, terms, &keys, ground, state)?;
            let agreed = final_txid(bench.transaction, &keys, &bench.spent)?;
            bench.take(psbt)?;
            let signed = bench.signed()?;
            if !signed.complete {
                return Err(Error::Incomplete(signed.missing));
            }
            let finished = signed.psbt.finalize(&*SECP).map_err(|(_, errors)| {
                Error::internal(format!("signatures do not satisfy the script: {errors:?}"))
            })?;
            let transaction = finished.extract(&*SECP).map_err(Error::internal)?;
            if transaction.compute_txid() != agreed {
                return Err(Error::internal("signing changed the transaction"));
            }
            Ok(transaction)
        })
        .await
    }
}
