//! The whole way on a real node.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support;
#[path = "support/world.rs"]
mod world;

use std::sync::Arc;

use anya_keys::{KeySpec, NewKey, Residence};
use anya_pkcs11::{Pkcs11Config, Pkcs11Provider, Profile, TokenSelector, UserKind, WorkerCommand};
use anya_pkcs11_chaos::SoftHsm;
use anya_primitives::{Amount, FeeRate, OperationId, WalletId};
use anya_testkit::{Bitcoind, Options, bitcoind::MINER};
use anya_wallet::{Cosigner, Draft, DraftBump, DraftCpfp, ScriptKind, Signer, Terms, TxStatus, parse_psbt};
use bitcoin::Transaction;
use serde_json::json;
use support::{House, Outsider, RATE, sat, terms};
use world::{World, miner_script, start};

/// The node's own wallet as a cosigner: its key at m/48'/1'/0'/2', and the descriptor of ours imported.
struct NodeSigner {
    node_wallet: &'static str,
    seed: support::Outsider,
}

impl NodeSigner {
    fn new() -> Self {
        Self { node_wallet: "cosigner", seed: support::Outsider::new(77) }
    }

    fn import(&self, node: &Bitcoind, descriptor: &str) {
        let secp = bitcoin::secp256k1::Secp256k1::new();
        let path: bitcoin::bip32::DerivationPath = "48'/1'/0'/2'".parse().unwrap();
        let private = self.seed.root.derive_priv(&secp, &path).unwrap().to_string();
        let public = self.seed.xpub().split_once(']').unwrap().1.to_owned();
        let body = descriptor.split_once('#').unwrap().0.replace(&public, &private);
        let info = node.rpc("getdescriptorinfo", json!([body])).unwrap();
        let signing = format!("{body}#{}", info["checksum"].as_str().unwrap());
        let make = json!({"wallet_name": self.node_wallet, "blank": true, "descriptors": true});
        node.rpc("createwallet", make).unwrap();
        let import = json!([[{"desc": signing, "active": true, "timestamp": 0, "range": [0, 100]}]]);
        let answer = node.rpc_wallet(self.node_wallet, "importdescriptors", import).unwrap();
        assert!(answer.as_array().unwrap().iter().all(|one| one["success"] == json!(true)), "{answer}");
    }

