//! Wallets by template: their addresses, their ways to spend in words, and what these weigh.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use anya_descriptor::{
    Condition, Definition, Error, Keychain, Lock, Participant, Place, Purpose, Quorum, Rules, SignerKey,
    Template, WalletDescriptor, from_words,
};
use anya_primitives::Network;
use bitcoin::{
    EcdsaSighashType, PublicKey, TapSighashType, TxIn, Witness,
    bip32::{DerivationPath, Xpriv, Xpub},
    ecdsa, relative,
    secp256k1::{self, Secp256k1},
    taproot::{self, TapLeafHash},
};
use miniscript::{ForEachKey as _, Satisfier};
use proptest::prelude::*;

/// The phrase of BIP84's and BIP86's vectors: "abandon" eleven times, then "about".
const ROOT: &str = "xprv9s21ZrQH143K3GJpoapnV8SFfukcVBSfeCficPSGfubmSFDxo1kuHnLisriDvSnRRuL2Qrg5ggqHKNVpxR86QEC8w35uxmGoggxtQTPvfUu";

fn account(root: &Xpriv, path: &DerivationPath) -> SignerKey {
    let secp = Secp256k1::new();
    let xpub = Xpub::from_priv(&secp, &root.derive_priv(&secp, path).unwrap());
    let origin = anya_descriptor::Origin { fingerprint: root.fingerprint(&secp), path: path.clone() };
    SignerKey::Account { origin: Some(origin), xpub }
}

fn participant(name: &str, lock: Lock, network: Network) -> Participant {
    let root = Xpriv::new_master(bitcoin::Network::from(network), name.as_bytes()).unwrap();
    let path = if lock == Lock::Sh {
        Lock::bip87_path(network, 0).unwrap()
    } else {
        lock.bip48_path(network, 0).unwrap()
    };
    Participant { name: name.to_owned(), key: account(&root, &path) }
}

fn quorum(needed: usize, names: &[&str], lock: Lock) -> Quorum {
    Quorum { needed, of: names.iter().map(|name| participant(name, lock, Network::Regtest)).collect() }
}

fn build(template: &Template) -> Definition {
    template.build("Treasury", Network::Regtest).unwrap_or_else(|error| panic!("{error}"))
}

/// The addresses of BIP84 and BIP86, and those of the same phrase that BIP44 and BIP49 (there on the test network) lead to.
#[test]
fn single_keys_have_the_published_addresses() {
    let root: Xpriv = ROOT.parse().unwrap();
    for (purpose, network, addresses) in [
        (
            Purpose::Bip44,
            Network::Mainnet,
            ["1LqBGSKuX5yYUonjxT5qGfpUsXKYYWeabA", "1J3J6EvPrv8q6AC3VCjWV45Uf3nssNMRtH"],
        ),
        (
            Purpose::Bip49,
            Network::Regtest,
            ["2Mww8dCYPUpKHofjgcXcBCEGmniw9CoaiD2", "2MvdUi5o3f2tnEFh9yGvta6FzptTZtkPJC8"],
        ),
        (
            Purpose::Bip84,
            Network::Mainnet,
            ["bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu", "bc1q8c6fshw2dlwun7ekn9qwf37cu2rn755upcp6el"],
        ),
        (
            Purpose::Bip86,
            Network::Mainnet,
            [
                "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
                "bc1p3qkhfews2uk44qtvauqyr2ttdsw7svhkl9nkm9s9c3x4ax5h60wqwruhk7",
            ],
        ),
    ] {
        let secp = Secp256k1::new();
        let path = purpose.path(network, 0).unwrap();
        let mut key = account(&root, &path);
        if let SignerKey::Account { xpub, .. } = &mut key {
            xpub.network = bitcoin::NetworkKind::from(bitcoin::Network::from(network));
        }
        assert_eq!(key.fingerprint(), Some(root.fingerprint(&secp)));
        let owner = Participant { name: "owner".into(), key };
        let wallet = Template::Single { purpose, owner: owner.clone() }.build("Mine", network).unwrap();
        let shown =
            Keychain::ALL.map(|keychain| wallet.descriptor().address(keychain, 0).unwrap().to_string());
        assert_eq!(shown, addresses);
        assert_eq!(wallet.spend_words().unwrap(), "owner alone");
        let paths = wallet.descriptor().spend_paths().unwrap();
        assert_eq!(paths.len(), 1);
        assert_eq!(paths[0].max_weight, wallet.descriptor().max_weight().unwrap());
        let verification = wallet.verification(Keychain::Change, 7).unwrap();
        let expected: DerivationPath = format!("{path}/1/7").parse().unwrap();
        assert_eq!(verification.signers[0].path, expected);
        let derived = Xpub::from_priv(&secp, &root.derive_priv(&secp, &expected).unwrap());
        assert_eq!(verification.signers[0].public_key, PublicKey::new(derived.public_key));
        for other in Purpose::ALL.into_iter().filter(|other| *other != purpose) {
            let wrong = Template::Single { purpose: other, owner: owner.clone() }.build("Mine", network);
            assert!(matches!(wrong, Err(Error::Invalid { .. })), "{wrong:?}");
        }
    }
}

