//! Wallets of any descriptor on a real node: made in every way, paid from on every way to spend, and refused before the node
//! would refuse.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support;
#[path = "support/world.rs"]
mod world;

use anya_descriptor::{Keychain, Lock, Purpose, file};
use anya_primitives::{Classified, ErrorKind, KeyId, OperationId, WalletId};
use anya_wallet::{
    Cosigner, Draft, DraftRequest, Error, HeldBy, Rule, ScriptKind, Signer, Source, Terms, TxStatus,
};
use bitcoin::{
    Transaction,
    bip32::{DerivationPath, Xpub},
    secp256k1::Secp256k1,
};
use serde_json::json;
use support::{CAP, House, Outsider, RATE, hex, sat, terms};
use world::World;

impl Outsider {
    fn at(&self, path: &str) -> String {
        let secp = Secp256k1::new();
        let steps: DerivationPath = path.parse().unwrap();
        let xpub = Xpub::from_priv(&secp, &self.root.derive_priv(&secp, &steps).unwrap());
        format!("[{}/{}]{xpub}", self.root.fingerprint(&secp), path.replace('\'', "h"))
    }
}

impl House {
    async fn try_wallet(&self, name: &str, source: Source) -> Result<WalletId, Error> {
        let new = self.wallets.resolve(self.tenant, name, source).await?;
        Ok(self.wallets.create(self.tenant, new, |_, _| Ok::<_, Error>(())).await?.id)
    }