    fn sign(&self, node: &Bitcoind, psbt: &bitcoin::Psbt) -> bitcoin::Psbt {
        let params = json!({"psbt": psbt.to_string(), "sign": true, "finalize": false});
        let answer = node.rpc_wallet(self.node_wallet, "walletprocesspsbt", params).unwrap();
        parse_psbt(answer["psbt"].as_str().unwrap()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_and_checksums_are_the_nodes() {
    let (node, _) = start(Options::default());
    let house = House::new().await;
    let outsider = support::Outsider::new(3);
    for wallet in [house.wpkh().await, house.tr().await, house.multisig(&outsider.xpub()).await] {
        let descriptor = house.wallets.get(house.tenant, wallet).unwrap().descriptor;
        let (body, checksum) = descriptor.split_once('#').unwrap();
        let info = node.rpc("getdescriptorinfo", json!([body])).unwrap();
        assert_eq!(info["checksum"], json!(checksum));
        assert_eq!((&info["isrange"], &info["hasprivatekeys"]), (&json!(true), &json!(false)));
        let theirs = node.rpc("deriveaddresses", json!([descriptor, [0, 14]])).unwrap();
        for index in 0..15 {
            let ours = house.address(wallet).await;
            assert_eq!(theirs[0][index], json!(ours.to_string()), "receive {index}");
        }
        // The change keychain shows in a draft's change.
        let change = node.rpc("deriveaddresses", json!([descriptor, [0, 0]])).unwrap();
        assert_ne!(change[0][0], change[1][0]);
    }
}

/// Receives, pays, mines, reorganises, and begins anew in the middle.
async fn whole_way(
    world: World,
    wallet: WalletId,
    finish: impl AsyncFn(&World, &Draft, &Terms) -> Transaction,
) -> World {
    let funding = world.fund(wallet, 500_000).await;
    world.sees(wallet, funding).await;
    assert_eq!(world.house.balance(wallet).await.untrusted_pending, sat(500_000));
    world.mine(1).await;
    assert_eq!(world.house.balance(wallet).await.spendable, sat(500_000));

    let recipient = miner_script(&world).script_pubkey();
    let (draft, terms) = world.house.reserved(wallet, vec![(recipient, sat(200_000))]).await;
    let world = world.restart().await;
    world.synced().await;
    let transaction = finish(&world, &draft, &terms).await;
    let accept = world.node.rpc("testmempoolaccept", json!([[support::hex(&transaction)]])).unwrap();
    assert_eq!(accept[0]["allowed"], json!(true), "{accept}");
    let node_fee = Amount::from_btc(accept[0]["fees"]["base"].as_f64().unwrap()).unwrap();
    assert_eq!(node_fee, draft.fee);
    let vsize = accept[0]["vsize"].as_u64().unwrap();
    assert!(
        draft.fee.to_sat() * 1000 >= RATE.to_sat_per_kwu() * 4 * (vsize - 1),
        "the node measures the rate as well"
    );
    world.broadcast(&transaction).await;
    world.sees(wallet, draft.txid).await;
    let change = draft.change.unwrap().amount;
    assert_eq!(world.house.balance(wallet).await.trusted_pending, change);
    world.mine(3).await;
    let TxStatus::Confirmed { block, confirmations: 3 } = world.status(wallet, draft.txid).await else {
        panic!("{:?}", world.status(wallet, draft.txid).await)
    };
    assert_eq!(world.house.balance(wallet).await.confirmed, change);

    // The block goes, and the payment waits again.
    world.node.rpc("invalidateblock", json!([block.hash])).unwrap();
    world.synced().await;
    world.sees(wallet, draft.txid).await;
    let balance = world.house.balance(wallet).await;
    assert_eq!((balance.trusted_pending, balance.confirmed), (change, Amount::ZERO));
    let world = world.restart().await;
    world.synced().await;
    world.sees(wallet, draft.txid).await;
    assert_eq!(world.house.balance(wallet).await, balance);
    world.mine(1).await;
    world.house.release(draft.operation).await;
    let balance = world.house.balance(wallet).await;
    assert_eq!((balance.confirmed, balance.spendable, balance.reserved), (change, change, Amount::ZERO));
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_keys_go_the_whole_way() {
    let mut world = World::new().await;
    let sign = async |world: &World, draft: &Draft, terms: &Terms| world.house.finish(draft, terms).await;
    for taproot in [false, true] {
        let wallet = if taproot { world.house.tr().await } else { world.house.wpkh().await };
        world = whole_way(world, wallet, sign).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_multisig_goes_the_whole_way_with_the_nodes_wallet_as_cosigner() {
    let world = World::new().await;
    let cosigner = NodeSigner::new();
    let wallet = world.house.multisig(&cosigner.seed.xpub()).await;
    let descriptor = world.house.wallets.get(world.house.tenant, wallet).unwrap().descriptor;
    cosigner.import(&world.node, &descriptor);
    let finish = async |world: &World, draft: &Draft, terms: &Terms| {
        let (tenant, wallets) = (world.house.tenant, &world.house.wallets);
        let ours = world.house.sign(wallet, &draft.psbt, terms).await.unwrap();
        assert_eq!(ours.needed, 1);
        // As it travels: in base64.
        let sent = parse_psbt(&ours.psbt.to_string()).unwrap();
        let theirs = cosigner.sign(&world.node, &sent);
        let both = wallets.combine(tenant, wallet, &ours.psbt, &theirs).await.unwrap();
        assert!(both.complete, "{:?}", both.missing);
        wallets.finalize(tenant, wallet, &both.psbt, terms).await.unwrap()
    };
    whole_way(world, wallet, finish).await;
}

/// A key of a real PKCS#11 device, which neither leaves it nor derives others, beside a phrase's and a stranger's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_never_leaves_its_device_is_a_cosigner() {
    let world = World::new().await;
    let (tenant, wallets, keyring) = (world.house.tenant, &world.house.wallets, &world.house.keyring);
    let hsm = SoftHsm::new().unwrap();
    let worker = anya_testkit::program("anya-pkcs11", "anya-pkcs11-worker", &["pkcs11", "provider"]);
    let device = Pkcs11Provider::open(Pkcs11Config {
        name: "device".to_owned(),
        module: hsm.module().to_owned(),
        profile: Profile::named("softhsm2").unwrap(),
        token: TokenSelector::Label(hsm.token().label.clone()),
        pin: hsm.token().pin.clone().into(),
        user: UserKind::User,
        initialize_args: None,
        env: hsm
            .env()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into_string().unwrap()))
            .collect(),
        sessions: 2,
        worker: WorkerCommand::program(worker),
        standby: false,
    });
    keyring.attach(Arc::new(device.await.unwrap())).await.unwrap();
    let new = NewKey::new("native", KeySpec::Secp256k1, "device");
    let key = keyring.generate(tenant, new, |_, _| Ok::<_, anya_keys::Error>(())).await.unwrap();
    assert_eq!(key.replicas[0].residence, Residence::Device);
    let outsider = Outsider::new(8);
    let phrase = world.house.key("phrase").await;
    let cosigner = |name: &str, signer| Cosigner { name: name.to_owned(), signer };
    let script = ScriptKind::WshSortedMulti {
        threshold: 2,
        cosigners: vec![
            cosigner("native", Signer::Active { key: key.id, account: 0 }),
            cosigner("phrase", Signer::Reserve { key: phrase, account: 0 }),
            cosigner("outside", Signer::Outside { xpub: outsider.xpub() }),
        ],
    };
    let wallet = world.house.make("native", script).await.unwrap();
    // The node reads the same addresses out of the descriptor.
    let shown = world.node.rpc("deriveaddresses", json!([wallet.descriptor, [0, 1]])).unwrap();
    let wallet = wallet.id;
    for index in 0..2 {
        assert_eq!(shown[0][index], json!(world.house.address(wallet).await.to_string()));
    }
    for amount in [300_000, 200_000] {
        world.fund(wallet, amount).await;
    }
    world.mine(1).await;
    let recipient = miner_script(&world).script_pubkey();
    let (draft, terms) = world.house.reserved(wallet, vec![(recipient, sat(400_000))]).await;
    let ours = world.house.sign(wallet, &draft.psbt, &terms).await.unwrap();
    assert_eq!((ours.signed.as_slice(), ours.needed), (&["native".to_owned()][..], 1));
    let theirs = outsider.sign(&ours.psbt);
    let both = wallets.combine(tenant, wallet, &ours.psbt, &theirs).await.unwrap();
    assert!(both.complete, "{:?}", both.missing);
    let transaction = wallets.finalize(tenant, wallet, &both.psbt, &terms).await.unwrap();
    assert_eq!(transaction.input.len(), 2);
    world.broadcast(&transaction).await;
    world.mine(1).await;
    assert!(matches!(world.status(wallet, draft.txid).await, TxStatus::Confirmed { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_takes_replacements_and_children() {
    let world = World::new().await;
    let (tenant, wallets) = (world.house.tenant, &world.house.wallets);
    for wallet in [world.house.wpkh().await, world.house.tr().await] {
        world.fund(wallet, 400_000).await;
        world.mine(1).await;
        let recipient = miner_script(&world).script_pubkey();
        let (parent, transaction) = world.house.pay(wallet, vec![(recipient.clone(), sat(100_000))]).await;
        world.broadcast(&transaction).await;
        world.sees(wallet, parent.txid).await;

        // The least that the wallet allows is enough for the node.
        let bump = |rate| DraftBump {
            operation: OperationId::new(),
            replaces: parent.txid,
            fee_rate: rate,
            fee_cap: sat(50_000),
        };
        let error = wallets.draft_fee_bump(tenant, wallet, bump(RATE)).await.unwrap_err();
        let anya_wallet::Error::FeeRateTooLow { minimum, .. } = error else { panic!("{error}") };
        let draft = wallets.draft_fee_bump(tenant, wallet, bump(minimum)).await.unwrap();
        world.house.reserve(&draft).await.unwrap();
        let terms_of = |draft: &Draft| Terms { fee_cap: sat(50_000), ..terms(draft) };
        let replacement = world.house.finish(&draft, &terms_of(&draft)).await;
        world.broadcast(&replacement).await;
        world.sees(wallet, draft.txid).await;
        assert_eq!(world.status(wallet, parent.txid).await, TxStatus::Replaced { by: draft.txid });

        let child = DraftCpfp {
            operation: OperationId::new(),
            parent: draft.txid,
            fee_rate: FeeRate::from_sat_per_kwu(5_000),
            fee_cap: sat(50_000),
        };
        let child = wallets.draft_cpfp(tenant, wallet, child).await.unwrap();
        world.house.reserve(&child).await.unwrap();
        let transaction = world.house.finish(&child, &terms_of(&child)).await;
        world.broadcast(&transaction).await;
        let entry = world.mempool_fee(child.txid).await;
        let fees = Amount::from_btc(entry["fees"]["ancestor"].as_f64().unwrap()).unwrap();
        let rate = fees.to_sat() * 1000 / (entry["ancestorsize"].as_u64().unwrap() * 4);
        assert!((4_950..5_200).contains(&rate), "the package pays {rate} sat/kwu");
        world.sees(wallet, child.txid).await;
        world.mine(1).await;
        let status = world.status(wallet, parent.txid).await;
        assert!(matches!(status, TxStatus::Conflicted { by, .. } if by == draft.txid), "{status:?}");
        let held = child.change.unwrap().amount;
        let balance = world.house.balance(wallet).await;
        assert_eq!(balance.confirmed, held);
        assert!(world.node.rpc_wallet(MINER, "gettransaction", json!([draft.txid])).is_ok());
    }
}