#[test]
fn a_single_key_of_a_device_stands_beside_accounts() {
    let device = "[d34db33f/0h]03a34b99f22c790c4e36b2b3c2c35a36db06226e41c692fc82b8b56ac1c540c5bd";
    let device = Participant {
        name: "device".into(),
        key: SignerKey::parse("key", device, Network::Regtest).unwrap(),
    };
    for lock in [Lock::Sh, Lock::ShWsh, Lock::Wsh, Lock::Tr] {
        let mut signers = quorum(2, &["alice", "bob"], lock);
        signers.of.push(device.clone());
        let wallet = build(&Template::Multisig { lock, signers });
        assert_eq!(wallet.spend_words().unwrap(), "2 of 3 of alice, bob, device");
        let [one, other] = [0, 1].map(|index| wallet.descriptor().address(Keychain::Receive, index).unwrap());
        assert_ne!(one, other);
        let shown = wallet.verification(Keychain::Receive, 1).unwrap();
        assert_eq!(shown.signers.len(), 3);
        assert_eq!(shown.signers[2].public_key.to_string(), device.key.public_key().to_string());
    }
    // Two such keys alone make one address, which must be asked for.
    let other = "[d34db33e/0h]02da72e8b46901a65d4374fe6315538d8f368557dda3a1dcf9ea903f3afe7314c8";
    let text = format!("wsh(multi(2,{},{other}))", device.key);
    assert!(matches!(
        WalletDescriptor::parse(&text, &Rules::new(Network::Regtest)),
        Err(Error::NotRanged { .. })
    ));
    let one = WalletDescriptor::parse(&text, &Rules::new(Network::Regtest).one_address()).unwrap();
    assert!(one.address(Keychain::Receive, 0).is_ok() && one.address(Keychain::Receive, 1).is_err());
    // What an account derives at a small index is no key of its own.
    let alice = participant("alice", Lock::Wsh, Network::Regtest);
    let SignerKey::Account { xpub, .. } = &alice.key else { panic!() };
    let child = xpub.derive_pub(&Secp256k1::new(), &[0u32.into(), 42u32.into()]).unwrap();
    let text = format!("wsh(multi(2,{}/<0;1>/*,{}))", alice.key, PublicKey::new(child.public_key));
    let refused = WalletDescriptor::parse(&text, &Rules::new(Network::Regtest));
    assert!(matches!(refused, Err(Error::SameKey { .. })), "{refused:?}");
}

#[test]
fn one_root_does_not_count_twice() {
    let root = Xpriv::new_master(bitcoin::Network::Regtest, b"one").unwrap();
    let keys = [0, 1].map(|number| account(&root, &Lock::Wsh.bip48_path(Network::Regtest, number).unwrap()));
    let text = |needed| format!("wsh(sortedmulti({needed},{}/<0;1>/*,{}/<0;1>/*))", keys[0], keys[1]);
    let rules = Rules::new(Network::Regtest);
    assert!(matches!(WalletDescriptor::parse(&text(2), &rules), Err(Error::SameKey { .. })));
    WalletDescriptor::parse(&text(1), &rules).unwrap();
    WalletDescriptor::parse(&text(2), &rules.shared_roots()).unwrap();
}

