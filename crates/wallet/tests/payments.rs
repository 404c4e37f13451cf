//! Drafting, reserving, signing and finishing payments.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support;

use anya_primitives::{Amount, FeeRate, OperationId, TenantId};
use anya_wallet::{DraftBump, DraftCpfp, DraftRequest, Error, TxStatus};
use bitcoin::{OutPoint, ScriptBuf, Sequence};
use support::{CAP, House, Outsider, RATE, sat, spend, stranger, terms};

fn one_request(amount: u64, fee_cap: Amount) -> DraftRequest {
    let recipients = vec![(stranger(1), sat(amount))];
    DraftRequest { operation: OperationId::new(), recipients, fee_rate: RATE, fee_cap, spend_path: None }
}

#[tokio::test]
async fn a_single_key_pays_by_itself_and_leaves_no_coin_unaccounted() {
    let mut house = House::new().await;
    for wallet in [house.wpkh().await, house.tr().await] {
        house.fund(wallet, &[60_000, 50_000]).await;
        let (draft, transaction) = house.pay(wallet, vec![(stranger(1), sat(70_000))]).await;
        assert_eq!(transaction.compute_txid(), draft.txid);
        for input in &draft.psbt.inputs {
            assert!(input.witness_utxo.is_some() && input.non_witness_utxo.is_some());
            assert_eq!(input.bip32_derivation.len() + input.tap_key_origins.len(), 1);
        }
        assert!(
            transaction.output.contains(&bitcoin::TxOut { value: sat(70_000), script_pubkey: stranger(1) })
        );
        let change = draft.change.unwrap();
        assert_eq!(change.amount + draft.fee + sat(70_000), sat(110_000));
        assert!(transaction.input.iter().all(|input| input.sequence == Sequence::ENABLE_RBF_NO_LOCKTIME));
        assert_eq!(transaction.lock_time.to_consensus_u32(), house.tip().height);
        // Estimates are upper bounds, and not by much.
        let paid = draft.fee.to_sat() * 1000 / transaction.weight().to_wu();
        assert!((RATE.to_sat_per_kwu()..RATE.to_sat_per_kwu() + 10).contains(&paid), "{paid}");

        let balance = house.balance(wallet).await;
        assert_eq!((balance.reserved, balance.spendable), (sat(110_000), Amount::ZERO));
        house.wallets.note_broadcast(&transaction).await.unwrap();
        let balance = house.balance(wallet).await;
        assert_eq!((balance.trusted_pending, balance.confirmed), (change.amount, Amount::ZERO));
        house.mine(&[transaction]).await;
        house.release(draft.operation).await;
        assert_eq!(house.balance(wallet).await.spendable, change.amount);
    }
}

#[tokio::test]
async fn a_multisig_waits_for_its_outside_cosigner() {
    let mut house = House::new().await;
    let outsider = Outsider::new(1);
    let wallet = house.multisig(&outsider.xpub()).await;
    house.fund(wallet, &[100_000, 90_000]).await;
    let (draft, terms) = house.reserved(wallet, vec![(stranger(1), sat(150_000))]).await;
    let ours = house.sign(wallet, &draft.psbt, &terms).await.unwrap();
    assert!(!ours.complete);
    assert_eq!((ours.signed.as_slice(), ours.needed), (&["active".to_owned()][..], 1));
    assert_eq!(ours.missing, ["outside"]);
    let error = house.wallets.finalize(house.tenant, wallet, &ours.psbt, &terms).await.unwrap_err();
    assert!(matches!(error, Error::Incomplete(names) if names == ["outside"]));

    // Theirs alone, then both: the order does not matter.
    let theirs = outsider.sign(&draft.psbt);
    let both = house.wallets.combine(house.tenant, wallet, &ours.psbt, &theirs).await.unwrap();
    assert!(both.complete && both.missing.is_empty());
    let also = house.wallets.combine(house.tenant, wallet, &theirs, &ours.psbt).await.unwrap();
    assert_eq!(both.psbt, also.psbt);
    let transaction = house.wallets.finalize(house.tenant, wallet, &both.psbt, &terms).await.unwrap();
    assert!(transaction.input.iter().all(|input| input.witness.len() == 4));

    // A cosigner may speak version 2.
    let second =
        anya_psbt::Psbt::from_v0(theirs.clone()).unwrap().to_version(anya_psbt::Version::V2).unwrap();
    assert_eq!(anya_wallet::parse_psbt(&second.to_base64()).unwrap(), theirs);

    // A finished PSBT gives its signatures up again.
    let finished = bdk_wallet::miniscript::psbt::PsbtExt::finalize(
        both.psbt.clone(),
        &bitcoin::secp256k1::Secp256k1::new(),
    );
    let again = house.wallets.combine(house.tenant, wallet, &draft.psbt, &finished.unwrap()).await.unwrap();
    assert!(again.complete);
}

