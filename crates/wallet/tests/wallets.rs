//! Wallets, addresses and coins over a chain that the test makes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use anya_chain::{BlockRef, BlockSink};
use anya_primitives::{Amount, Classified, ErrorKind, TenantId, WalletId};
use anya_wallet::{Cosigner, Error, ScriptKind, Signer, TxStatus};
use bitcoin::{Block, BlockHash, hashes::Hash};
use support::{House, Outsider, sat, spend, stranger};

/// All that can be seen of a wallet.
async fn seen(house: &House, wallet: WalletId) -> String {
    let (tenant, wallets) = (house.tenant, &house.wallets);
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?}",
        wallets.get(tenant, wallet).unwrap(),
        wallets.balance(tenant, wallet).await.unwrap(),
        wallets.coins(tenant, wallet, None, 200).await.unwrap(),
        wallets.transactions(tenant, wallet, None, 200).await.unwrap(),
        wallets.addresses(tenant, wallet, None, 200).await.unwrap(),
        wallets.tip(),
    )
}

#[tokio::test]
async fn wallets_are_made_found_and_kept_apart() {
    let mut house = House::new().await;
    house.mine_empty(5).await;
    let key = house.key("one").await;
    let info = house.make("first", ScriptKind::Wpkh { key, account: 0 }).await.unwrap();
    assert_eq!(info.birthday_height, 5);
    assert!(info.descriptor.starts_with("wpkh([") && info.descriptor.contains("/84'/1'/0']tpub"));
    let again = house.make("first", ScriptKind::Wpkh { key, account: 1 }).await.unwrap_err();
    assert!(matches!(again, Error::NameTaken(_)));
    let same = house.make("second", ScriptKind::Wpkh { key, account: 0 }).await.unwrap_err();
    assert!(matches!(same, Error::SameDescriptor));
    let second = house.make("second", ScriptKind::Tr { key, account: 7 }).await.unwrap();
    assert!(second.descriptor.starts_with("tr([") && second.descriptor.contains("/86'/1'/7']tpub"));

    let list = |after, limit| house.wallets.list(house.tenant, after, limit);
    let page = list(None, 1).unwrap();
    assert_eq!((page.items.as_slice(), page.next), (&[info.clone()][..], Some(info.id)));
    let page = list(page.next, 1).unwrap();
    assert_eq!((page.items.as_slice(), page.next), (&[second][..], None));
    assert!(list(None, 0).is_err() && list(None, 201).is_err());
    assert!(house.wallets.list(TenantId::new(), None, 10).unwrap().items.is_empty());
    assert!(matches!(house.wallets.get(TenantId::new(), info.id), Err(Error::NoWallet(_))));
    for name in ["", " x", "x\n", &"x".repeat(65)] {
        assert!(house.make(name, ScriptKind::Wpkh { key, account: 3 }).await.is_err(), "{name:?}");
    }
    assert!(house.make("far", ScriptKind::Wpkh { key, account: 1 << 31 }).await.is_err());
}

#[tokio::test]
async fn a_multisig_must_not_let_one_key_count_twice() {
    let house = House::new().await;
    let outsider = Outsider::new(1);
    let good = house.multisig_script(2, &outsider.xpub()).await;
    let ScriptKind::WshSortedMulti { cosigners, .. } = &good else { unreachable!() };
    let with = |threshold, cosigners: Vec<Cosigner>| ScriptKind::WshSortedMulti { threshold, cosigners };
    let replaced = |at: usize, signer: Signer| {
        let mut list = cosigners.clone();
        list[at].signer = signer;
        list
    };
    let Signer::Active { key, .. } = cosigners[0].signer else { unreachable!() };
    let mut same_name = cosigners.clone();
    same_name[1].name = same_name[0].name.clone();
    let info = house.make("good", good.clone()).await.unwrap();
    let ours = info.descriptor.split(['(', ',']).nth(3).unwrap().split_once("/<").unwrap().0.to_owned();
    let cases = [
        ("no threshold", with(0, cosigners.clone())),
        ("threshold too high", with(4, cosigners.clone())),
        ("one cosigner", with(1, cosigners[..1].to_vec())),
        ("one name twice", with(2, same_name)),
        ("one key twice", with(2, replaced(1, Signer::Reserve { key, account: 5 }))),
        ("our key again from outside", with(2, replaced(2, Signer::Outside { xpub: ours }))),
        (
            "a private key",
            with(
                2,
                replaced(2, Signer::Outside { xpub: format!("[00000000/48h/1h/0h/2h]{}", outsider.root) }),
            ),
        ),
        (
            "another network",
            with(2, replaced(2, Signer::Outside { xpub: outsider.xpub().replace("tpub", "xpub") })),
        ),
    ];
    for (what, script) in cases {
        let error = house.make(what, script).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error}");
        assert!(!error.to_string().contains("prv"), "{error}");
    }
}

