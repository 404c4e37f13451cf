//! Keys on their way from one device to another.

use anya_provider::{
    Error, Generated, ImportMaterial, KeyContext, KeySpec, Provider, PublicMaterial, Residence, Transfer,
    TransferScheme,
};
use anya_yubihsm::{AttestationFault, Expectation, Origin};
use bitcoin::secp256k1::{Secp256k1, SecretKey};

use crate::{
    Case,
    kit::{Bench, HELD, LEAVING, SECRET, STAYING, again, ctx, objects, run, signs},
};

pub(crate) const CASES: &[Case] = &[
    ("moves::a_key_works_in_both_devices", both),
    ("moves::what_does_not_belong_is_refused_and_nothing_is_left", refused),
    ("moves::what_was_not_made_to_leave_stays", stays),
    ("moves::a_secret_from_outside_may_leave_again", imported),
];

const WRAP: TransferScheme = TransferScheme::YubihsmWrap;

async fn depart(from: &Bench, to: &Bench, ctx: &KeyContext, key: &Generated) -> (Vec<u8>, Transfer) {
    let offer = to.provider.transfer_offer(&again(ctx), WRAP).await.unwrap();
    let out = from.provider.transfer_out(&again(ctx), &key.handle, WRAP, &offer.public).await.unwrap();
    (offer.ticket, out)
}

fn both() {
    run(async {
        let (first, second) = (Bench::new(41).await, Bench::new(42).await);
        let before = objects(&second.device);
        for spec in HELD {
            let ctx = ctx(spec);
            let key = first.provider.generate(&ctx, LEAVING).await.unwrap();
            assert_eq!(key.residence, Residence::Device);
            assert!(signs(&first.provider, &ctx, &key).await, "{spec}");
            let (ticket, transfer) = depart(&first, &second, &ctx, &key).await;
            let arrived =
                second.provider.transfer_in(&again(&ctx), LEAVING, &ticket, &transfer).await.unwrap();
            assert_eq!(arrived.public, key.public);
            assert!(signs(&second.provider, &ctx, &arrived).await, "{spec}");
            assert!(signs(&first.provider, &ctx, &key).await, "{spec}");

            let any = Expectation::default();
            let made = first.judge(&first.evidence(&ctx, &key).await, &key.public, &any).unwrap();
            assert!(made.is_exportable());
            let evidence = second.evidence(&ctx, &arrived).await;
            let fault = second.judge(&evidence, &key.public, &any);
            assert_eq!(fault, Err(AttestationFault::Origin(Origin::WrappedGenerated)));
            let replica = Expectation { accept_wrapped: true, ..any };
            assert!(second.judge(&evidence, &key.public, &replica).is_ok());

            let held = second.provider.inventory(crate::kit::soon()).await.unwrap();
            assert!(held.iter().any(|held| (held.key, &held.handle) == (ctx.key, &arrived.handle)));
            second.provider.destroy(&again(&ctx), &arrived.handle).await.unwrap();
            assert_eq!(objects(&second.device), before, "{spec}: the key and what describes it");
        }
    });
}

