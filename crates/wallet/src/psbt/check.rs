//! Whether a transaction is the one that was agreed.

use anya_primitives::{Amount, OperationId, TenantId, WalletId};
use bdk_wallet::KeychainKind;
use bitcoin::{Psbt, Transaction, TxOut, Txid};

use super::{Spent, Terms, final_txid, signatures::Bench, spent, well_formed};
use crate::{
    descriptor::Keys,
    draft::{Ground, outputs},
    error::{Error, Result},
    state::State,
    wallets::Wallets,
};

/// A transaction that is what was agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its id.
    pub txid: Txid,
    /// Its fee, from the wallet's own record of its inputs.
    pub fee: Amount,
    /// What goes to the recipients.
    pub paid: Amount,
    /// What comes back to the wallet.
    pub change: Amount,
}

impl Wallets {
    /// Whether a PSBT is exactly what was agreed: it is the draft that the operation reserved, it spends coins of this
    /// wallet that the operation holds, every recipient gets exactly the agreed amount, nobody else gets anything, at
    /// most one other output exists and the wallet's own change keychain derives it, the fee is within the cap, and
    /// nothing asks for a signature that covers less than everything.
    ///
    /// # Errors
    /// [`Error::Disagrees`], [`Error::FeeAboveCap`] or [`Error::BadPsbt`] with the first thing that is wrong.
    pub async fn check(
        &self,
        tenant: TenantId,
        wallet: WalletId,
        psbt: &Psbt,
        terms: &Terms,
    ) -> Result<Checked> {
        self.draft(tenant, wallet, |slot, ground, state, _, _| {
            let keys = ground.keys_of(terms.operation, &slot.keys)?;
            let bench = checked_bench(psbt, terms, &keys, ground, state)?;
            agreed(bench.transaction, &bench.spent, terms, &keys, ground, state)
        })
        .await
    }
}

/// The bench of a PSBT that is what was agreed.
pub(super) fn checked_bench<'a>(
    psbt: &'a Psbt,
    terms: &Terms,
    keys: &'a Keys,
    ground: &Ground,
    state: &State,
) -> Result<Bench<'a>> {
    well_formed(psbt)?;
    let bench = Bench::new(&psbt.unsigned_tx, keys, state)?;
    for (number, input) in psbt.inputs.iter().enumerate() {
        bench.check_claims(number, input)?;
    }
    agreed(&psbt.unsigned_tx, &bench.spent, terms, keys, ground, state)?;
    Ok(bench)
}

fn agreed(
    transaction: &Transaction,
    spent: &[Spent],
    terms: &Terms,
    keys: &Keys,
    ground: &Ground,
    state: &State,
) -> Result<Checked> {
    let no = |what: String| Err(Error::Disagrees(what));
    let txid = final_txid(transaction, keys, spent)?;
    match ground.draft_of(terms.operation) {
        None => return no("the operation has reserved no draft".into()),
        Some(draft) if draft != txid.to_string() => return no("it is not the draft that was reserved".into()),
        Some(_) => {}
    }
    for (number, coin) in spent.iter().enumerate() {
        if ground.reserved.get(&coin.outpoint) != Some(&terms.operation) {
            return no(format!("input {number} is not reserved for this operation"));
        }
        // The index was filled from what was seen; the script must come out of the keys again.
        if keys.script_at(coin.keychain, coin.index)? != coin.txout.script_pubkey {
            return no(format!("input {number} does not derive from the wallet's keys"));
        }
    }
    let change = change(transaction, terms, keys, state)?;
    let incoming = total(spent.iter().map(|coin| coin.txout.value))?;
    let outgoing = total(transaction.output.iter().map(|output| output.value))?;
    let Some(fee) = incoming.checked_sub(outgoing) else {
        return no("it pays out more than it takes in".into());
    };
    if fee > terms.fee_cap {
        return Err(Error::FeeAboveCap { fee, cap: terms.fee_cap });
    }
    let change = change.map_or(Amount::ZERO, |output| output.value);
    Ok(Checked { txid, fee, paid: outgoing - change, change })
}

/// The one output that is not for a recipient, proven to be the wallet's own.
fn change<'a>(
    transaction: &'a Transaction,
    terms: &Terms,
    keys: &Keys,
    state: &State,
) -> Result<Option<&'a TxOut>> {
    let no = |what: String| Err(Error::Disagrees(what));
    let mut rest: Vec<&TxOut> = transaction.output.iter().collect();
    for (number, wanted) in outputs(&terms.recipients).iter().enumerate() {
        match rest.iter().position(|output| *output == wanted) {
            Some(at) => drop(rest.swap_remove(at)),
            None => return no(format!("recipient {number} does not get exactly the agreed amount")),
        }
    }
    let change = match rest.as_slice() {
        [] if terms.recipients.is_empty() => return no("it pays nobody".into()),
        [] => return Ok(None),
        [change] => *change,
        _ => return no("it has outputs beside the recipients' and the change".into()),
    };
    match state.own_script(&change.script_pubkey) {
        Some((KeychainKind::Internal, index))
            if keys.script_at(KeychainKind::Internal, index)? == change.script_pubkey =>
        {
            Ok(Some(change))
        }
        _ => no("it pays an output that is neither a recipient's nor the wallet's change".into()),
    }
}

fn total(mut amounts: impl Iterator<Item = Amount>) -> Result<Amount> {
    amounts
        .try_fold(Amount::ZERO, Amount::checked_add)
        .filter(|total| *total <= Amount::MAX_MONEY)
        .ok_or_else(|| Error::Disagrees("its amounts are more than there are bitcoin".into()))
}

impl Ground {
    /// The wallet's keys, looked at for the way to spend by which the operation's draft is signed.
    pub(super) fn keys_of(&self, operation: OperationId, keys: &Keys) -> Result<Keys> {
        let draft = self.drafts.iter().find(|draft| draft.operation == operation);
        draft.and_then(|draft| draft.spend_path).map_or_else(|| Ok(keys.clone()), |path| keys.by(path))
    }

    /// The same, for the operation whose draft a transaction is.
    pub(super) fn keys_for(&self, transaction: &Transaction, keys: &Keys, state: &State) -> Result<Keys> {
        let txid = final_txid(transaction, keys, &spent(transaction, state)?)?.to_string();
        match self.drafts.iter().find(|draft| draft.txid == txid) {
            Some(draft) => self.keys_of(draft.operation, keys),
            None => Ok(keys.clone()),
        }
    }

    fn draft_of(&self, operation: OperationId) -> Option<&str> {
        self.drafts.iter().find(|draft| draft.operation == operation).map(|draft| draft.txid.as_str())
    }
}
