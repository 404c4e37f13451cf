//! The life of a key: made, used, suspended, destroyed, and found again after a restart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::{collections::HashSet, sync::Arc};

use anya_keys::{
    Error, ImportMaterial, KeyInfo, KeySpec, KeyState, Keyring, Message, PublicMaterial, SignAlgorithm,
    SignRequest, Signature,
};
use anya_keystore::SOFTWARE;
use anya_primitives::{Classified as _, ErrorKind, KeyId, TenantId};
use anya_provider::Error as Fault;
use anya_store::{TenantTx, params};
use common::{House, new_key, nothing};
use secrecy::SecretSlice;

const TEXT: Message<'static> = Message::Bytes(b"a message");
const DIGEST: Message<'static> = Message::Digest([7; 32]);

fn request(spec: KeySpec) -> SignRequest<'static> {
    let (algorithm, path, message) = match spec {
        KeySpec::Secp256k1 => (SignAlgorithm::EcdsaSecp256k1, None, DIGEST),
        KeySpec::Bip32Seed => (
            SignAlgorithm::SchnorrSecp256k1 { tweak: None },
            Some("m/86'/0'/0'/0/0".parse().unwrap()),
            DIGEST,
        ),
        KeySpec::Ed25519 => (SignAlgorithm::Ed25519, None, TEXT),
        KeySpec::P256 => (SignAlgorithm::EcdsaP256, None, TEXT),
        KeySpec::Rsa3072 => (SignAlgorithm::RsaPssSha256, None, TEXT),
        KeySpec::Aes256 => panic!("an AES key does not sign"),
    };
    SignRequest { algorithm, path, message }
}

impl House {
    /// A keyring that has read nothing yet: these tests alter the ledger behind the keyring's back.
    fn fresh(&self) -> Arc<Keyring> {
        common::keyring(&self.ledger, self.software.clone())
    }

    async fn sign(&self, key: &KeyInfo) -> Result<Signature, Error> {
        common::sign(&self.fresh(), self.tenant, key.id, &request(key.spec)).await
    }

    async fn become_(&self, key: &KeyInfo, state: KeyState) -> Result<KeyInfo, Error> {
        self.keyring.set_state(self.tenant, key.id, state, nothing).await
    }

    async fn execute(&self, sql: &'static str, id: KeyId) {
        let done: Result<usize, anya_store::Error> =
            self.ledger.write(self.tenant, move |tx| tx.execute(sql, &params! { "id" => id })).await;
        assert_eq!(done.unwrap(), 1);
    }

    async fn handle(&self, tenant: TenantId, id: KeyId) -> Option<Vec<u8>> {
        self.ledger
            .read::<_, anya_store::Error, _>(tenant, move |tx| {
                tx.query_opt(
                    "SELECT handle FROM key_replicas WHERE tenant = :tenant AND key = :id",
                    &params! { "id" => id },
                    |row| row.get("handle"),
                )
            })
            .await
            .unwrap()
            .unwrap()
    }

