//! Drafting: which transaction would carry out an operation. Nothing changes until the draft is reserved.

use std::collections::{BTreeSet, HashMap};

use anya_primitives::{Amount, FeeRate, OperationId, TenantId, WalletId};
use bdk_wallet::KeychainKind;
use bitcoin::{OutPoint, Psbt, ScriptBuf, TxOut, Txid};

use crate::{
    blocks::Blocks,
    descriptor::Keys,
    error::{Error, Result},
    labels,
    locks::Locks,
    psbt,
    rows::{self, DraftRow},
    select::{Built, Wanted},
    state::State,
    view::{Spendable, View},
    wallets::{Slot, Wallets},
};

/// The most recipients of one payment.
const MAX_RECIPIENTS: usize = 1000;

/// Who is paid, and how much.
pub type Recipient = (ScriptBuf, Amount);

/// Asks for a payment.
#[derive(Clone, Debug)]
pub struct DraftRequest {
    /// The operation that pays.
    pub operation: OperationId,
    /// Who is paid: 1 to 1000 outputs.
    pub recipients: Vec<Recipient>,
    /// What to pay per weight.
    pub fee_rate: FeeRate,
    /// The most that the fee may be.
    pub fee_cap: Amount,
    /// By which of the wallet's ways to spend, as [`Preview`](crate::Preview) numbers them. When none is named, the first one
    /// without a lock whose signers sign by themselves or stand outside is taken.
    pub spend_path: Option<usize>,
}

/// Asks for a replacement of an own transaction that pays the same recipients and a higher fee (BIP125).
#[derive(Clone, Debug)]
pub struct DraftBump {
    /// The operation that replaces.
    pub operation: OperationId,
    /// The transaction to be replaced.
    pub replaces: Txid,
    /// What to pay per weight.
    pub fee_rate: FeeRate,
    /// The most that the fee may be.
    pub fee_cap: Amount,
}

/// Asks for a child that pays for its unconfirmed parent by spending the parent's change.
#[derive(Clone, Debug)]
pub struct DraftCpfp {
    /// The operation that helps.
    pub operation: OperationId,
    /// The transaction to be helped.
    pub parent: Txid,
    /// What parent, unconfirmed ancestors and child are to pay per weight, together.
    pub fee_rate: FeeRate,
    /// The most that the child's fee may be.
    pub fee_cap: Amount,
}

/// What comes back to the wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which output.
    pub vout: u32,
    /// Its index on the change keychain.
    pub index: u32,
    /// What it holds.
    pub amount: Amount,
}

/// A transaction without signatures. Until [`Draft::reserve`] it is only a proposal: another draft may hold the same
/// coins.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Whose wallet.
    pub tenant: TenantId,
    /// Which wallet pays.
    pub wallet: WalletId,
    /// The operation that it is for.
    pub operation: OperationId,
    /// The transaction with all that signers need.
    pub psbt: Psbt,
    /// Its id, which signing does not change.
    pub txid: Txid,
    /// Who is paid.
    pub recipients: Vec<Recipient>,
    /// Its fee.
    pub fee: Amount,
    /// What it pays per weight at least, once signed.
    pub fee_rate: FeeRate,
    /// The coins that it spends.
    pub inputs: Vec<OutPoint>,
    /// What comes back.
    pub change: Option<Change>,
    /// The transaction that it replaces.
    pub replaces: Option<Txid>,
    /// By which of the wallet's ways to spend it is signed.
    pub spend_path: usize,
}

/// What a draft starts from.
pub(crate) struct Ground {
    pub(crate) reserved: HashMap<OutPoint, OperationId>,
    pub(crate) drafts: Vec<DraftRow>,
    /// Coins that no payment may take.
    pub(crate) frozen: BTreeSet<OutPoint>,
}