#[tokio::test]
async fn requests_that_cannot_be_met_say_why() {
    let mut house = House::new().await;
    let wallet = house.wpkh().await;
    house.fund(wallet, &[50_000, 40_000]).await;
    let draft =
        async |recipients: Vec<(ScriptBuf, Amount)>| house.draft(wallet, recipients).await.unwrap_err();

    let error = draft(vec![(stranger(1), sat(90_000))]).await;
    assert!(
        matches!(error, Error::InsufficientFunds { needed, available, reserved: Amount::ZERO }
            if needed > sat(90_000) && available < sat(90_000) && available > sat(89_000)),
        "{error}"
    );
    assert!(
        matches!(draft(vec![(stranger(1), sat(293))]).await, Error::Dust { minimum, .. } if minimum == sat(294))
    );
    assert!(
        matches!(draft(vec![(stranger(1), Amount::ZERO)]).await, Error::Invalid { field, .. } if field == "recipients[0].amount")
    );
    assert!(matches!(draft(vec![]).await, Error::Invalid { .. }));
    assert!(matches!(
        draft(vec![(ScriptBuf::new_op_return([1; 4]), sat(1000))]).await,
        Error::Invalid { .. }
    ));
    assert!(matches!(draft(vec![(stranger(1), Amount::MAX)]).await, Error::Invalid { .. }));
    let half = Amount::from_sat(Amount::MAX_MONEY.to_sat() / 2 + 1);
    assert!(matches!(draft(vec![(stranger(1), half), (stranger(2), half)]).await, Error::Invalid { .. }));

    let error =
        house.wallets.draft_payment(house.tenant, wallet, one_request(30_000, sat(10))).await.unwrap_err();
    assert!(matches!(error, Error::FeeAboveCap { fee, cap } if fee > sat(200) && cap == sat(10)), "{error}");
    let zero = DraftRequest { fee_rate: FeeRate::ZERO, ..one_request(30_000, CAP) };
    assert!(house.wallets.draft_payment(house.tenant, wallet, zero).await.is_err());
    let absurd = DraftRequest { fee_rate: FeeRate::MAX, ..one_request(30_000, CAP) };
    assert!(house.wallets.draft_payment(house.tenant, wallet, absurd).await.is_err());

    let (held, _) = house.reserved(wallet, vec![(stranger(1), sat(45_000))]).await;
    let error = draft(vec![(stranger(1), sat(60_000))]).await;
    assert!(matches!(error, Error::InsufficientFunds { reserved, .. } if reserved >= sat(50_000)), "{error}");
    house.release(held.operation).await;
    assert_eq!(house.balance(wallet).await.reserved, Amount::ZERO);

    let other = house.wallets.draft_payment(TenantId::new(), wallet, one_request(1000, CAP)).await;
    assert!(matches!(other, Err(Error::NoWallet(_))), "another tenant does not see the wallet");
    for text in ["bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu", "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx"] {
        let error = house.wallets.parse_script("recipients[0].address", text).unwrap_err();
        assert!(matches!(error, Error::WrongNetwork { .. }), "{error}");
    }
    assert!(matches!(house.wallets.parse_script("a", "nonsense").unwrap_err(), Error::Invalid { .. }));
}

#[tokio::test]
async fn many_small_coins_are_refused_rather_than_spent_in_a_transaction_that_nobody_relays() {
    let mut house = House::new().await;
    let wallet = house.wpkh().await;
    let script = house.address(wallet).await.script_pubkey();
    let coins = vec![(script, sat(1_000)); 450];
    let funding = house.payment(&coins);
    house.mine(&[funding]).await;
    let request = DraftRequest { fee_rate: FeeRate::from_sat_per_kwu(250), ..one_request(390_000, CAP) };
    let error = house.wallets.draft_payment(house.tenant, wallet, request).await.unwrap_err();
    assert!(matches!(error, Error::TooManyInputs { needed, .. } if needed > 400), "{error}");
    house.draft(wallet, vec![(stranger(1), sat(100_000))]).await.unwrap();
}