    async fn set_handle(&self, tenant: TenantId, id: KeyId, handle: Vec<u8>) {
        self.ledger
            .write::<_, anya_store::Error, _>(tenant, move |tx| {
                tx.execute(
                    "UPDATE key_replicas SET handle = :handle WHERE tenant = :tenant AND key = :id",
                    &params! { "id" => id, "handle" => handle },
                )
            })
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn every_sort_works_and_survives_a_restart() {
    let house = House::new().await;
    let mut keys = Vec::new();
    for spec in KeySpec::ALL {
        keys.push(house.generate(spec.name(), spec).await);
    }
    let aes = keys.pop().unwrap();
    let sealed = house.keyring.encrypt(house.tenant, aes.id, b"row 7", b"a secret").await.unwrap();
    let mut before = Vec::new();
    for key in &keys {
        before.push(house.sign(key).await.unwrap());
    }
    let house = house.restarted().await;
    for (key, before) in keys.iter().zip(before) {
        assert_eq!(&house.keyring.get(house.tenant, key.id).await.unwrap(), key);
        let after = house.sign(key).await.unwrap();
        // Deterministic algorithms show that it is the same key; the keyring has checked the others.
        if matches!(key.spec, KeySpec::Secp256k1 | KeySpec::Ed25519) {
            assert_eq!(before, after);
        }
    }
    let opened = house.keyring.decrypt(house.tenant, aes.id, b"row 7", &sealed).await.unwrap();
    assert_eq!(opened.as_slice(), b"a secret");
    let wrong_place = house.keyring.decrypt(house.tenant, aes.id, b"row 8", &sealed).await;
    assert!(matches!(wrong_place, Err(Error::Provider(Fault::Decrypt))));
    let digest = SignRequest { algorithm: SignAlgorithm::EcdsaP256, path: None, message: DIGEST };
    common::sign(&house.keyring, house.tenant, keys[3].id, &digest).await.unwrap();
}

#[tokio::test]
async fn states_rule_over_use() {
    let house = House::new().await;
    let key = house.generate("key", KeySpec::Bip32Seed).await;
    let known = "m/84'/0'/0'".parse().unwrap();
    house.keyring.account_xpub(house.tenant, key.id, &known).await.unwrap();

    let refused = house.become_(&key, KeyState::Destroyed).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "an active key is not destroyed in one step");
    assert!(house.become_(&key, KeyState::Active).await.is_err());
    house.become_(&key, KeyState::Suspended).await.unwrap();
    assert!(matches!(house.sign(&key).await, Err(Error::State { state: KeyState::Suspended, .. })));
    let fresh = "m/84'/0'/1'".parse().unwrap();
    assert!(house.keyring.account_xpub(house.tenant, key.id, &fresh).await.is_err());
    house.keyring.account_xpub(house.tenant, key.id, &known).await.unwrap();

    house.become_(&key, KeyState::Active).await.unwrap();
    house.sign(&key).await.unwrap();

    house.become_(&key, KeyState::Suspended).await.unwrap();
    let gone = house.become_(&key, KeyState::Destroyed).await.unwrap();
    assert_eq!(gone.state, KeyState::Destroyed);
    assert_eq!(house.handle(house.tenant, key.id).await, None);
    assert!(matches!(house.sign(&key).await, Err(Error::State { state: KeyState::Destroyed, .. })));
    for state in [KeyState::Active, KeyState::Suspended, KeyState::Destroyed] {
        assert!(matches!(house.become_(&key, state).await, Err(Error::State { .. })));
    }
}

/// After a first use, so that nothing has to be asked for that the suspension would refuse by another way.
#[tokio::test]
async fn a_suspended_key_of_any_sort_is_of_no_use() {
    let house = House::new().await;
    for spec in KeySpec::ALL {
        let key = house.generate(spec.name(), spec).await;
        let suspended = |outcome| matches!(outcome, Err(Error::State { state: KeyState::Suspended, .. }));
        if spec == KeySpec::Aes256 {
            let ring = &house.keyring;
            let sealed = ring.encrypt(house.tenant, key.id, b"", b"text").await.unwrap();
            house.become_(&key, KeyState::Suspended).await.unwrap();
            assert!(suspended(ring.encrypt(house.tenant, key.id, b"", b"text").await.map(drop)));
            assert!(suspended(ring.decrypt(house.tenant, key.id, b"", &sealed).await.map(drop)));
        } else {
            house.sign(&key).await.unwrap();
            house.become_(&key, KeyState::Suspended).await.unwrap();
            assert!(suspended(house.sign(&key).await.map(drop)), "{spec}");
        }
    }
}

#[tokio::test]
async fn requests_that_do_not_fit_the_key_are_refused() {
    let house = House::new().await;
    let curve = house.generate("curve", KeySpec::Secp256k1).await;
    let tree = house.generate("tree", KeySpec::Bip32Seed).await;
    let edwards = house.generate("edwards", KeySpec::Ed25519).await;
    let path = || Some("m/0".parse().unwrap());
    let schnorr = SignAlgorithm::SchnorrSecp256k1 { tweak: None };
    let long = vec![0; anya_keys::MAX_MESSAGE + 1];
    for (key, algorithm, path, message) in [
        (&curve, SignAlgorithm::Ed25519, None, TEXT),
        (&curve, SignAlgorithm::EcdsaSecp256k1, None, TEXT),
        (&curve, schnorr, None, TEXT),
        (&curve, schnorr, path(), DIGEST),
        (&tree, schnorr, None, DIGEST),
        (&tree, schnorr, Some("m/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0".parse().unwrap()), DIGEST),
        (&edwards, SignAlgorithm::Ed25519, None, DIGEST),
        (&edwards, SignAlgorithm::Ed25519, None, Message::Bytes(&long)),
        (&edwards, schnorr, None, DIGEST),
    ] {
        let request = SignRequest { algorithm, path, message };
        let error = common::sign(&house.keyring, house.tenant, key.id, &request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    for length in [0, 31, 33, 64] {
        assert!(Message::digest(&vec![0; length]).is_err());
    }
    assert!(house.keyring.encrypt(house.tenant, curve.id, b"", b"").await.is_err());
    assert!(house.keyring.account_xpub(house.tenant, curve.id, &"m".parse().unwrap()).await.is_err());
}

#[tokio::test]
async fn bad_secrets_are_refused() {
    let house = House::new().await;
    let order = common::hexed("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
    let order_p256 = common::hexed("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    for (spec, secret) in [
        (KeySpec::Secp256k1, vec![0; 32]),
        (KeySpec::Secp256k1, vec![1; 31]),
        (KeySpec::Secp256k1, order),
        (KeySpec::P256, vec![0; 32]),
        (KeySpec::P256, order_p256),
        (KeySpec::P256, vec![1; 33]),
        (KeySpec::Ed25519, vec![1; 31]),
        (KeySpec::Aes256, vec![1; 16]),
        (KeySpec::Bip32Seed, vec![1; 15]),
        (KeySpec::Bip32Seed, vec![1; 65]),
        (KeySpec::Rsa3072, vec![1; 100]),
    ] {
        let error = house.import("bad", spec, &secret).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{spec}: {error}");
    }
    let phrase = ImportMaterial::Mnemonic { phrase: "abandon".into(), passphrase: None };
    let wrong_sort = house.keyring.import(house.tenant, new_key("bad", KeySpec::P256), phrase, nothing).await;
    assert!(matches!(wrong_sort, Err(Error::Provider(Fault::WrongSpec { .. }))));
}

#[tokio::test]
async fn names_are_unique_in_a_tenant_and_well_formed() {
    let house = House::new().await;
    house.generate("hot", KeySpec::Ed25519).await;
    let again = house.keyring.generate(house.tenant, new_key("hot", KeySpec::Ed25519), nothing).await;
    assert!(matches!(again, Err(Error::NameTaken(_))));
    house.keyring.generate(TenantId::new(), new_key("hot", KeySpec::Ed25519), nothing).await.unwrap();
    for bad in ["", " hot", "a\nb", &"x".repeat(65)] {
        let error = house.keyring.generate(house.tenant, new_key(bad, KeySpec::Ed25519), nothing).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
    }
    // Two at once: the index decides.
    let (one, two) = tokio::join!(
        house.keyring.generate(house.tenant, new_key("race", KeySpec::Ed25519), nothing),
        house.keyring.generate(house.tenant, new_key("race", KeySpec::Ed25519), nothing),
    );
    assert!(one.is_ok() != two.is_ok());
    assert!(matches!(one.and(two), Err(Error::NameTaken(_))));
}

#[tokio::test]
async fn pages_follow_each_other() {
    let house = House::new().await;
    let mut made = Vec::new();
    for index in 0..7 {
        made.push(house.generate(&format!("key {index}"), KeySpec::Ed25519).await);
    }
    house.keyring.generate(TenantId::new(), new_key("other", KeySpec::Ed25519), nothing).await.unwrap();
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = house.keyring.list(house.tenant, after, 3).await.unwrap();
        assert!(page.keys.len() <= 3);
        listed.extend(page.keys);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed.len(), 7);
    let (made, listed): (HashSet<_>, HashSet<_>) =
        (made.iter().map(|key| key.id).collect(), listed.iter().map(|key| key.id).collect());
    assert_eq!(made, listed);
    assert!(house.keyring.list(house.tenant, None, 0).await.is_err());
    assert!(house.keyring.list(house.tenant, None, 201).await.is_err());
}

#[tokio::test]
async fn another_tenant_has_no_part_in_a_key() {
    let house = House::new().await;
    let key = house.generate("key", KeySpec::Bip32Seed).await;
    let stranger = TenantId::new();
    let ring = &house.keyring;
    assert!(matches!(ring.get(stranger, key.id).await, Err(Error::NotFound(_))));
    assert!(matches!(
        common::sign(ring, stranger, key.id, &request(key.spec)).await,
        Err(Error::NotFound(_))
    ));
    let path = "m/84'/0'/0'".parse().unwrap();
    assert!(matches!(ring.account_xpub(stranger, key.id, &path).await, Err(Error::NotFound(_))));
    let state = ring.set_state(stranger, key.id, KeyState::Suspended, nothing).await;
    assert!(matches!(state, Err(Error::NotFound(_))));
    assert!(ring.list(stranger, None, 10).await.unwrap().keys.is_empty());
}

#[tokio::test]
async fn handles_do_not_open_in_another_place() {
    let house = House::new().await;
    let one = house.generate("one", KeySpec::Secp256k1).await;
    let two = house.generate("two", KeySpec::Secp256k1).await;
    let elsewhere = TenantId::new();
    let three = house.keyring.generate(elsewhere, new_key("one", KeySpec::Secp256k1), nothing).await.unwrap();
    let handle = house.handle(house.tenant, one.id).await.unwrap();

    house.set_handle(house.tenant, two.id, handle.clone()).await;
    assert!(matches!(house.sign(&two).await, Err(Error::Provider(Fault::HandleDamaged))));
    house.set_handle(elsewhere, three.id, handle.clone()).await;
    let stolen = common::sign(&house.fresh(), elsewhere, three.id, &request(three.spec)).await;
    assert!(matches!(stolen, Err(Error::Provider(Fault::HandleDamaged))));

    // The whole row in another tenant, under the same key id.
    let row = one.clone();
    let blob = handle.clone();
    house
        .ledger
        .write::<_, anya_store::Error, _>(elsewhere, move |tx| {
            tx.execute(
                "INSERT INTO keys (tenant, id, name, spec, public, state, version, transferable, usage, created_at,
                 updated_at) VALUES (:tenant, :id, 'stolen', :spec, :public, 'active', 1, 0, '{\"direct\":true}', 0, 0)",
                &params! {
                    "id" => row.id, "spec" => row.spec.name(), "public" => anya_store::json(&row.public)?,
                },
            )?;
            tx.execute(
                "INSERT INTO key_replicas (tenant, key, provider, place, residence, handle, proved_at)
                 VALUES (:tenant, :id, :provider, 0, 'server-memory', :handle, 0)",
                &params! { "id" => row.id, "provider" => row.provider(), "handle" => blob },
            )
        })
        .await
        .unwrap();
    let stolen = common::sign(&house.fresh(), elsewhere, one.id, &request(one.spec)).await;
    assert!(matches!(stolen, Err(Error::Provider(Fault::HandleDamaged))), "{stolen:?}");

    house.execute("UPDATE keys SET version = 2 WHERE tenant = :tenant AND id = :id", one.id).await;
    assert!(matches!(house.sign(&one).await, Err(Error::Provider(Fault::HandleDamaged))));
    house.execute("UPDATE keys SET version = 1 WHERE tenant = :tenant AND id = :id", one.id).await;
    house.sign(&one).await.unwrap();

    // An Ed25519 seed is a good AES key; the sort is authenticated too.
    let seed = house.generate("seed", KeySpec::Ed25519).await;
    house
        .execute(
            "UPDATE keys SET spec = 'aes256', public = '{\"kind\":\"aes256\"}' WHERE tenant = :tenant AND id = :id",
            seed.id,
        )
        .await;
    let confused = house.fresh().encrypt(house.tenant, seed.id, b"", b"text").await;
    assert!(matches!(confused, Err(Error::Provider(Fault::HandleDamaged))), "{confused:?}");
}

#[tokio::test]
async fn a_damaged_handle_is_refused_wherever_the_damage_is() {
    let house = House::new().await;
    let key = house.generate("key", KeySpec::Ed25519).await;
    let good = house.handle(house.tenant, key.id).await.unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x80;
        house.set_handle(house.tenant, key.id, bad).await;
        assert!(matches!(house.sign(&key).await, Err(Error::Provider(Fault::HandleDamaged))), "byte {at}");
    }
    for length in [0, 1, 60, 61, good.len() - 1] {
        house.set_handle(house.tenant, key.id, good[..length].to_vec()).await;
        assert!(
            matches!(house.sign(&key).await, Err(Error::Provider(Fault::HandleDamaged))),
            "{length} bytes"
        );
    }
}

#[tokio::test]
async fn the_callers_record_and_the_key_stand_or_fall_together() {
    let house = House::new().await;
    let refuse = |_: &TenantTx<'_>, _: &KeyInfo| {
        Err(Error::from(Fault::Internal("the audit entry cannot be written")))
    };
    let outcome = house.keyring.generate(house.tenant, new_key("key", KeySpec::Ed25519), refuse).await;
    assert!(matches!(outcome, Err(Error::Provider(Fault::Internal(_)))));
    assert!(house.keyring.find(house.tenant, "key").await.unwrap().is_none());

