//! Helping a transaction that waits: replacing it (BIP125), or a child that pays for it.

use anya_coinset::{Keychain, MAX_CHAIN};
use anya_primitives::{Amount, FeeRate, TenantId, WalletId};
use bdk_wallet::KeychainKind;
use bitcoin::{Transaction, Weight};

use crate::{
    draft::{Draft, DraftBump, DraftCpfp, Made, Recipient, check_fee_rate, chosen, outputs},
    error::{Error, Result},
    locks::Locks,
    select::{Wanted, fee_for, signed_weight},
    state::State,
    view::{Spendable, View},
    wallets::Wallets,
};

/// What a replacement must pay beyond what it replaces, for its own weight: nodes' default incremental relay fee of
/// 1 sat/vB (BIP125, rule 4).
const INCREMENT: FeeRate = FeeRate::from_sat_per_kwu(250);

/// The weight of an own transaction whose witnesses may not be known: the most it can have.
fn weight(transaction: &Transaction, keys: &crate::descriptor::Keys) -> Weight {
    let mut bare = transaction.clone();
    bare.input.iter_mut().for_each(|input| input.witness.clear());
    transaction.weight().max(signed_weight(&bare, keys))
}

impl Wallets {
    /// Drafts a replacement of an own unconfirmed transaction: the same recipients, all of its coins, and more fee.
    ///
    /// # Errors
    /// [`Error::NotReplaceable`] when the transaction is not all ours, does not signal, or has children;
    /// [`Error::FeeRateTooLow`] with the rate that would do.
    pub async fn draft_fee_bump(&self, tenant: TenantId, wallet: WalletId, bump: DraftBump) -> Result<Draft> {
        check_fee_rate(bump.fee_rate)?;
        let txid = bump.replaces;
        let no = move |reason| Error::NotReplaceable { txid, reason };
        self.draft(tenant, wallet, |slot, ground, state, view, blocks| {
            let waiting = view.waiting(txid)?;
            let old = waiting.decode()?;
            let old_fee = waiting.fee().ok_or_else(|| no("not all of its inputs are this wallet's"))?;
            if !old.input.iter().any(|input| input.sequence.is_rbf()) {
                return Err(no("it does not signal that it may be replaced (BIP125)"));
            }
            if waiting.has_waiting_child() {
                return Err(no(
                    "another unconfirmed transaction spends its outputs and would be lost with it",
                ));
            }
            let replaced = ground.drafts.iter().find(|draft| draft.txid == txid.to_string());
            let path = replaced.and_then(|draft| draft.spend_path);
            let keys = chosen(&slot.keys, path)?;
            let locks = Locks::new(&keys, path.is_some_and(|path| path != slot.keys.path), blocks.height())?;
            let (recipients, change) = split(&old, state);
            let index = match change {
                // Both will never confirm, so the address is used once all the same.
                Some(index) => index,
                None => ground.change_index(state)?,
            };
            let required = own_inputs(&old, view)?;
            let (free, reserved) = ground.free(view);
            // A replacement must not add unconfirmed inputs (BIP125, rule 2).
            let optional = free.into_iter().filter(|coin| coin.height.is_some()).collect();
            locks.require(&required)?;
            let mut ripe = locks.split(optional);
            let wanted = Wanted {
                outputs: outputs(&recipients),
                fee_rate: bump.fee_rate,
                fee_cap: bump.fee_cap,
                extra_fee: Amount::ZERO,
                required,
                optional: std::mem::take(&mut ripe.ripe),
                change: keys.script_at(KeychainKind::Internal, index)?,
                reserved,
                height: blocks.height(),
                keys: &keys,
            };
            let built = wanted.build().map_err(|error| locks.explain(error, &ripe))?;
            // BIP125, rules 3 and 4: more than what it replaces, and its own relay on top.
            let least = old_fee + fee_for(INCREMENT, built.weight)?;
            // Later nodes also want the rate to rise. The replaced one's is taken at the weight it really has.
            let old_rate = rate_up(old_fee, old.weight());
            let minimum = rate_up(least, built.weight).max(above(old_rate));
            if built.fee < least || rate(built.fee, built.weight) < minimum {
                let reason = "a replacement must pay for what it replaces and for itself";
                return Err(Error::FeeRateTooLow { minimum, reason });
            }
            let made = Made { operation: bump.operation, recipients, index, replaces: Some(txid), locks };
            made.draft(tenant, wallet, &keys, state, built)
        })
        .await
    }