#[tokio::test]
async fn exactly_one_of_two_drafts_gets_the_coin() {
    let mut house = House::new().await;
    let wallet = house.wpkh().await;
    house.fund(wallet, &[100_000]).await;
    let (first, second) = (
        house.draft(wallet, vec![(stranger(1), sat(10_000))]).await.unwrap(),
        house.draft(wallet, vec![(stranger(2), sat(10_000))]).await.unwrap(),
    );
    assert_eq!(first.inputs, second.inputs);
    let (one, two) = tokio::join!(house.reserve(&first), house.reserve(&second));
    let lost = match (&one, &two) {
        (Ok(()), Err(error)) | (Err(error), Ok(())) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(lost, Error::CoinTaken { .. } | Error::ChangeTaken), "{lost}");
    assert!(matches!(
        house.draft(wallet, vec![(stranger(2), sat(1_000))]).await,
        Err(Error::InsufficientFunds { .. })
    ));
    let winner = if one.is_ok() { &first } else { &second };
    house.release(winner.operation).await;
    let again = house.draft(wallet, vec![(stranger(2), sat(10_000))]).await.unwrap();
    house.reserve(&again).await.unwrap();
    assert!(matches!(house.reserve(&again).await, Err(Error::AlreadyReserved(_))));
}

#[tokio::test]
async fn drafts_side_by_side_never_share_a_change_address() {
    let mut house = House::new().await;
    let wallet = house.wpkh().await;
    house.fund(wallet, &[50_000; 40]).await;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..35 {
        let (draft, _) = house.reserved(wallet, vec![(stranger(1), sat(20_000))]).await;
        assert!(seen.insert(draft.change.unwrap().index));
    }
    // All of them are recognised when they come in, also beyond the look-ahead and after a restart.
    let house = house.restarted().await;
    let last = house.draft(wallet, vec![(stranger(1), sat(20_000))]).await.unwrap();
    assert!(seen.insert(last.change.unwrap().index));
}

#[tokio::test]
async fn a_replacement_pays_the_same_and_takes_the_coins_over() {
    let mut house = House::new().await;
    let wallet = house.wpkh().await;
    house.fund(wallet, &[100_000]).await;
    let recipients = vec![(stranger(1), sat(40_000))];
    let (parent, transaction) = house.pay(wallet, recipients.clone()).await;
    let bump = |rate: u64| DraftBump {
        operation: OperationId::new(),
        replaces: parent.txid,
        fee_rate: FeeRate::from_sat_per_kwu(rate),
        fee_cap: CAP,
    };
    let unseen = house.wallets.draft_fee_bump(house.tenant, wallet, bump(2000)).await.unwrap_err();
    assert!(matches!(unseen, Error::NoTransaction(_)));
    house.wallets.note_broadcast(&transaction).await.unwrap();
    let error = house.wallets.draft_fee_bump(house.tenant, wallet, bump(600)).await.unwrap_err();
    let Error::FeeRateTooLow { minimum, .. } = error else { panic!("{error}") };
    let least =
        house.wallets.draft_fee_bump(house.tenant, wallet, bump(minimum.to_sat_per_kwu())).await.unwrap();
    assert!(least.fee >= parent.fee + sat(transaction.vsize() as u64));

    let draft = house.wallets.draft_fee_bump(house.tenant, wallet, bump(2000)).await.unwrap();
    assert_eq!((&draft.recipients, &draft.inputs), (&recipients, &parent.inputs));
    assert_eq!(draft.change.unwrap().index, parent.change.unwrap().index);
    house.reserve(&draft).await.unwrap();
    let rival = house.wallets.draft_fee_bump(house.tenant, wallet, bump(3000)).await.unwrap();
    assert!(matches!(house.reserve(&rival).await, Err(Error::CoinTaken { .. })));
    // The parent no longer holds the coin, so it can no longer be signed.
    assert!(house.sign(wallet, &parent.psbt, &terms(&parent)).await.is_err());
    let replacement = house.finish(&draft, &terms(&draft)).await;
    house.wallets.note_broadcast(&replacement).await.unwrap();
    let status = house.wallets.tx_status(house.tenant, wallet, parent.txid).await.unwrap();
    assert_eq!(status, TxStatus::Replaced { by: draft.txid });
    let balance = house.balance(wallet).await;
    assert_eq!(balance.trusted_pending, draft.change.unwrap().amount);
    house.release(draft.operation).await;
    let page = house.sign(wallet, &parent.psbt, &terms(&parent)).await;
    assert!(page.unwrap().complete, "a released replacement gives the coins back");

    let at = house.mine(&[replacement]).await;
    let status = house.wallets.tx_status(house.tenant, wallet, parent.txid).await.unwrap();
    assert_eq!(status, TxStatus::Conflicted { by: draft.txid, confirmed_at: at });
    let late = house
        .wallets
        .draft_fee_bump(house.tenant, wallet, DraftBump { replaces: draft.txid, ..bump(4000) })
        .await;
    assert!(matches!(late, Err(Error::AlreadyConfirmed(_))));
}