fn refused() {
    run(async {
        let (first, second) = (Bench::new(41).await, Bench::new(42).await);
        let stranger = Bench::with(43, &SECRET.replace("00", "99")).await;
        let ctx = ctx(KeySpec::Secp256k1);
        let key = first.provider.generate(&ctx, LEAVING).await.unwrap();
        let (ticket, transfer) = depart(&first, &second, &ctx, &key).await;
        let before = (objects(&second.device), objects(&stranger.device));

        let field = |outcome: Result<Generated, Error>, name: &str| match outcome {
            Err(Error::Invalid { field, .. }) => assert_eq!(field, name),
            other => panic!("{name}: {other:?}"),
        };
        let take = |bench: &Bench, ctx: &KeyContext, template, ticket: &[u8], transfer: &Transfer| {
            let (provider, ctx) = (bench.provider.clone(), again(ctx));
            let (ticket, transfer) = (ticket.to_vec(), transfer.clone());
            async move { provider.transfer_in(&ctx, template, &ticket, &transfer).await }
        };
        let mut touched = transfer.clone();
        touched.wrapped[60] ^= 1;
        field(take(&second, &ctx, LEAVING, &ticket, &touched).await, "transfer");
        touched.wrapped.truncate(5);
        assert!(take(&second, &ctx, LEAVING, &ticket, &touched).await.is_err());
        field(take(&stranger, &ctx, LEAVING, &ticket, &transfer).await, "transfer");
        field(take(&second, &ctx, STAYING, &ticket, &transfer).await, "transferable");
        let elsewhere = KeyContext { tenant: anya_primitives::TenantId::new(), ..ctx.clone() };
        field(take(&second, &elsewhere, LEAVING, &ticket, &transfer).await, "ticket");
        let sort = KeyContext { spec: KeySpec::P256, ..ctx.clone() };
        let offer = second.provider.transfer_offer(&sort, WRAP).await.unwrap();
        field(take(&second, &sort, LEAVING, &offer.ticket, &transfer).await, "transfer");
        assert_eq!((objects(&second.device), objects(&stranger.device)), before);

        take(&second, &ctx, LEAVING, &ticket, &transfer).await.unwrap();
        let twice = take(&second, &ctx, LEAVING, &ticket, &transfer).await;
        assert!(matches!(twice, Err(Error::Unavailable { .. })), "{twice:?}");

        let bad = first.provider.transfer_out(&again(&ctx), &key.handle, WRAP, &[0, 1]).await.map(drop);
        assert!(matches!(bad, Err(Error::Invalid { field: "public", .. })), "{bad:?}");
        let other = crate::kit::ctx(KeySpec::Secp256k1);
        let public = crate::kit::WRAP_KEY.to_be_bytes();
        let crossed = first.provider.transfer_out(&other, &key.handle, WRAP, &public).await.map(drop);
        assert!(matches!(crossed, Err(Error::HandleDamaged)), "{crossed:?}");
        let seed = crate::kit::ctx(KeySpec::Bip32Seed);
        let offer = second.provider.transfer_offer(&seed, WRAP).await;
        assert!(matches!(offer, Err(Error::Unsupported { .. })), "{offer:?}");
    });
}

fn stays() {
    run(async {
        let bench = Bench::new(41).await;
        let ctx = ctx(KeySpec::Ed25519);
        let key = bench.provider.generate(&ctx, STAYING).await.unwrap();
        let public = crate::kit::WRAP_KEY.to_be_bytes();
        let out = bench.provider.transfer_out(&again(&ctx), &key.handle, WRAP, &public).await.map(drop);
        assert!(matches!(out, Err(Error::NotTransferable(_))), "{out:?}");
    });
}

fn imported() {
    run(async {
        let (first, second) = (Bench::new(41).await, Bench::new(42).await);
        let ctx = ctx(KeySpec::Secp256k1);
        for bad in [vec![0; 32], vec![0xff; 32], vec![1; 31]] {
            let refused = first.provider.import(&ctx, LEAVING, ImportMaterial::Secret(bad.into())).await;
            assert!(matches!(refused, Err(Error::Invalid { field: "secret", .. })), "{refused:?}");
        }
        let key = first
            .provider
            .import(&ctx, LEAVING, ImportMaterial::Secret(vec![0x22; 32].into()))
            .await
            .unwrap();
        let expected = SecretKey::from_slice(&[0x22; 32]).unwrap().public_key(&Secp256k1::new());
        assert_eq!(key.public, PublicMaterial::Secp256k1 { public_key: expected });
        assert!(signs(&first.provider, &ctx, &key).await);
        let (ticket, transfer) = depart(&first, &second, &ctx, &key).await;
        let arrived = second.provider.transfer_in(&again(&ctx), LEAVING, &ticket, &transfer).await.unwrap();
        assert!(signs(&second.provider, &ctx, &arrived).await);
        let evidence = second.evidence(&ctx, &arrived).await;
        let replica = Expectation { accept_wrapped: true, ..Expectation::default() };
        let fault = second.judge(&evidence, &key.public, &replica);
        assert_eq!(fault, Err(AttestationFault::Origin(Origin::WrappedImported)));
    });
}