impl Ground {
    /// The coins that a payment may use, and what other operations hold of such coins.
    pub(crate) fn free(&self, view: &View<'_>) -> (Vec<Spendable>, Amount) {
        let mut free = Vec::with_capacity(view.set().coin_count());
        let mut held = Amount::ZERO;
        for coin in view.set().coins_by_value(view.tip()) {
            if !coin.standing.is_spendable() || self.frozen.contains(&coin.outpoint) {
                continue;
            }
            if self.reserved.contains_key(&coin.outpoint) {
                held += coin.value;
            } else {
                free.push(Spendable::from(&coin));
            }
        }
        (free, held)
    }

    /// A change address that no transaction and no other draft uses.
    pub(crate) fn change_index(&self, state: &State) -> Result<u32> {
        let taken = |index: u32| self.drafts.iter().any(|draft| draft.change_index == Some(index));
        if let Some(index) = state.unused(KeychainKind::Internal).find(|index| !taken(*index)) {
            return Ok(index);
        }
        let next = state.next_index(KeychainKind::Internal)?;
        (next..)
            .find(|index| !taken(*index))
            .ok_or_else(|| Error::internal("a keychain has run out of addresses"))
    }
}

impl Wallets {
    /// Drafts a payment.
    ///
    /// # Errors
    /// [`Error::InsufficientFunds`], [`Error::FeeAboveCap`], [`Error::Dust`], [`Error::TooManyInputs`] and others that
    /// name the field at fault.
    pub async fn draft_payment(
        &self,
        tenant: TenantId,
        wallet: WalletId,
        request: DraftRequest,
    ) -> Result<Draft> {
        check_fee_rate(request.fee_rate)?;
        check_recipients(&request.recipients)?;
        self.draft(tenant, wallet, |slot, ground, state, view, blocks| {
            let keys = chosen(&slot.keys, request.spend_path)?;
            let locks = Locks::new(&keys, request.spend_path.is_some(), blocks.height())?;
            let index = ground.change_index(state)?;
            let (free, reserved) = ground.free(view);
            let mut split = locks.split(free);
            for (at, (script, _)) in request.recipients.iter().enumerate() {
                // It could not be told from change when the payment is checked or replaced.
                if state.own_script(script).is_some_and(|(keychain, _)| keychain == KeychainKind::Internal) {
                    let field = format!("recipients[{at}]");
                    return Err(Error::invalid(field, "is one of the wallet's own change addresses"));
                }
            }
            let wanted = Wanted {
                outputs: outputs(&request.recipients),
                fee_rate: request.fee_rate,
                fee_cap: request.fee_cap,
                extra_fee: Amount::ZERO,
                required: Vec::new(),
                optional: std::mem::take(&mut split.ripe),
                change: keys.script_at(KeychainKind::Internal, index)?,
                reserved,
                height: blocks.height(),
                keys: &keys,
            };
            let built = wanted.build().map_err(|error| locks.explain(error, &split))?;
            let made = Made {
                operation: request.operation,
                recipients: request.recipients,
                index,
                replaces: None,
                locks,
            };
            made.draft(tenant, wallet, &keys, state, built)
        })
        .await
    }