#[tokio::test]
async fn what_is_not_ours_or_has_children_is_not_replaced() {
    let mut house = House::new().await;
    let wallet = house.wpkh().await;
    house.fund(wallet, &[100_000]).await;
    let foreign = house.payment(&[(house.address(wallet).await.script_pubkey(), sat(5_000))]);
    house.mempool(std::slice::from_ref(&foreign), &[]).await;
    let bump = |replaces| DraftBump {
        operation: OperationId::new(),
        replaces,
        fee_rate: FeeRate::from_sat_per_kwu(5000),
        fee_cap: CAP,
    };
    let error =
        house.wallets.draft_fee_bump(house.tenant, wallet, bump(foreign.compute_txid())).await.unwrap_err();
    assert!(matches!(error, Error::NotReplaceable { .. }), "{error}");
    let (parent, transaction) = house.pay(wallet, vec![(stranger(1), sat(40_000))]).await;
    house.wallets.note_broadcast(&transaction).await.unwrap();
    let (_, child) = house.pay(wallet, vec![(stranger(1), sat(10_000))]).await;
    house.wallets.note_broadcast(&child).await.unwrap();
    let error = house.wallets.draft_fee_bump(house.tenant, wallet, bump(parent.txid)).await.unwrap_err();
    assert!(matches!(error, Error::NotReplaceable { .. }), "{error}");
}

#[tokio::test]
async fn a_child_lifts_its_parent_to_the_wanted_rate() {
    let mut house = House::new().await;
    let wallet = house.tr().await;
    house.fund(wallet, &[100_000]).await;
    let (parent, transaction) = house.pay(wallet, vec![(stranger(1), sat(40_000))]).await;
    house.wallets.note_broadcast(&transaction).await.unwrap();
    let cpfp = |rate| DraftCpfp {
        operation: OperationId::new(),
        parent: parent.txid,
        fee_rate: FeeRate::from_sat_per_kwu(rate),
        fee_cap: CAP,
    };
    let error = house.wallets.draft_cpfp(house.tenant, wallet, cpfp(400)).await.unwrap_err();
    assert!(matches!(error, Error::FeeRateTooLow { .. }), "{error}");
    let capped = DraftCpfp { fee_cap: sat(100), ..cpfp(5000) };
    let capped = house.wallets.draft_cpfp(house.tenant, wallet, capped).await.unwrap_err();
    assert!(matches!(capped, Error::FeeAboveCap { .. }), "{capped}");
    let draft = house.wallets.draft_cpfp(house.tenant, wallet, cpfp(5000)).await.unwrap();
    assert_eq!(draft.inputs, [OutPoint::new(parent.txid, parent.change.unwrap().vout)]);
    assert!(draft.recipients.is_empty());
    house.reserve(&draft).await.unwrap();
    let child = house.finish(&draft, &terms(&draft)).await;
    let weight = (transaction.weight() + child.weight()).to_wu();
    let rate = (parent.fee + draft.fee).to_sat() * 1000 / weight;
    assert!((5000..5100).contains(&rate), "{rate}");
    let again = house.wallets.draft_cpfp(house.tenant, wallet, cpfp(9000)).await.unwrap_err();
    assert!(matches!(again, Error::NoChild { .. }), "{again}");
    let unknown = DraftCpfp { parent: spend(&[], &[]).compute_txid(), ..cpfp(5000) };
    assert!(matches!(
        house.wallets.draft_cpfp(house.tenant, wallet, unknown).await,
        Err(Error::NoTransaction(_))
    ));
}