#[tokio::test]
async fn what_is_not_recorded_did_not_happen() {
    let house = House::new().await;
    let wallet = house.wpkh().await;
    let first = house.address(wallet).await;
    let refuse = |_: &anya_store::TenantTx<'_>, _: &_| Err(Error::ChangeTaken);
    let refused = house.wallets.new_address_recorded(house.tenant, wallet, None, refuse).await;
    assert!(matches!(refused, Err(Error::ChangeTaken)));
    let second = house.wallets.new_address(house.tenant, wallet, Some("rent".into())).await.unwrap();
    assert_eq!(second.index, 1);
    assert_ne!(first, second.address);
    let found = house.wallets.find_address(house.tenant, &second.address).await.unwrap();
    assert_eq!(found, Some((wallet, second.clone())));
    assert_eq!(house.wallets.find_address(TenantId::new(), &second.address).await.unwrap(), None);
    let page = house.wallets.addresses(house.tenant, wallet, Some(0), 1).await.unwrap();
    assert_eq!((page.items.as_slice(), page.next), (&[second][..], None));

    let key = house.key("refused").await;
    let new = anya_wallet::NewWallet { name: "refused".into(), script: ScriptKind::Tr { key, account: 0 } };
    let calls = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let made = house.wallets.create(house.tenant, new.clone(), move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        Err(Error::ChangeTaken)
    });
    assert!(made.await.is_err());
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(house.wallets.list(house.tenant, None, 10).unwrap().items.len(), 1);
    house.wallets.create(house.tenant, new, |_, _| Ok::<_, Error>(())).await.unwrap();
}

#[tokio::test]
async fn addresses_asked_for_at_once_all_differ() {
    let house = House::new().await;
    let wallet = house.wpkh().await;
    let asked = (0..20).map(|_| {
        let (wallets, tenant) = (house.wallets.clone(), house.tenant);
        tokio::spawn(async move { wallets.new_address(tenant, wallet, None).await.unwrap().index })
    });
    let mut indexes = Vec::new();
    for task in asked.collect::<Vec<_>>() {
        indexes.push(task.await.unwrap());
    }
    indexes.sort_unstable();
    assert_eq!(indexes, (0..20).collect::<Vec<_>>());
    // Callers that go away: nothing is shown twice afterwards.
    for _ in 0..10 {
        let (wallets, tenant) = (house.wallets.clone(), house.tenant);
        let asked = tokio::spawn(async move { wallets.new_address(tenant, wallet, None).await });
        tokio::task::yield_now().await;
        asked.abort();
    }
    let last = house.wallets.new_address(house.tenant, wallet, None).await.unwrap();
    let page = house.wallets.addresses(house.tenant, wallet, None, 200).await.unwrap();
    assert_eq!(page.items.last(), Some(&last));
    assert_eq!(page.items.len(), usize::try_from(last.index).unwrap() + 1);
}