    /// Runs `act` on a consistent look at wallet, chain and reservations.
    pub(crate) async fn draft<T>(
        &self,
        tenant: TenantId,
        wallet: WalletId,
        act: impl FnOnce(&Slot, &Ground, &State, &View<'_>, &Blocks) -> Result<T>,
    ) -> Result<T> {
        let slot = self.inner.slot((tenant, wallet))?;
        let ground = self
            .inner
            .ledger
            .read(tenant, move |tx| {
                let reserved = rows::reservations(tx, wallet)?.into_iter().collect();
                let (drafts, frozen) = (rows::drafts(tx, wallet)?, labels::frozen(tx, wallet)?);
                Ok::<_, Error>(Ground { reserved, drafts, frozen })
            })
            .await?;
        self.inner.reveal_drafts((tenant, wallet), &slot, &ground.drafts).await?;
        let look = |state: &State, view: &View<'_>, blocks: &Blocks| act(&slot, &ground, state, view, blocks);
        self.inner.look((tenant, wallet), &slot, look).await?
    }
}

impl crate::wallets::Inner {
    /// Recognises the change addresses of reserved drafts. They are in the ledger already: [`Draft::reserve`] wrote
    /// them.
    async fn reveal_drafts(
        &self,
        wallet: crate::watch::Address,
        slot: &Slot,
        drafts: &[DraftRow],
    ) -> Result<()> {
        let Some(highest) = drafts.iter().filter_map(|draft| draft.change_index).max() else { return Ok(()) };
        let known = self.look(wallet, slot, |state, _, _| state.revealed(KeychainKind::Internal)).await?;
        if known.is_some_and(|known| known >= highest) {
            return Ok(());
        }
        let mut guard = self.lock(wallet, slot).await?;
        if let Some(state) = guard.as_mut() {
            state.reveal(KeychainKind::Internal, highest)?;
            self.watch_mut().add_news(wallet, state);
        }
        Ok(())
    }
}

/// A draft in the making.
pub(crate) struct Made {
    pub(crate) operation: OperationId,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) index: u32,
    pub(crate) replaces: Option<Txid>,
    pub(crate) locks: Locks,
}

/// The keys, looked at for the way to spend that was asked for.
pub(crate) fn chosen(keys: &Keys, path: Option<usize>) -> Result<Keys> {
    path.map_or_else(|| Ok(keys.clone()), |path| keys.by(path))
}

impl Made {
    pub(crate) fn draft(
        self,
        tenant: TenantId,
        wallet: WalletId,
        keys: &Keys,
        state: &State,
        mut built: Built,
    ) -> Result<Draft> {
        self.locks.apply(&mut built.transaction);
        let change = match built.change {
            None => None,
            Some((vout, amount)) => {
                let vout = u32::try_from(vout).map_err(Error::internal)?;
                Some(Change { vout, index: self.index, amount })
            }
        };
        let inputs = built.outpoints();
        let spent = psbt::spent(&built.transaction, state)?;
        let txid = psbt::final_txid(&built.transaction, keys, &spent)?;
        let psbt = psbt::blank(&built.transaction, keys, state)?;
        Ok(Draft {
            tenant,
            wallet,
            operation: self.operation,
            psbt,
            txid,
            recipients: self.recipients,
            fee: built.fee,
            fee_rate: FeeRate::from_sat_per_kwu(
                built.fee.to_sat().saturating_mul(1000) / built.weight.to_wu().max(1),
            ),
            inputs,
            change,
            replaces: self.replaces,
            spend_path: keys.path,
        })
    }
}

pub(crate) fn outputs(recipients: &[Recipient]) -> Vec<TxOut> {
    let output = |(script, amount): &Recipient| TxOut { value: *amount, script_pubkey: script.clone() };
    recipients.iter().map(output).collect()
}

pub(crate) fn check_fee_rate(fee_rate: FeeRate) -> Result<()> {
    if fee_rate == FeeRate::ZERO {
        return Err(Error::invalid("fee_rate", "must be more than zero"));
    }
    Ok(())
}

fn check_recipients(recipients: &[Recipient]) -> Result<()> {
    if recipients.is_empty() || recipients.len() > MAX_RECIPIENTS {
        return Err(Error::invalid("recipients", format!("must be 1 to {MAX_RECIPIENTS}")));
    }
    for (index, (script, amount)) in recipients.iter().enumerate() {
        let field = format!("recipients[{index}].amount");
        if *amount == Amount::ZERO {
            return Err(Error::invalid(field, "must be more than zero"));
        }
        if *amount > Amount::MAX_MONEY {
            return Err(Error::invalid(field, "is more than there are bitcoin"));
        }
        let payable = script.is_p2pkh() || script.is_p2sh() || script.is_witness_program();
        if !payable {
            return Err(Error::invalid(format!("recipients[{index}]"), "is no address that can be paid"));
        }
        let minimum = script.minimal_non_dust();
        if *amount < minimum {
            return Err(Error::Dust { field, amount: *amount, minimum });
        }
    }
    Ok(())
}