    async fn wallet(&self, name: &str, source: Source) -> WalletId {
        self.try_wallet(name, source).await.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    async fn account(&self, key: KeyId, path: &str) -> String {
        let path: DerivationPath = path.parse().unwrap();
        let account = self.keyring.account_xpub(self.tenant, key, &path).await.unwrap();
        let mut xpub = account.xpub;
        xpub.network = bitcoin::NetworkKind::Test;
        format!("[{}/{path}]{xpub}", account.fingerprint)
    }

    async fn draft_by(&self, wallet: WalletId, amount: u64, path: Option<usize>) -> Result<Draft, Error> {
        let request = DraftRequest {
            operation: OperationId::new(),
            recipients: vec![(support::stranger(9), sat(amount))],
            fee_rate: RATE,
            fee_cap: CAP,
            spend_path: path,
        };
        self.wallets.draft_payment(self.tenant, wallet, request).await
    }

    async fn reserved_by(&self, wallet: WalletId, amount: u64, path: Option<usize>) -> (Draft, Terms) {
        let draft = self.draft_by(wallet, amount, path).await.unwrap();
        self.reserve(&draft).await.unwrap();
        let terms = terms(&draft);
        (draft, terms)
    }
}

fn active(name: &str, key: KeyId) -> Cosigner {
    Cosigner { name: name.to_owned(), signer: Signer::Active { key, account: 0 } }
}

fn outside(name: &str, xpub: String) -> Cosigner {
    Cosigner { name: name.to_owned(), signer: Signer::Outside { xpub } }
}

fn words(lock: Lock, words: &str, cosigners: Vec<Cosigner>) -> Source {
    Source::Rule { lock, cosigners, rule: Rule::Words(words.to_owned()) }
}

fn descriptor(text: String) -> Source {
    Source::Descriptor { descriptor: text, signers: Vec::new() }
}

async fn sees_addresses(world: &World, wallet: WalletId) {
    let shown = world.house.wallets.describe(world.house.tenant, wallet).unwrap();
    let theirs = world.node.rpc("deriveaddresses", json!([shown.descriptor, [0, 4]])).unwrap();
    for (keychain, ours) in [shown.receive, shown.change].iter().enumerate() {
        for (index, address) in ours.iter().enumerate() {
            assert_eq!(theirs[keychain][index], json!(address.to_string()), "{}", shown.descriptor);
        }
    }
}

/// The node takes it, its id is the draft's, it weighs at most what was reckoned, and it is mined.
async fn goes_through(world: &World, draft: &Draft, transaction: &Transaction) {
    assert_eq!(transaction.compute_txid(), draft.txid);
    let accept = world.node.rpc("testmempoolaccept", json!([[hex(transaction)]])).unwrap();
    assert_eq!(accept[0]["allowed"], json!(true), "{accept}");
    let paid = draft.fee.to_sat() * 1000 / transaction.weight().to_wu();
    assert!((RATE.to_sat_per_kwu()..RATE.to_sat_per_kwu() * 110 / 100).contains(&paid), "{paid} sat/kwu");
    world.broadcast(transaction).await;
    world.sees(draft.wallet, draft.txid).await;
    world.mine(1).await;
    let status = world.status(draft.wallet, draft.txid).await;
    assert!(matches!(status, TxStatus::Confirmed { .. }), "{status:?}");
    world.house.release(draft.operation).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_pays_with_the_keyring_alone() {
    let world = World::new().await;
    let house = &world.house;
    let (a, b, c) = (house.key("a").await, house.key("b").await, house.key("c").await);
    let three = || vec![active("a", a), active("b", b), active("c", c)];
    let (at_a, at_b, at_c) = (
        house.account(a, "86'/1'/7'").await,
        house.account(b, "48'/1'/7'/3'").await,
        house.account(c, "87'/1'/7'").await,
    );
    let kinds = vec![
        ("sh(wpkh)", Source::Single { purpose: Purpose::Bip49, key: a, account: 3 }),
        ("wpkh", Source::Single { purpose: Purpose::Bip84, key: a, account: 3 }),
        ("tr", Source::Single { purpose: Purpose::Bip86, key: a, account: 3 }),
        ("sh(wsh(sortedmulti))", words(Lock::ShWsh, "2 of 3 of a, b, c", three())),
        ("wsh(sortedmulti)", words(Lock::Wsh, "3 of 3 of a, b, c", three())),
        ("tr(multi_a)", words(Lock::Tr, "2 of 3 of a, b, c", three())),
        ("wsh rule", words(Lock::Wsh, "a and b; or after 144 blocks c alone", three())),
        ("sh(wsh) rule", words(Lock::ShWsh, "a and b; or after 144 blocks c alone", three())),
        ("tr rule", words(Lock::Tr, "a and b; or after 144 blocks any of b, c", three())),
        ("tr key path beside leaves", words(Lock::Tr, "a alone; or after 10 blocks b and c", three())),
        (
            "wsh decaying",
            Source::Rule {
                lock: Lock::Wsh,
                cosigners: three(),
                rule: Rule::Decaying { needed: 3, steps: vec![10, 20] },
            },
        ),
        ("wsh(multi), unsorted", descriptor(format!("wsh(multi(2,{at_b}/<4;5>/*,{at_a}/<0;1>/*))"))),
        (
            "a tree of three leaves",
            descriptor(format!(
                "tr({}/<0;1>/*,{{pk({at_c}/<0;1>/*),{{and_v(v:pk({at_a}/<2;3>/*),after(4000000)),pk({at_b}/<6;7>/*)}}}})",
                Outsider::new(5).at("86'/1'/0'")
            )),
        ),
    ];
    let mut wallets = Vec::new();
    for (what, source) in kinds {
        let wallet = house.wallet(what, source).await;
        sees_addresses(&world, wallet).await;
        world.fund(wallet, 300_000).await;
        world.fund(wallet, 200_000).await;
        wallets.push((what, wallet));
    }
    world.mine(1).await;
    // The outside key of the key path may sign, so that this way is the one that is taken unless another is named.
    for (what, wallet) in wallets {
        let path = (what == "a tree of three leaves").then_some(1);
        let (draft, terms) = house.reserved_by(wallet, 400_000, path).await;
        assert_eq!(draft.inputs.len(), 2, "{what}");
        let transaction = house.finish(&draft, &terms).await;
        goes_through(&world, &draft, &transaction).await;
        // What came back is spendable too.
        let (draft, terms) = house.reserved_by(wallet, 50_000, path).await;
        let transaction = house.finish(&draft, &terms).await;
        goes_through(&world, &draft, &transaction).await;
    }
}

/// At a lock's last closed block we refuse and say when it opens; the node refuses the signed transaction there too; in the
/// next block both take it. `back` leads the chain to that last closed block.
async fn opens(world: &World, wallet: WalletId, path: usize, opens_at: u32, reason: &str, back: impl Fn()) {
    let house = &world.house;
    let height = house.wallets.tip().unwrap().height;
    let early = house.draft_by(wallet, 100_000, Some(path)).await.unwrap_err();
    assert!(
        matches!(early, Error::TooEarly { opens_at: at, .. } if at == opens_at),
        "{early}, not {opens_at}"
    );
    world.mine(opens_at - height).await;
    let (draft, terms) = house.reserved_by(wallet, 100_000, Some(path)).await;
    let transaction = house.finish(&draft, &terms).await;
    back();
    world.synced().await;
    let refused = world.node.rpc("testmempoolaccept", json!([[hex(&transaction)]])).unwrap();
    assert_eq!(refused[0]["reject-reason"], json!(reason), "{refused}");
    house.release(draft.operation).await;
    let next = house.wallets.tip().unwrap().height + 1;
    let early = house.draft_by(wallet, 100_000, Some(path)).await.unwrap_err();
    assert!(matches!(early, Error::TooEarly { opens_at, .. } if opens_at == next), "{early}, not {next}");
    house.reserve(&draft).await.unwrap();
    world.mine(1).await;
    goes_through(world, &draft, &transaction).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_open_when_the_node_says_so() {
    let world = World::new().await;
    let house = &world.house;
    let heir = house.key("heir").await;
    let owner = Outsider::new(21);
    let both = |path: &str| vec![outside("owner", owner.at(path)), active("heir", heir)];
    for (name, lock, path) in [("wsh", Lock::Wsh, "48'/1'/0'/2'"), ("tr", Lock::Tr, "48'/1'/1'/3'")] {
        let wallet =
            house.wallet(name, words(lock, "owner alone; or after 6 blocks heir alone", both(path))).await;
        // The way that is open at once is the one that is taken.
        let shown = house.wallets.describe(house.tenant, wallet).unwrap();
        assert!(shown.ways[0].default && !shown.ways[1].default);
        assert_eq!((shown.ways[1].after_blocks, shown.ways[1].from_block), (Some(6), None));
        world.fund(wallet, 300_000).await;
        world.mine(1).await;
        let funded = house.wallets.tip().unwrap();
        // The coin's block is reorganised away, and the coin comes a block later. From more than ten blocks a node takes no
        // transactions back.
        let back = || {
            world.node.rpc("invalidateblock", json!([funded.hash])).unwrap();
            let address = world.node.new_address().unwrap();
            world.node.rpc("generateblock", json!([address, []])).unwrap();
            world.node.mine_blocks(5).unwrap();
        };
        opens(&world, wallet, 1, funded.height + 5, "non-BIP68-final", back).await;
    }
    let height = house.wallets.tip().unwrap().height;
    let lock = height + 8;
    let text = format!(
        "wsh(or_d(pk({}/<0;1>/*),and_v(v:pkh({}/<0;1>/*),after({lock}))))",
        owner.at("48'/1'/2'/2'"),
        house.account(heir, "48'/1'/2'/2'").await,
    );
    let wallet = house.wallet("after", descriptor(text)).await;
    let shown = house.wallets.describe(house.tenant, wallet).unwrap();
    assert_eq!((shown.ways[1].after_blocks, shown.ways[1].from_block), (None, Some(lock)));
    world.fund(wallet, 300_000).await;
    world.mine(1).await;
    let back = || {
        let tip = world.node.tip().unwrap();
        world.node.rpc("invalidateblock", json!([tip])).unwrap();
    };
    opens(&world, wallet, 1, lock, "non-final", back).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_signers_sign_leaves_and_scripts() {
    let world = World::new().await;
    let house = &world.house;
    let key = house.key("ours").await;
    let other = Outsider::new(33);
    for (name, lock, path) in [
        ("wsh", Lock::Wsh, "48'/1'/0'/2'"),
        ("sh", Lock::ShWsh, "48'/1'/0'/1'"),
        ("tr", Lock::Tr, "48'/1'/0'/3'"),
    ] {
        let source = words(
            lock,
            "ours and theirs; or after 20 blocks theirs alone",
            vec![active("ours", key), outside("theirs", other.at(path))],
        );
        let wallet = house.wallet(name, source).await;
        world.fund(wallet, 300_000).await;
        world.fund(wallet, 300_000).await;
        world.mine(1).await;
        let (draft, terms) = house.reserved_by(wallet, 400_000, None).await;
        let ours = house.sign(wallet, &draft.psbt, &terms).await.unwrap();
        assert_eq!((ours.complete, ours.needed), (false, 1));
        assert_eq!(
            (ours.signed.as_slice(), ours.missing.as_slice()),
            (&["ours".to_owned()][..], &["theirs".to_owned()][..])
        );
        let theirs = other.sign(&draft.psbt);
        let both = house.wallets.combine(house.tenant, wallet, &theirs, &ours.psbt).await.unwrap();
        assert!(both.complete && both.missing.is_empty(), "{name}");
        let transaction = house.wallets.finalize(house.tenant, wallet, &both.psbt, &terms).await.unwrap();

        // One who finishes the inputs leaves only witnesses; the signatures come back out of them.
        let finished =
            bdk_wallet::miniscript::psbt::PsbtExt::finalize(both.psbt.clone(), &Secp256k1::new()).unwrap();
        let again = house.wallets.combine(house.tenant, wallet, &draft.psbt, &finished).await.unwrap();
        assert!(again.complete, "{name}");
        let finished = house.wallets.finalize(house.tenant, wallet, &again.psbt, &terms).await.unwrap();
        assert_eq!(finished, transaction, "{name}");

        // A signature of another transaction is refused.
        let mut forged = theirs.clone();
        for input in &mut forged.inputs {
            input.sighash_type = None;
        }
        let swapped: Vec<_> = forged.inputs.iter().rev().cloned().collect();
        let mut swapped_psbt = forged.clone();
        for (input, from) in swapped_psbt.inputs.iter_mut().zip(&swapped) {
            input.tap_script_sigs = from.tap_script_sigs.clone();
            input.partial_sigs = from.partial_sigs.clone();
        }
        let error =
            house.wallets.combine(house.tenant, wallet, &draft.psbt, &swapped_psbt).await.unwrap_err();
        assert!(matches!(error, Error::BadSignature { .. }), "{name}: {error}");
        goes_through(&world, &draft, &transaction).await;
    }
}

/// What we export, the node's own wallet imports, and derives the same addresses from; what it lists, we read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nodes_wallet_imports_what_we_export_and_lists_what_we_import() {
    let world = World::new().await;
    let house = &world.house;
    let (a, b) = (house.key("a").await, house.key("b").await);
    let two = || vec![active("a", a), active("b", b)];
    let made = [
        ("one", Source::Single { purpose: Purpose::Bip49, key: a, account: 0 }),
        ("two", words(Lock::Wsh, "a and b; or after 144 blocks a alone", two())),
        ("three", words(Lock::Tr, "a and b; or after 144 blocks a alone", two())),
    ];
    for (name, source) in made {
        let wallet = house.wallet(name, source).await;
        let exported = house.wallets.export(house.tenant, wallet, file::Format::Core).unwrap();
        let exported: serde_json::Value = serde_json::from_str(&exported).unwrap();
        let blank = json!({"wallet_name": name, "blank": true, "disable_private_keys": true});
        world.node.rpc("createwallet", blank).unwrap();
        let answer =
            world.node.rpc_wallet(name, "importdescriptors", json!([exported["descriptors"]])).unwrap();
        assert!(answer.as_array().unwrap().iter().all(|one| one["success"] == json!(true)), "{answer}");
        let shown = house.wallets.describe(house.tenant, wallet).unwrap();
        let kind = if name == "one" {
            "p2sh-segwit"
        } else if name == "two" {
            "bech32"
        } else {
            "bech32m"
        };
        for (call, ours) in [("getnewaddress", &shown.receive), ("getrawchangeaddress", &shown.change)] {
            for address in ours {
                let params = if call == "getnewaddress" { json!(["", kind]) } else { json!([kind]) };
                let theirs = world.node.rpc_wallet(name, call, params).unwrap();
                assert_eq!(theirs, json!(address.to_string()), "{name} {call}");
            }
        }
        // Read back: the same wallet, with our keys known for ours.
        let listed = world.node.rpc_wallet(name, "listdescriptors", json!([])).unwrap();
        let source = Source::File { file: listed.to_string(), which: None, signers: Vec::new() };
        let new = house.wallets.resolve(house.tenant, "again", source).await.unwrap();
        let ScriptKind::Descriptor { descriptor, signers } = &new.script else { panic!("{new:?}") };
        assert_eq!(*descriptor, shown.descriptor);
        assert!(signers.iter().all(|signer| matches!(signer.held_by, HeldBy::Active { .. })), "{signers:?}");
        let error = house.wallets.create(house.tenant, new, |_, _| Ok::<_, Error>(())).await.unwrap_err();
        assert!(matches!(error, Error::SameDescriptor), "{error}");
    }
}

#[tokio::test]
async fn a_descriptor_wallet_opens_again_and_shows_the_same() {
    let house = House::new().await;
    let key = house.key("ours").await;
    let other = Outsider::new(4);
    let text = format!(
        "wsh(multi(2,{}/<0;1>/*,{}/<0;1>/*))",
        house.account(key, "48'/1'/0'/2'").await,
        other.at("48'/1'/0'/2'"),
    );
    let signers = vec![
        Cosigner { name: "vault".into(), signer: Signer::Reserve { key, account: 0 } },
        outside("cfo", other.at("48'/1'/0'/2'")),
    ];
    // With a key in reserve nobody could ever sign.
    let source = Source::Descriptor { descriptor: text.clone(), signers: signers.clone() };
    let error = house.try_wallet("dead", source).await.unwrap_err();
    assert!(error.to_string().contains("could never be spent"), "{error}");
    let text = text.replace("multi(2", "multi(1");
    let wallet = house.wallet("either", Source::Descriptor { descriptor: text, signers }).await;
    let before = house.wallets.describe(house.tenant, wallet).unwrap();
    let names: Vec<_> = before.signers.iter().map(|signer| (signer.name.as_str(), signer.held_by)).collect();
    assert_eq!(names, [("vault", HeldBy::Reserve { key }), ("cfo", HeldBy::Outside)]);
    let check = house.wallets.verification(house.tenant, wallet, Keychain::Receive, 3).unwrap();
    assert_eq!(check.address, before.receive[3]);
    assert_eq!(check.signers[1].participant, "cfo");
    assert_eq!(check.signers[1].path.to_string(), "48'/1'/0'/2'/0/3");
    let house = house.restarted().await;
    assert_eq!(house.wallets.describe(house.tenant, wallet).unwrap(), before);
}

#[tokio::test]
async fn whose_a_key_is_is_derived_and_never_believed() {
    let house = House::new().await;
    let (key, stranger) = (house.key("ours").await, house.key("another").await);
    let other = Outsider::new(4);
    let ours = house.account(key, "84'/1'/0'").await;
    let (origin, _) = ours.split_once(']').unwrap();
    let (_, foreign) =
        other.at("84'/1'/0'").split_once(']').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    // Another's key under our fingerprint and path.
    let posed = format!("wpkh({origin}]{foreign}/<0;1>/*)");
    let new = house.wallets.resolve(house.tenant, "posed", descriptor(posed.clone())).await.unwrap();
    let ScriptKind::Descriptor { signers, .. } = new.script else { panic!() };
    assert_eq!(signers[0].held_by, HeldBy::Outside);
    let claimed =
        |text: &str, key| Source::Descriptor { descriptor: text.into(), signers: vec![active("ours", key)] };
    for (text, key) in [(posed.as_str(), key), (&format!("wpkh({ours}/<0;1>/*)"), stranger)] {
        let error = house.try_wallet("claimed", claimed(text, key)).await.unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("script.signers[0]")), "{error}");
    }
    // What the ledger is asked to store is derived once more.
    let forged = ScriptKind::Descriptor {
        descriptor: posed.clone(),
        signers: vec![anya_wallet::KeyHolder {
            name: "ours".into(),
            key: anya_descriptor::SignerKey::parse(
                "key",
                &format!("{origin}]{foreign}"),
                house.wallets.network(),
            )
            .unwrap(),
            held_by: HeldBy::Active { key },
        }],
    };
    let error = house.make("forged", forged).await.unwrap_err();
    assert_eq!(error.field(), Some("script.signers[0]"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_held_safely_is_refused_by_field() {
    let house = House::new().await;
    let key = house.key("ours").await;
    let at = house.account(key, "84'/1'/0'").await;
    let other = Outsider::new(4).at("48'/1'/0'/2'");
    let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let cases = [
        (format!("pkh({at}/<0;1>/*)"), ErrorKind::Unsupported, "the id of such a transaction changes"),
        (format!("wpkh({at}/0/*)"), ErrorKind::Invalid, "one keychain only"),
        (format!("wpkh({at}/<0;1>/*)#aaaaaaaa"), ErrorKind::Invalid, "checksum"),
        (format!("wsh(and_v(v:pk({at}/<0;1>/*),sha256({hash})))"), ErrorKind::Invalid, "preimage"),
        (format!("wsh(and_v(v:pk({at}/<0;1>/*),older(4194305)))"), ErrorKind::Invalid, "locked by time"),
        (format!("wsh(or_d(pk({other}/<0;1>/*),older(5)))"), ErrorKind::Invalid, "needs no signature"),
        ("tr(musig(a,b))".to_owned(), ErrorKind::Unsupported, "musig"),
        ("wpkh(".to_owned(), ErrorKind::Invalid, ""),
    ];
    for (text, kind, part) in cases {
        let error = house.try_wallet("bad", descriptor(text.clone())).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{text}: {error}");
        assert!(error.to_string().contains(part), "{text}: {error}");
        assert!(
            error.field().is_some_and(|field| field.starts_with("script")),
            "{text}: {:?}",
            error.field()
        );
    }
    let rule = |text: &str| words(Lock::Wsh, text, vec![active("a", key), outside("b", other.clone())]);
    for (text, part) in
        [("a", "not understood"), ("a and c", "nobody is called"), ("a alone", "takes no part")]
    {
        let error = house.try_wallet("bad", rule(text)).await.unwrap_err();
        assert!(error.to_string().contains(part), "{text}: {error}");
        assert!(
            error.field().is_some_and(|field| field.starts_with("script.")),
            "{text}: {:?}",
            error.field()
        );
    }
    let wallet = house.wallet("good", rule("a and b; or after 5 blocks a alone")).await;
    let error = house.draft_by(wallet, 1_000, Some(2)).await.unwrap_err();
    assert_eq!(error.field(), Some("spend_path"), "{error}");
}
