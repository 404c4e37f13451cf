//! The short form: quick, and not taken in either.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anya_conformance::{Canary, Failure, short_form};
use anya_primitives::{KeyId, TenantId};
use anya_provider::{Generated, KeyContext, KeySpec, KeyTemplate, Provider};

use crate::{
    common::House,
    liar::{Liar, Lie},
};

async fn canary(provider: &dyn Provider, spec: KeySpec) -> (KeyContext, Generated) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let ctx = KeyContext { tenant: TenantId::SERVER, key: KeyId::new(), version: 1, spec, deadline };
    let made = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    (ctx, made)
}

async fn try_one(lie: Lie, spec: KeySpec, within: Duration) -> Result<(), Failure> {
    let house = House::new().await;
    // Made while it was honest, as a canary is.
    let (ctx, made) = canary(&*house.software, spec).await;
    let liar = Liar::new(house.software.clone(), lie);
    liar.remember(&ctx, &made.handle);
    let canary = Canary { ctx: &ctx, handle: &made.handle, public: &made.public };
    short_form(&liar, canary, Instant::now() + within).await
}

const WHILE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn an_honest_provider_is_let_back_in() {
    let house = House::new().await;
    for spec in KeySpec::ALL {
        let (ctx, made) = canary(&*house.software, spec).await;
        let canary = Canary { ctx: &ctx, handle: &made.handle, public: &made.public };
        short_form(&*house.software, canary, Instant::now() + WHILE).await.unwrap();
    }
}

#[tokio::test]
async fn liars_stay_out() {
    for (lie, spec, case) in [
        (Lie::ConstantSignature, KeySpec::Secp256k1, "short/second-signature"),
        (Lie::ConstantSignature, KeySpec::Ed25519, "short/second-signature"),
        (Lie::AnotherDigest, KeySpec::Bip32Seed, "short/signature"),
        (Lie::SignsForAnotherPath, KeySpec::Bip32Seed, "short/signature"),
        (Lie::IgnoresTenant, KeySpec::Secp256k1, "short/another-tenant"),
        (Lie::IgnoresTenant, KeySpec::Aes256, "short/another-tenant"),
        (Lie::OpensTampered, KeySpec::Aes256, "short/another-tenant"),
    ] {
        let failure = try_one(lie, spec, WHILE).await.unwrap_err();
        assert_eq!(failure.case, case, "{lie:?}: {failure}");
    }
}

#[tokio::test]
async fn another_key_in_the_canarys_place_stays_out() {
    let house = House::new().await;
    let (ctx, made) = canary(&*house.software, KeySpec::Secp256k1).await;
    let (_, other) = canary(&*house.software, KeySpec::Secp256k1).await;
    let canary = Canary { ctx: &ctx, handle: &made.handle, public: &other.public };
    let failure = short_form(&*house.software, canary, Instant::now() + WHILE).await.unwrap_err();
    assert_eq!(failure.case, "short/signature");
}

#[tokio::test]
async fn nonces_that_repeat_stay_out() {
    let house = House::new().await;
    let liar = Arc::new(Liar::new(house.software.clone(), Lie::FixedNonce));
    let (ctx, made) = canary(&*liar, KeySpec::Secp256k1).await;
    let canary = Canary { ctx: &ctx, handle: &made.handle, public: &made.public };
    let failure = short_form(&*liar, canary, Instant::now() + WHILE).await.unwrap_err();
    assert_eq!(failure.case, "short/nonce");
}

#[tokio::test]
async fn silence_ends_with_the_deadline() {
    let began = Instant::now();
    let failure =
        try_one(Lie::HangsOnSign, KeySpec::Secp256k1, Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(failure.reason, "no answer by the deadline");
    assert!(began.elapsed() < Duration::from_secs(5));
}
