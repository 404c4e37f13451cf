//! Which scripts a wallet can have follows from what the providers of its keys can compute.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support;

use std::{sync::Arc, time::Instant};

use anya_keys::{Algorithm, HdMode, KeySpec, KeyUsage, NewKey};
use anya_keystore::{KdfCost, SOFTWARE, SoftwareProvider};
use anya_primitives::{Classified, ErrorKind, KeyId};
use anya_provider::{
    Capabilities, DerivedPublic, Erasure, Generated, Health, KeyContext, KeyTemplate, Provider, Result,
    SignRequest, SignatureBytes, Transfer, TransferOffer, TransferScheme,
};
use anya_wallet::{Cosigner, ScriptKind, Signer};
use async_trait::async_trait;
use bitcoin::bip32::DerivationPath;
use support::{House, Outsider};

/// A device that derives keys and has never heard of BIP340.
struct NoSchnorr {
    honest: SoftwareProvider,
    capabilities: Capabilities,
}

#[async_trait]
impl Provider for NoSchnorr {
    fn id(&self) -> &str {
        self.honest.id()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn health(&self, deadline: Instant) -> Health {
        self.honest.health(deadline).await
    }

    async fn generate(&self, ctx: &KeyContext, template: KeyTemplate) -> Result<Generated> {
        self.honest.generate(ctx, template).await
    }

    async fn derive_public(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        path: &DerivationPath,
    ) -> Result<DerivedPublic> {
        self.honest.derive_public(ctx, handle, path).await
    }

    async fn sign(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        request: &SignRequest<'_>,
    ) -> Result<SignatureBytes> {
        match request.algorithm.algorithm() {
            Algorithm::SchnorrSecp256k1 => Err(self.unsupported("compute schnorr-secp256k1".to_owned())),
            _ => self.honest.sign(ctx, handle, request).await,
        }
    }

    async fn destroy(&self, ctx: &KeyContext, handle: &[u8]) -> Result<Erasure> {
        self.honest.destroy(ctx, handle).await
    }

    async fn transfer_offer(&self, ctx: &KeyContext, scheme: TransferScheme) -> Result<TransferOffer> {
        self.honest.transfer_offer(ctx, scheme).await
    }

    async fn transfer_in(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        ticket: &[u8],
        transfer: &Transfer,
    ) -> Result<Generated> {
        self.honest.transfer_in(ctx, template, ticket, transfer).await
    }
}

async fn house_with_token() -> House {
    let house = House::new().await;
    let file = house.folder.path().join("token.json");
    let passphrase = secrecy::SecretString::from("a passphrase for tests");
    let honest = SoftwareProvider::init(&file, passphrase, KdfCost::insecure_for_tests()).await.unwrap();
    let honest = honest.with_id("token").unwrap();
    let mut capabilities = honest.capabilities().clone();
    // It derives by itself, so that nothing outside it could sign in its place.
    capabilities.hd = HdMode::InDevice;
    capabilities.algorithms.retain(|algorithm| *algorithm != Algorithm::SchnorrSecp256k1);
    house.keyring.attach(Arc::new(NoSchnorr { honest, capabilities })).await.unwrap();
    house
}

async fn make(house: &House, new: NewKey) -> KeyId {
    house.keyring.generate(house.tenant, new, |_, _| Ok::<_, anya_keys::Error>(())).await.unwrap().id
}

#[tokio::test]
async fn taproot_needs_every_provider_of_the_key_to_know_bip340() {
    let house = house_with_token().await;
    let alone = make(&house, NewKey::new("alone", KeySpec::Bip32Seed, "token")).await;
    let both = NewKey { replicas: vec!["token".into()], ..NewKey::new("both", KeySpec::Bip32Seed, SOFTWARE) };
    let both = make(&house, both).await;
    for key in [alone, both] {
        let refused = house.make("taproot", ScriptKind::Tr { key, account: 0 }).await.unwrap_err();
        assert_eq!((refused.kind(), refused.field()), (ErrorKind::Unsupported, Some("script")));
        let text = refused.to_string();
        assert!(text.contains("`token`") && text.contains("wpkh or multisig would do"), "{text}");
        house.make(&format!("segwit {key}"), ScriptKind::Wpkh { key, account: 0 }).await.unwrap();
    }
    let key = make(&house, NewKey::new("software", KeySpec::Bip32Seed, SOFTWARE)).await;
    house.make("taproot", ScriptKind::Tr { key, account: 0 }).await.unwrap();
}

#[tokio::test]
async fn a_key_s_own_rules_count_as_well() {
    let house = House::new().await;
    let schnorr = KeyUsage { algorithms: Some(vec![Algorithm::SchnorrSecp256k1]), ..KeyUsage::default() };
    let key =
        make(&house, NewKey { usage: schnorr, ..NewKey::new("taproot", KeySpec::Bip32Seed, SOFTWARE) }).await;
    let refused = house.make("segwit", ScriptKind::Wpkh { key, account: 0 }).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(refused.to_string().contains("tr would do"), "{refused}");
    house.make("taproot", ScriptKind::Tr { key, account: 0 }).await.unwrap();

    let direct = KeyUsage { direct: true, ..KeyUsage::default() };
    let key =
        make(&house, NewKey { usage: direct, ..NewKey::new("direct", KeySpec::Bip32Seed, SOFTWARE) }).await;
    let cosigner = |name: &str, signer| Cosigner { name: name.to_owned(), signer };
    let script = ScriptKind::WshSortedMulti {
        threshold: 1,
        cosigners: vec![
            cosigner("ours", Signer::Reserve { key, account: 0 }),
            cosigner("theirs", Signer::Outside { xpub: Outsider::new(1).xpub() }),
        ],
    };
    let refused = house.make("shared", script).await.unwrap_err();
    assert_eq!((refused.kind(), refused.field()), (ErrorKind::Invalid, Some("script")));
}

#[tokio::test]
async fn a_key_that_derives_none_is_a_cosigner_among_others_and_nothing_else() {
    let house = House::new().await;
    let single = |name| NewKey::new(name, KeySpec::Secp256k1, SOFTWARE);
    let (key, other) = (make(&house, single("one")).await, make(&house, single("other")).await);
    let outsider = Outsider::new(1).xpub();
    let cosigner = |name: &str, signer| Cosigner { name: name.to_owned(), signer };
    let script = |one: Signer, two: Signer| ScriptKind::WshSortedMulti {
        threshold: 2,
        cosigners: vec![cosigner("one", one), cosigner("two", two)],
    };
    let active = |key, account| Signer::Active { key, account };
    let outside = || Signer::Outside { xpub: outsider.clone() };
    let wallet = house.make("good", script(active(key, 0), outside())).await.unwrap();
    // What was stored is what was made.
    let house = house.restarted().await;
    assert_eq!(house.wallets.get(house.tenant, wallet.id).unwrap(), wallet);

    let direct = KeyUsage { direct: true, ..KeyUsage::default() };
    let direct = make(&house, NewKey { usage: direct, ..single("direct") }).await;
    let schnorr = KeyUsage { algorithms: Some(vec![Algorithm::SchnorrSecp256k1]), ..KeyUsage::default() };
    let schnorr = make(&house, NewKey { usage: schnorr, ..single("schnorr") }).await;
    let refusals = [
        (script(active(key, 1), outside()), Some("script.cosigners[0].signer.account")),
        (script(active(direct, 0), outside()), Some("script")),
        (script(active(schnorr, 0), outside()), Some("script")),
        (script(active(key, 0), active(other, 0)), Some("script")),
    ];
    for (script, field) in refusals {
        let refused = house.make("refused", script).await.unwrap_err();
        assert_eq!(refused.field(), field, "{refused}");
    }
    for script in [ScriptKind::Wpkh { key, account: 0 }, ScriptKind::Tr { key, account: 0 }] {
        house.make("alone", script).await.unwrap_err();
    }
}