    let key = house.generate("key", KeySpec::Ed25519).await;
    let outcome = house.keyring.set_state(house.tenant, key.id, KeyState::Suspended, refuse).await;
    assert!(outcome.is_err());
    assert_eq!(house.keyring.get(house.tenant, key.id).await.unwrap().state, KeyState::Active);

    // What the record sees is what is stored.
    let (tell, told) = std::sync::mpsc::channel();
    let secret = ImportMaterial::Secret(SecretSlice::from(vec![3; 32]));
    let imported = house
        .keyring
        .import(house.tenant, new_key("other", KeySpec::Ed25519), secret, move |tx, key| {
            let stored = tx.query_opt(
                "SELECT name FROM keys WHERE tenant = :tenant AND id = :id",
                &params! { "id" => key.id },
                |row| row.get::<String>("name"),
            )?;
            tell.send((key.clone(), stored)).unwrap();
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
    assert_eq!(told.recv().unwrap(), (imported, Some("other".to_owned())));
}

#[tokio::test]
async fn a_locked_keystore_answers_nothing_but_what_is_public() {
    let house = House::new().await;
    let key = house.generate("key", KeySpec::Bip32Seed).await;
    let known = "m/84'/0'/0'".parse().unwrap();
    house.keyring.account_xpub(house.tenant, key.id, &known).await.unwrap();
    house.software.lock().await.unwrap();
    assert!(house.software.is_locked());
    assert!(matches!(house.sign(&key).await, Err(Error::Provider(Fault::Locked))));
    let new = house.keyring.generate(house.tenant, new_key("new", KeySpec::Ed25519), nothing).await;
    assert!(matches!(new, Err(Error::Provider(Fault::Locked))));
    let fresh = "m/84'/0'/9'".parse().unwrap();
    assert!(matches!(
        house.keyring.account_xpub(house.tenant, key.id, &fresh).await,
        Err(Error::Provider(Fault::Locked))
    ));
    assert!(!house.keyring.health().await[0].1.ready);
    house.keyring.account_xpub(house.tenant, key.id, &known).await.unwrap();

    house.software.reopen(common::passphrase()).await.unwrap();
    house.sign(&key).await.unwrap();
    // This keyring has seen the provider fail: it comes back by passing its examination, not by itself.
    assert!(!house.keyring.health().await[0].1.ready);
    house.keyring.set_in_use(SOFTWARE, true).await.unwrap();
    assert!(house.keyring.health().await[0].1.ready);
}

#[tokio::test]
async fn a_key_of_a_provider_that_is_not_configured_says_so() {
    let house = House::new().await;
    let mut new = new_key("key", KeySpec::Ed25519);
    new.provider = "yubihsm".to_owned();
    let absent = house.keyring.generate(house.tenant, new, nothing).await.unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::Unavailable);
    assert!(absent.to_string().contains("yubihsm"));
}

#[tokio::test]
async fn public_parts_keep_their_form_in_json() {
    let house = House::new().await;
    for spec in KeySpec::ALL {
        let key = house.generate(spec.name(), spec).await;
        let text = serde_json::to_string(&key.public).unwrap();
        assert_eq!(serde_json::from_str::<PublicMaterial>(&text).unwrap(), key.public);
    }
}