#[tokio::test]
async fn coins_go_from_pending_to_confirmed_and_back() {
    let mut house = House::new().await;
    let wallet = house.wpkh().await;
    let bystander = house.tr().await;
    let script = house.address(wallet).await.script_pubkey();
    let payment = house.payment(&[(script, sat(70_000)), (stranger(1), sat(5))]);
    house.mempool(std::slice::from_ref(&payment), &[]).await;
    let balance = house.balance(wallet).await;
    assert_eq!((balance.untrusted_pending, balance.spendable), (sat(70_000), Amount::ZERO));
    assert!(matches!(
        house.draft(wallet, vec![(stranger(1), sat(1_000))]).await,
        Err(Error::InsufficientFunds { .. })
    ));
    let status = async |house: &House| {
        house.wallets.tx_status(house.tenant, wallet, payment.compute_txid()).await.unwrap()
    };
    assert_eq!(status(&house).await, TxStatus::Mempool);

    let block = house.mine(std::slice::from_ref(&payment)).await;
    let balance = house.balance(wallet).await;
    assert_eq!(
        (balance.untrusted_pending, balance.confirmed, balance.spendable),
        (Amount::ZERO, sat(70_000), sat(70_000))
    );
    house.mine_empty(2).await;
    assert_eq!(status(&house).await, TxStatus::Confirmed { block, confirmations: 3 });
    let page = house.wallets.transactions(house.tenant, wallet, None, 10).await.unwrap();
    assert_eq!((page.items[0].confirmations, page.items[0].block_height), (3, Some(block.height)));

    house.unmine().await;
    house.unmine().await;
    house.unmine().await;
    assert_eq!(status(&house).await, TxStatus::Unknown);
    assert_eq!(house.balance(wallet).await.confirmed, Amount::ZERO);
    house.mempool(std::slice::from_ref(&payment), &[]).await;
    assert_eq!(status(&house).await, TxStatus::Mempool);
    assert_eq!(BlockSink::unconfirmed(&house.wallets).await.unwrap(), [payment.compute_txid()]);
    house.mempool(&[], &[payment.compute_txid()]).await;
    assert_eq!(status(&house).await, TxStatus::Unknown);
    let again = house.mine(std::slice::from_ref(&payment)).await;
    assert_eq!(status(&house).await, TxStatus::Confirmed { block: again, confirmations: 1 });

    let before = (seen(&house, wallet).await, seen(&house, bystander).await);
    let house = house.restarted().await;
    assert_eq!((seen(&house, wallet).await, seen(&house, bystander).await), before);
}