    /// Drafts a child that spends the change of an own unconfirmed transaction back to the wallet, with a fee that
    /// brings parent and child together to the wanted rate.
    ///
    /// # Errors
    /// [`Error::NoChild`] when there is no free change to spend; [`Error::FeeRateTooLow`] when the parent pays as much
    /// already.
    pub async fn draft_cpfp(&self, tenant: TenantId, wallet: WalletId, child: DraftCpfp) -> Result<Draft> {
        check_fee_rate(child.fee_rate)?;
        let txid = child.parent;
        let no = move |reason| Error::NoChild { txid, reason };
        self.draft(tenant, wallet, |slot, ground, state, view, blocks| {
            let package = view.waiting(txid)?.waiting_chain(MAX_CHAIN);
            let package = package.ok_or_else(|| no("not all of its parents are known"))?;
            if package.len() > MAX_CHAIN {
                return Err(no("it builds on too many unconfirmed transactions"));
            }
            let mut paid = Amount::ZERO;
            let mut weighs = Weight::ZERO;
            for member in package {
                let unknown = || no("it, or one that it builds on, is not all paid by this wallet");
                paid += member.fee().ok_or_else(unknown)?;
                weighs += weight(&member.decode()?, &slot.keys);
            }
            let lacks = fee_for(child.fee_rate, weighs)?
                .checked_sub(paid)
                .filter(|lacks| *lacks > Amount::ZERO)
                .ok_or(Error::FeeRateTooLow {
                    minimum: above(rate_up(paid, weighs)),
                    reason: "the transaction pays that much already",
                })?;
            let (free, reserved) = ground.free(view);
            let (required, optional): (Vec<_>, Vec<_>) = free.into_iter().partition(|coin: &Spendable| {
                coin.outpoint.txid == txid && coin.keychain == Keychain::Change
            });
            if required.is_empty() {
                return Err(no("it has no change that is free"));
            }
            let locks = Locks::new(&slot.keys, false, blocks.height())?;
            locks.require(&required)?;
            let optional = optional.into_iter().filter(|coin| coin.height.is_some()).collect();
            let mut ripe = locks.split(optional);
            let index = ground.change_index(state)?;
            let wanted = Wanted {
                outputs: Vec::new(),
                fee_rate: child.fee_rate,
                fee_cap: child.fee_cap,
                extra_fee: lacks,
                required,
                optional: std::mem::take(&mut ripe.ripe),
                change: slot.keys.script_at(KeychainKind::Internal, index)?,
                reserved,
                height: blocks.height(),
                keys: &slot.keys,
            };
            let built = wanted.build().map_err(|error| locks.explain(error, &ripe))?;
            let made =
                Made { operation: child.operation, recipients: Vec::new(), index, replaces: None, locks };
            made.draft(tenant, wallet, &slot.keys, state, built)
        })
        .await
    }
}

/// What an own transaction pays to others, and the index of its change.
fn split(old: &Transaction, state: &State) -> (Vec<Recipient>, Option<u32>) {
    let mut recipients = Vec::new();
    let mut change = None;
    for output in &old.output {
        match state.own_script(&output.script_pubkey) {
            Some((KeychainKind::Internal, index)) => change = Some(index),
            _ => recipients.push((output.script_pubkey.clone(), output.value)),
        }
    }
    (recipients, change)
}

/// The coins that an own transaction spends, as if it did not.
fn own_inputs(old: &Transaction, view: &View<'_>) -> Result<Vec<Spendable>> {
    let coin = |input: &bitcoin::TxIn| {
        let outpoint = input.previous_output;
        let (spot, txout) =
            view.set().own_output(outpoint).ok_or_else(|| Error::internal("an own input is known"))?;
        let (_, place) = view.counted(outpoint.txid).ok_or(Error::NoTransaction(outpoint.txid))?;
        Ok(Spendable {
            outpoint,
            value: txout.value,
            keychain: spot.keychain,
            index: spot.index,
            height: place.block().map(|at| at.height),
            shared: false,
        })
    };
    old.input.iter().map(coin).collect()
}

fn rate(fee: Amount, weight: Weight) -> FeeRate {
    FeeRate::from_sat_per_kwu(fee.to_sat().saturating_mul(1000) / weight.to_wu().max(1))
}

fn rate_up(fee: Amount, weight: Weight) -> FeeRate {
    FeeRate::from_sat_per_kwu(fee.to_sat().saturating_mul(1000).div_ceil(weight.to_wu().max(1)))
}

fn above(rate: FeeRate) -> FeeRate {
    FeeRate::from_sat_per_kwu(rate.to_sat_per_kwu().saturating_add(1))
}