#[test]
fn eleven_of_fifteen_works_and_what_is_too_large_says_what_would_do() {
    let names: Vec<String> = (1..=25).map(|number| format!("cosigner number {number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for lock in [Lock::ShWsh, Lock::Wsh, Lock::Tr] {
        let wallet = build(&Template::Multisig { lock, signers: quorum(11, &names[..15], lock) });
        let paths = wallet.descriptor().spend_paths().unwrap();
        assert_eq!(paths.len(), 1);
        assert_eq!((paths[0].condition.groups[0].needed, paths[0].condition.groups[0].keys.len()), (11, 15));
        let whole = wallet.descriptor().max_weight().unwrap();
        assert!(paths[0].max_weight <= whole, "{lock:?}");
    }
    for (lock, count) in [(Lock::Sh, 16), (Lock::Wsh, 21), (Lock::ShWsh, 21)] {
        let signers = quorum(2, &names[..count], lock);
        let refused = Template::Multisig { lock, signers }.build("Large", Network::Regtest);
        let Err(error @ Error::ScriptTooLarge { .. }) = refused else { panic!("{lock:?}: {refused:?}") };
        assert!(error.to_string().contains("tr"), "{error}");
    }
    build(&Template::Multisig { lock: Lock::Tr, signers: quorum(2, &names, Lock::Tr) });
}

#[test]
fn rules_with_time_are_told_in_words() {
    for lock in [Lock::ShWsh, Lock::Wsh, Lock::Tr] {
        let all = ["alice", "bob", "carol"];
        let recovery = Template::Recovery {
            lock,
            signers: quorum(2, &all, lock),
            recovery: quorum(1, &["bob"], lock),
            after: 4032,
        };
        let wallet = build(&recovery);
        assert_eq!(wallet.participants().len(), 3);
        assert_eq!(
            wallet.spend_words().unwrap(),
            "2 of 3 of alice, bob, carol; or after 4,032 blocks bob alone"
        );
        let inheritance = Template::Recovery {
            lock,
            signers: quorum(1, &["owner"], lock),
            recovery: quorum(2, &["ann", "ben", "cleo"], lock),
            after: 52_560,
        };
        assert_eq!(
            build(&inheritance).spend_words().unwrap(),
            "owner alone; or after 52,560 blocks 2 of 3 of ann, ben, cleo"
        );
        let decaying = Template::Decaying { lock, signers: quorum(3, &all, lock), steps: vec![144, 1008] };
        assert_eq!(
            build(&decaying).spend_words().unwrap(),
            "alice, bob and carol; or after 144 blocks 2 of 3 of alice, bob, carol; or after 1,008 blocks any of alice, \
             bob, carol"
        );
        for steps in [vec![], vec![0], vec![144, 144], vec![1008, 144], vec![1, 2, 3]] {
            let wrong = Template::Decaying { lock, signers: quorum(3, &all, lock), steps };
            assert!(matches!(wrong.build("W", Network::Regtest), Err(Error::Invalid { .. })));
        }
    }
    let lock = Lock::Sh;
    let refused = Template::Decaying { lock, signers: quorum(2, &["a", "b"], lock), steps: vec![9] };
    assert!(matches!(refused.build("W", Network::Regtest), Err(Error::Unsupported { .. })));
    let [a, b] = ["a", "b"].map(|name| participant(name, Lock::Wsh, Network::Regtest).key);
    let text = format!(
        "wsh(andor(pk({a}/<0;1>/*),after(1000000),and_v(v:pk({b}/<0;1>/*),and_v(v:sha256({}),older(4194448)))))",
        "ab".repeat(32)
    );
    let named = WalletDescriptor::parse(&text, &Rules::new(Network::Regtest)).unwrap();
    assert_eq!(
        named.spend_words(|at| ["ann", "ben"][at].to_owned()).unwrap(),
        format!(
            "after 73,728 seconds (some 0 days 20 hours) ben alone, with the preimage of sha256 {}; or from block 1,000,000 \
             ann alone",
            "ab".repeat(32)
        )
    );
}

/// A path's weight is that of its witness: written down once for each kind.
#[test]
fn paths_weigh_what_their_witnesses_do() {
    let weights = |template: &Template| -> Vec<u64> {
        build(template)
            .descriptor()
            .spend_paths()
            .unwrap()
            .iter()
            .map(|path| path.max_weight.to_wu())
            .collect()
    };
    let recovery = |lock| Template::Recovery {
        lock,
        signers: quorum(2, &["alice", "bob", "carol"], lock),
        recovery: quorum(1, &["dave"], lock),
        after: 4032,
    };
    // wsh(or_d(multi(2,3 keys),and_v(v:pkh,older(4032)))): a script of 105 + 1 + 1 + 24 + 1 + 3 + 1 + 1 bytes.
    let script = 105 + 2 + 24 + 1 + 3 + 1 + 1;
    let now = 1 + 2 * 73 + 1 + script;
    let late = 73 + 34 + 3 + 1 + script;
    let found = weights(&recovery(Lock::Wsh));
    assert_eq!(found.len(), 2);
    assert!(found[0].abs_diff(now) <= 1 && found[1].abs_diff(late) <= 2, "{found:?} {now} {late}");
    // tr: two leaves at depth one; the control block has 33 + 32 bytes.
    let leaf = 34 + 2 * 34 + 2;
    let now = 2 * 66 + 1 + (1 + leaf) + (1 + 65);
    let late = 66 + (1 + 33 + 2 + 3 + 1) + (1 + 65);
    let found = weights(&recovery(Lock::Tr));
    assert!(found[0].abs_diff(now) <= 2 && found[1].abs_diff(late) <= 2, "{found:?} {now} {late}");
    assert_eq!(
        weights(&Template::Multisig { lock: Lock::Wsh, signers: quorum(2, &["a", "b", "c"], Lock::Wsh) }),
        [1 + 2 * 73 + 1 + 105]
    );
}

/// The keys of one way to spend, with signatures of the largest size. No hash is known.
struct Signers {
    condition: Condition,
    keys: BTreeSet<PublicKey>,
}

impl Satisfier<PublicKey> for Signers {
    fn lookup_ecdsa_sig(&self, key: &PublicKey) -> Option<ecdsa::Signature> {
        let (r, s) = ([0xc0; 32], [0x40; 32]);
        let signature = secp256k1::ecdsa::Signature::from_compact(&[r, s].concat()).unwrap();
        let signature = ecdsa::Signature { signature, sighash_type: EcdsaSighashType::All };
        (self.condition.place == Place::Script && self.keys.contains(key)).then_some(signature)
    }

    fn lookup_tap_key_spend_sig(&self) -> Option<taproot::Signature> {
        (self.condition.place == Place::KeyPath).then(schnorr)
    }

    fn lookup_tap_leaf_script_sig(&self, key: &PublicKey, _: &TapLeafHash) -> Option<taproot::Signature> {
        let leaf = matches!(self.condition.place, Place::Leaf(_));
        (leaf && self.keys.contains(key)).then(schnorr)
    }

    fn check_older(&self, lock: relative::LockTime) -> bool {
        self.condition.older.is_some_and(|open| lock.is_implied_by(open.into()))
    }
}

fn schnorr() -> taproot::Signature {
    let signature = secp256k1::schnorr::Signature::from_slice(&[7; 64]).unwrap();
    taproot::Signature { signature, sighash_type: TapSighashType::All }
}

/// What the witness of one way to spend adds to an input, made by miniscript's satisfier and weighed by rust-bitcoin.
fn spend(wallet: &WalletDescriptor, condition: &Condition) -> bitcoin::Weight {
    let derived = wallet.at(Keychain::Receive, 0).unwrap();
    let mut keys = Vec::new();
    derived.descriptor().for_each_key(|key| {
        keys.push(*key);
        true
    });
    if wallet.kind().is_taproot() {
        keys.rotate_right(1);
    }
    let signing = condition.groups.iter().flat_map(|group| group.keys.iter().take(group.needed));
    let signers = Signers { condition: condition.clone(), keys: signing.map(|at| keys[*at]).collect() };
    let (witness, script_sig) = derived.descriptor().get_satisfaction(&signers).unwrap();
    let input = TxIn { witness: Witness::from_slice(&witness), script_sig, ..TxIn::default() };
    input.segwit_weight() - TxIn::default().segwit_weight()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_path_weighs_what_its_witness_does_and_text_round_trips(
        count in 1usize..6,
        needed in 1usize..6,
        heirs in 1usize..4,
        after in 1u16..,
        kind in 0usize..3,
        tap in any::<bool>(),
    ) {
        let lock = if tap { Lock::Tr } else { Lock::Wsh };
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let signers = quorum(needed.min(count), &names[..count], lock);
        let template = match kind {
            0 => Template::Multisig { lock, signers },
            1 => Template::Recovery {
                lock,
                signers,
                recovery: quorum(heirs.div_ceil(2), &names[count - 1..count - 1 + heirs], lock),
                after,
            },
            _ => {
                let steps: Vec<u16> = (1..u16::try_from(needed.min(count)).unwrap()).map(|n| n * 100).collect();
                if steps.is_empty() { Template::Multisig { lock, signers } } else { Template::Decaying { lock, signers, steps } }
            }
        };
        let wallet = build(&template);
        for path in wallet.descriptor().spend_paths().unwrap() {
            let spent = spend(wallet.descriptor(), &path.condition);
            prop_assert_eq!(path.max_weight, spent, "{}", wallet.descriptor());
            prop_assert!(path.max_weight <= wallet.descriptor().max_weight().unwrap());
        }
        let again = WalletDescriptor::parse(&wallet.descriptor().to_string(), &Rules::new(Network::Regtest)).unwrap();
        prop_assert_eq!(&again, wallet.descriptor());
        let pair = Keychain::ALL.map(|keychain| wallet.descriptor().keychain(keychain).unwrap().to_string());
        let joined = WalletDescriptor::from_pair(&pair[0], &pair[1], &Rules::new(Network::Regtest)).unwrap();
        prop_assert_eq!(&joined, wallet.descriptor());
    }
}

#[test]
fn a_rule_in_words_makes_the_wallet_that_tells_it() {
    let names = ["alice", "bob", "carol", "dave"];
    for lock in [Lock::ShWsh, Lock::Wsh, Lock::Tr] {
        let everyone: Vec<Participant> =
            names.iter().map(|name| participant(name, lock, Network::Regtest)).collect();
        for words in [
            "2 of 3 of alice, bob, carol",
            "alice and bob",
            "alice, bob and carol; or after 1,008 blocks 2 of 3 of alice, bob, carol",
            "2 of 3 of alice, bob, carol; or after 4,032 blocks bob alone",
            "alice alone; or after 144 blocks any of bob, carol; or after 65,535 blocks dave alone",
            "alice and bob; or carol and dave; or after 1 block 3 of 4 of alice, bob, carol, dave",
            "after 10 blocks alice alone; or after 20 blocks bob alone",
        ] {
            let wallet = from_words("W", words, &everyone, lock, Network::Regtest)
                .unwrap_or_else(|error| panic!("{lock:?} {words}: {error}"));
            assert_eq!(wallet.spend_words().unwrap(), words, "{lock:?}");
            for path in wallet.descriptor().spend_paths().unwrap() {
                assert_eq!(path.max_weight, spend(wallet.descriptor(), &path.condition), "{lock:?} {words}");
            }
        }
        for words in [
            "",
            "alice",
            "erin alone",
            "2 of 3 of alice, bob",
            "0 of 2 of alice, bob",
            "3 of 2 of alice, bob",
            "alice and alice",
            "after 0 blocks alice alone",
            "after 70,000 blocks alice alone",
            "after alice alone",
            "alice alone or bob alone",
        ] {
            let refused = from_words("W", words, &everyone, lock, Network::Regtest);
            assert!(
                matches!(refused, Err(Error::Invalid { .. } | Error::SameKey { .. })),
                "{words}: {refused:?}"
            );
        }
    }
    let everyone: Vec<Participant> =
        names.iter().map(|name| participant(name, Lock::Sh, Network::Regtest)).collect();
    let timed = "alice and bob; or after 9 blocks carol alone";
    let refused = from_words("W", timed, &everyone, Lock::Sh, Network::Regtest);
    assert!(matches!(refused, Err(Error::Unsupported { .. })));
}