#[tokio::test]
async fn a_coin_that_was_paid_twice_is_not_counted() {
    let mut house = House::new().await;
    let wallet = house.wpkh().await;
    let script = house.address(wallet).await.script_pubkey();
    let payment = house.payment(&[(script, sat(70_000))]);
    house.mempool(std::slice::from_ref(&payment), &[]).await;
    // The payer sends the same coin elsewhere, past this wallet.
    let elsewhere = spend(&[payment.input[0].previous_output], &[(stranger(9), sat(69_000))]);
    let at = house.mine(std::slice::from_ref(&elsewhere)).await;
    let status = house.wallets.tx_status(house.tenant, wallet, payment.compute_txid()).await.unwrap();
    assert_eq!(status, TxStatus::Conflicted { by: elsewhere.compute_txid(), confirmed_at: at });
    let balance = house.balance(wallet).await;
    assert_eq!((balance.untrusted_pending, balance.confirmed), (Amount::ZERO, Amount::ZERO));
    assert!(house.wallets.transactions(house.tenant, wallet, None, 10).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_coinbase_ripens_in_a_hundred_blocks() {
    let mut house = House::new().await;
    let wallet = house.wpkh().await;
    let script = house.address(wallet).await.script_pubkey();
    let block = house.block(&[], script);
    house.connect(block).await;
    house.mine_empty(98).await;
    let balance = house.balance(wallet).await;
    assert_eq!((balance.immature, balance.spendable), (sat(5_000_000_000), Amount::ZERO));
    house.mine_empty(1).await;
    // Spendable in the next block, which is the hundredth above it.
    let balance = house.balance(wallet).await;
    assert_eq!((balance.immature, balance.spendable), (Amount::ZERO, sat(5_000_000_000)));
}

/// Change of an own payment may be spent at once, but an unconfirmed coin that anyone pays to a change address not.
#[tokio::test]
async fn only_own_change_is_trusted() {
    let mut house = House::new().await;
    let wallet = house.wpkh().await;
    house.fund(wallet, &[100_000]).await;
    let (draft, transaction) = house.pay(wallet, vec![(stranger(1), sat(10_000))]).await;
    house.wallets.note_broadcast(&transaction).await.unwrap();
    let change = draft.change.unwrap();
    let script = transaction.output[change.vout as usize].script_pubkey.clone();
    let gift = house.payment(&[(script, sat(7_000))]);
    house.mempool(&[gift], &[]).await;
    let balance = house.balance(wallet).await;
    assert_eq!((balance.trusted_pending, balance.untrusted_pending), (change.amount, sat(7_000)));
    assert_eq!(balance.spendable, change.amount);
}

#[tokio::test]
async fn blocks_resume_where_they_were_and_repeats_do_no_harm() {
    let mut house = House::new().await;
    let wallet = house.wpkh().await;
    house.fund(wallet, &[10_000]).await;
    house.mine_empty(130).await;
    house.fund(wallet, &[20_000]).await;
    for _ in 0..50 {
        house.mine(&[]).await;
    }
    // The last blocks hold nothing and were not written: after a crash they come again.
    let blocks = house.blocks.clone();
    let mut house = house.restarted().await;
    let held = BlockSink::position(&house.wallets).await.unwrap();
    let top = held[0];
    assert!(top.height >= 131 && top.height <= house.tip().height, "{top:?}");
    assert!(held.windows(2).all(|pair| pair[0].height == pair[1].height + 1));
    for (height, block) in blocks.iter().enumerate().skip(top.height as usize) {
        let at = BlockRef { height: u32::try_from(height).unwrap(), hash: block.block_hash() };
        BlockSink::connect(&house.wallets, block, at).await.unwrap();
    }
    assert_eq!(house.wallets.tip(), Some(house.tip()));
    assert_eq!(house.balance(wallet).await.confirmed, sat(30_000));
    let stray = house.block(&[], stranger(1));
    let wrong = Block {
        header: bitcoin::block::Header { prev_blockhash: BlockHash::all_zeros(), ..stray.header },
        ..stray
    };
    let at = BlockRef { height: house.tip().height + 1, hash: wrong.block_hash() };
    assert!(BlockSink::connect(&house.wallets, &wrong, at).await.is_err());
    assert_eq!(house.wallets.tip(), Some(house.tip()));
}

/// A long life: many pieces of state are merged, and nothing of them is lost.
#[tokio::test]
async fn merged_state_is_the_same_state() {
    let mut house = House::new().await;
    let wallet = house.wpkh().await;
    let mut total = 0;
    for number in 1..=40 {
        house.fund(wallet, &[1_000 * number]).await;
        total += 1_000 * number;
        if number % 7 == 0 {
            house.unmine().await;
            total -= 1_000 * number;
        }
    }
    assert_eq!(house.balance(wallet).await.confirmed, sat(total));
    let before = seen(&house, wallet).await;
    let house = house.restarted().await;
    assert_eq!(seen(&house, wallet).await, before);
}

/// Two wallets that share an address, of two tenants: both see the coin.
#[tokio::test]
async fn a_shared_script_reaches_every_wallet() {
    let mut house = House::new().await;
    let outsiders = [Outsider::new(1), Outsider::new(2)];
    let cosigner = |name: &str, outsider: &Outsider| Cosigner {
        name: name.into(),
        signer: Signer::Outside { xpub: outsider.xpub() },
    };
    let script = ScriptKind::WshSortedMulti {
        threshold: 2,
        cosigners: vec![cosigner("a", &outsiders[0]), cosigner("b", &outsiders[1])],
    };
    let first = house.make("shared", script.clone()).await.unwrap().id;
    let own = house.tenant;
    house.tenant = TenantId::new();
    let second = house.make("shared", script).await.unwrap().id;
    let address = house.address(second).await;
    let payment = house.payment(&[(address.script_pubkey(), sat(12_345))]);
    house.mine(&[payment]).await;
    assert_eq!(house.balance(second).await.confirmed, sat(12_345));
    house.tenant = own;
    assert_eq!(house.balance(first).await.confirmed, sat(12_345));
}

/// A block that could not be written leaves no trace in memory, and can be brought again.
#[tokio::test]
async fn a_block_that_was_not_written_was_not_seen() {
    let mut house = House::new().await;
    let wallet = house.wpkh().await;
    house.fund(wallet, &[10_000]).await;
    let before = seen(&house, wallet).await;
    let address = house.address(wallet).await;
    let payment = house.payment(&[(address.script_pubkey(), sat(7_000))]);
    let block = house.block(&[payment], stranger(1));
    let at = BlockRef { height: house.tip().height + 1, hash: block.block_hash() };
    // Something in the way of the row that the block needs.
    let (height, hash) = (at.height, BlockHash::all_zeros().to_string());
    let obstacle = move |tx: &mut anya_store::SystemTx<'_>| {
        let values = anya_store::params! { "height" => height, "hash" => hash };
        tx.execute("INSERT INTO wallet_blocks (height, hash) VALUES (:height, :hash)", &values)
    };
    house.ledger.write_system(obstacle).await.unwrap();
    assert!(BlockSink::connect(&house.wallets, &block, at).await.is_err());
    let clear = move |tx: &mut anya_store::SystemTx<'_>| {
        tx.execute(
            "DELETE FROM wallet_blocks WHERE height = :height",
            &anya_store::params! { "height" => height },
        )
    };
    house.ledger.write_system(clear).await.unwrap();
    let shown = |text: &str| text.rsplit_once("Page { items: [AddressInfo").map(|(rest, _)| rest.to_owned());
    assert_eq!(shown(&seen(&house, wallet).await), shown(&before));
    assert_eq!(BlockSink::position(&house.wallets).await.unwrap()[0], house.tip());
    house.connect(block).await;
    assert_eq!(house.balance(wallet).await.confirmed, sat(17_000));
    let before = seen(&house, wallet).await;
    let house = house.restarted().await;
    assert_eq!(seen(&house, wallet).await, before);
}

/// Everything at once, and nobody waits for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_addresses_drafts_and_mempool_get_along() {
    let mut house = House::new().await;
    let wallets = [house.wpkh().await, house.tr().await];
    for wallet in wallets {
        house.fund(wallet, &[50_000, 50_000]).await;
    }
    let (all, tenant) = (house.wallets.clone(), house.tenant);
    let busy: Vec<_> = wallets
        .into_iter()
        .map(|wallet| {
            let all = all.clone();
            tokio::spawn(async move {
                for _ in 0..30 {
                    all.new_address(tenant, wallet, None).await.unwrap();
                    all.balance(tenant, wallet).await.unwrap();
                    let request = anya_wallet::DraftRequest {
                        operation: anya_primitives::OperationId::new(),
                        recipients: vec![(stranger(1), sat(20_000))],
                        fee_rate: support::RATE,
                        fee_cap: support::CAP,
                        spend_path: None,
                    };
                    all.draft_payment(tenant, wallet, request).await.unwrap();
                }
            })
        })
        .collect();
    let work = async {
        for number in 0..30u64 {
            let address = house.address(wallets[usize::from(number % 2 == 0)]).await;
            let payment = house.payment(&[(address.script_pubkey(), sat(1_000 + number))]);
            house.mempool(std::slice::from_ref(&payment), &[]).await;
            house.mine(&[payment]).await;
            if number % 5 == 4 {
                house.unmine().await;
            }
        }
        for task in busy {
            task.await.unwrap();
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(120), work).await.unwrap();
}

/// Labels go in and come out as BIP329 has them, and a frozen coin pays nothing until it is freed.
#[tokio::test]
async fn labels_are_kept_and_freeze_coins() {
    let mut house = House::new().await;
    let wallet = house.wpkh().await;
    let shown = house.wallets.new_address(house.tenant, wallet, Some("rent".into())).await.unwrap();
    let funding = house.fund(wallet, &[60_000, 50_000]).await;
    let coin = |vout| bitcoin::OutPoint::new(funding.compute_txid(), vout);
    let import = async |house: &House, file: String| {
        house.wallets.import_labels(house.tenant, wallet, &file, |_, _| Ok::<_, Error>(())).await
    };
    let frozen = format!(
        "{{\"type\":\"output\",\"ref\":\"{}\",\"label\":\"dust\",\"spendable\":false}}\n\
         {{\"type\":\"tx\",\"ref\":\"{}\",\"label\":\"pay day\",\"height\":7}}\n\
         {{\"type\":\"novel\",\"ref\":\"x\"}}\n",
        coin(0),
        funding.compute_txid()
    );
    let taken = import(&house, frozen).await.unwrap();
    assert_eq!((taken.taken, taken.ignored, taken.shortened), (2, vec![3], vec![]));
    let error = house.draft(wallet, vec![(support::stranger(1), sat(70_000))]).await.unwrap_err();
    assert!(
        matches!(error, Error::InsufficientFunds { available, .. } if available < sat(50_000)),
        "{error}"
    );
    let draft = house.draft(wallet, vec![(support::stranger(1), sat(20_000))]).await.unwrap();
    assert_eq!(draft.inputs, [coin(1)]);
    assert_eq!(house.wallets.frozen(house.tenant, wallet).await.unwrap(), [coin(0)].into());

    // One bad line, and none is taken.
    let bad = format!(
        "{{\"type\":\"output\",\"ref\":\"{}\",\"spendable\":true}}\n{{\"type\":\"tx\",\"ref\":\"z\"}}",
        coin(0)
    );
    let error = import(&house, bad).await.unwrap_err();
    assert_eq!(error.field(), Some("labels.line 2: ref"), "{error}");
    let house = house.restarted().await;
    assert_eq!(house.wallets.frozen(house.tenant, wallet).await.unwrap(), [coin(0)].into());

    // Page by page, the address's own among them; what says nothing leaves what was said.
    import(&house, format!("{{\"type\":\"output\",\"ref\":\"{}\",\"spendable\":true}}", coin(0)))
        .await
        .unwrap();
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = house.wallets.labels(house.tenant, wallet, after, 1).await.unwrap();
        all.extend(page.items);
        match page.next {
            None => break,
            next => after = next,
        }
    }
    let found: Vec<_> = all
        .iter()
        .map(|label| (label.kind.as_str(), label.label.as_deref().unwrap(), label.spendable))
        .collect();
    assert_eq!(found, [("addr", "rent", None), ("output", "dust", Some(true)), ("tx", "pay day", None)]);
    assert_eq!(all[0].reference, shown.address.to_string());
    assert_eq!(all[2].more["height"], 7);
    house.draft(wallet, vec![(support::stranger(1), sat(70_000))]).await.unwrap();

    let name = format!("{{\"type\":\"addr\",\"ref\":\"{}\",\"label\":\"lease\"}}", shown.address);
    import(&house, name).await.unwrap();
    let page = house.wallets.addresses(house.tenant, wallet, None, 1).await.unwrap();
    assert_eq!(page.items[0].label.as_deref(), Some("lease"));
    let other = house.wallets.frozen(TenantId::new(), wallet).await;
    assert!(matches!(other, Err(Error::NoWallet(_))));
}

/// A ledger from before wallets had several ways to spend opens with its wallets and their reserved drafts.
#[tokio::test]
async fn a_ledger_of_the_first_form_opens() {
    use anya_store::{Ledger, LedgerOptions, params};

    let mut house = House::new().await;
    let outsider = Outsider::new(1);
    let wallets = [house.wpkh().await, house.tr().await, house.multisig(&outsider.xpub()).await];
    house.fund(wallets[0], &[60_000]).await;
    let (draft, _) = house.reserved(wallets[0], vec![(support::stranger(1), sat(20_000))]).await;

    let file = house.folder.path().join("old.sqlite");
    let first: Vec<_> = anya_keys::MIGRATIONS.iter().chain(&anya_wallet::MIGRATIONS[..1]).copied().collect();
    let old = Ledger::open(&file, &first, LedgerOptions::default()).unwrap();
    let tables: [(&str, &str); 2] = [
        ("wallets", "id, name, network, script, accounts, descriptor, birthday, created_at"),
        ("wallet_drafts", "operation, wallet, txid, inputs, change_index"),
    ];
    for (table, columns) in tables {
        let names: Vec<&'static str> = columns.split(", ").collect();
        let select = format!("SELECT {columns} FROM {table} WHERE tenant = :tenant");
        let wanted = names.clone();
        let rows: Vec<Vec<anya_store::Value>> = house
            .ledger
            .read(house.tenant, move |tx| {
                tx.query(&select, &params! {}, |row| {
                    wanted.iter().map(|name| Ok::<_, Error>(row.get::<anya_store::Value>(name)?)).collect()
                })
            })
            .await
            .unwrap();
        assert!(!rows.is_empty());
        let holes = names.iter().map(|name| format!(":{name}")).collect::<Vec<_>>().join(", ");
        let insert = format!("INSERT INTO {table} (tenant, {columns}) VALUES (:tenant, {holes})");
        old.write(house.tenant, move |tx| {
            for row in rows {
                let values: Vec<(&str, anya_store::Value)> = names.iter().copied().zip(row).collect();
                tx.execute(&insert, &values)?;
            }
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
    }
    old.close();

    let ledger = Ledger::open(&file, &support::migrations(), LedgerOptions::default()).unwrap();
    let opened = anya_wallet::Wallets::open(
        ledger.clone(),
        support::open_index(&house.folder.path().join("other-index")),
        house.keyring.clone(),
        house.wallets.network(),
        std::sync::Arc::new(anya_primitives::SystemClock),
    )
    .await
    .unwrap();
    for wallet in wallets {
        assert_eq!(
            opened.get(house.tenant, wallet).unwrap(),
            house.wallets.get(house.tenant, wallet).unwrap()
        );
    }
    let again = draft.clone();
    let error = ledger.write(house.tenant, move |tx| again.reserve(tx)).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyReserved(operation) if operation == draft.operation), "{error}");
}
