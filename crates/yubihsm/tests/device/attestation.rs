//! Certificates of the device for its keys.

use anya_provider::{
    Attestation, Error, Evidence, ImportMaterial, KeySpec, Provider, ProviderKind, TransferScheme,
};
use anya_yubihsm::{AttestationFault, Expectation, Origin};

use crate::{
    Case,
    kit::{Bench, HELD, LEAVING, STAYING, WRAP_KEY, again, ctx, over, run, shell, signs},
};

pub(crate) const CASES: &[Case] = &[
    ("attestation::keys_sign_by_the_module_and_are_attested_by_the_device", each_sort),
    ("attestation::evidence_for_something_else_is_refused", something_else),
    ("attestation::an_imported_key_is_told_from_one_that_was_made_here", imported),
    ("attestation::of_a_seed_there_are_claims_only", seeds),
    ("attestation::a_key_is_found_again_and_one_that_is_gone_is_not", found_again),
    ("attestation::an_id_that_was_taken_over_is_not_taken_for_the_key", taken_over),
    ("attestation::what_is_declared", declared),
];

fn each_sort() {
    run(async {
        let bench = Bench::new(41).await;
        for spec in HELD {
            let ctx = ctx(spec);
            let key = bench.provider.generate(&ctx, STAYING).await.unwrap();
            assert!(signs(&bench.provider, &ctx, &key).await, "{spec}");
            let evidence = bench.evidence(&ctx, &key).await;
            let expected = Expectation { serial: Some(41), ..Expectation::default() };
            let attested = bench.judge(&evidence, &key.public, &expected).unwrap();
            assert_eq!((attested.origin, attested.is_exportable()), (Origin::Generated, false));
            assert!(format!("anya/{}/", ctx.tenant).starts_with(&attested.label[..40]), "{attested:?}");
            let listed = shell(&bench.device, "list-objects", &[]);
            assert!(listed.contains(&format!("id: {:#06x}, type: asymmetric-key", attested.object_id)));
        }
        bench.provider.close().await;
    });
}

fn something_else() {
    run(async {
        let (bench, other) = (Bench::new(41).await, Bench::new(42).await);
        let (one, two) = (ctx(KeySpec::Secp256k1), ctx(KeySpec::Secp256k1));
        let first = bench.provider.generate(&one, STAYING).await.unwrap();
        let second = bench.provider.generate(&two, STAYING).await.unwrap();
        let evidence = bench.evidence(&one, &first).await;
        let any = Expectation::default();
        let attested = bench.judge(&evidence, &first.public, &any).unwrap();
        assert_eq!(bench.judge(&evidence, &second.public, &any), Err(AttestationFault::PublicKey));
        let wrong = Expectation { object_id: Some(attested.object_id ^ 1), ..any };
        assert!(matches!(
            bench.judge(&evidence, &first.public, &wrong),
            Err(AttestationFault::ObjectId { .. })
        ));
        let wrong = Expectation { serial: Some(42), ..any };
        assert!(matches!(
            bench.judge(&evidence, &first.public, &wrong),
            Err(AttestationFault::Serial { .. })
        ));
        assert!(matches!(other.judge(&evidence, &first.public, &any), Err(AttestationFault::Chain(_))));

        // A device that signs another device's name.
        bench.device.lie_about_serial(42);
        let lie = bench.evidence(&one, &first).await;
        let fault = bench.judge(&lie, &first.public, &Expectation { serial: Some(42), ..any });
        assert_eq!(fault, Err(AttestationFault::Malformed("device")));
        bench.device.tell_the_truth();

        // The certificate of one device with the chain of another.
        let foreign = other.provider.generate(&one, STAYING).await.unwrap();
        let foreign = other.evidence(&one, &foreign).await;
        let (Evidence::Certificate { chain: mine }, Evidence::Certificate { chain: theirs }) =
            (evidence, foreign)
        else {
            panic!("evidence of another kind");
        };
        let mixed = Evidence::Certificate { chain: vec![mine[0].clone(), theirs[1].clone()] };
        assert!(bench.judge(&mixed, &first.public, &any).is_err());
        for at in (0..mine[0].0.len()).step_by(29) {
            let mut touched = mine.clone();
            touched[0].0[at] ^= 0x10;
            let touched = Evidence::Certificate { chain: touched };
            assert!(bench.judge(&touched, &first.public, &any).is_err(), "byte {at}");
        }
        // One key's handle in the place of another's.
        let crossed = bench.provider.attest(&again(&two), &first.handle, &[0; 32]).await;
        assert!(matches!(crossed, Err(Error::HandleDamaged)), "{crossed:?}");
    });
}

fn imported() {
    run(async {
        let bench = Bench::new(41).await;
        let ctx = ctx(KeySpec::Secp256k1);
        let secret = ImportMaterial::Secret(vec![0x11; 32].into());
        let key = bench.provider.import(&ctx, STAYING, secret).await.unwrap();
        assert!(signs(&bench.provider, &ctx, &key).await);
        let evidence = bench.evidence(&ctx, &key).await;
        let expected = Expectation { accept_wrapped: true, ..Expectation::default() };
        let fault = bench.judge(&evidence, &key.public, &expected);
        assert_eq!(fault, Err(AttestationFault::Origin(Origin::Imported)));
        // By PKCS#11 the device says that it never left.
        let Evidence::Claims { claims } =
            bench.inner.attest(&again(&ctx), &key.handle, &[0; 32]).await.unwrap()
        else {
            panic!("evidence of another kind");
        };
        assert_eq!(claims["CKA_NEVER_EXTRACTABLE"], "true");
    });
}

fn seeds() {
    run(async {
        let bench = Bench::new(41).await;
        let ctx = ctx(KeySpec::Bip32Seed);
        let key = bench.provider.generate(&ctx, STAYING).await.unwrap();
        assert!(matches!(bench.evidence(&ctx, &key).await, Evidence::Claims { .. }));
    });
}

fn found_again() {
    run(async {
        let bench = Bench::new(41).await;
        let ctx = ctx(KeySpec::P256);
        let first = bench.provider.generate(&ctx, STAYING).await.unwrap();
        bench.evidence(&ctx, &first).await;
        bench.provider.destroy(&again(&ctx), &first.handle).await.unwrap();
        let gone = bench.provider.attest(&again(&ctx), &first.handle, &[0; 32]).await;
        assert!(matches!(gone, Err(Error::Missing(_))), "{gone:?}");
        let second = bench.provider.generate(&again(&ctx), STAYING).await.unwrap();
        let evidence = bench.evidence(&ctx, &second).await;
        let attested = bench.judge(&evidence, &second.public, &Expectation::default()).unwrap();

        // Another provider over the same device has to look for it.
        let fresh = over(&bench.device, &bench.inner, "password", None).await;
        let found = fresh.attest(&again(&ctx), &second.handle, &[0; 32]).await.unwrap();
        assert!(bench.judge(&found, &second.public, &Expectation::default()).is_ok());

        let id = attested.object_id.to_string();
        shell(&bench.device, "delete-object", &["-i", &id, "-t", "asymmetric-key"]);
        let gone = bench.provider.attest(&again(&ctx), &second.handle, &[0; 32]).await;
        assert!(matches!(gone, Err(Error::Missing(_))), "{gone:?}");
    });
}

/// A stranger's key under the id of one that is gone, whose label still lies beside it.
fn taken_over() {
    run(async {
        let bench = Bench::new(41).await;
        let ctx = ctx(KeySpec::Secp256k1);
        let key = bench.provider.generate(&ctx, LEAVING).await.unwrap();
        let evidence = bench.evidence(&ctx, &key).await;
        let id = bench.judge(&evidence, &key.public, &Expectation::default()).unwrap().object_id.to_string();
        shell(&bench.device, "delete-object", &["-i", &id, "-t", "asymmetric-key"]);
        let rights = "sign-ecdsa,exportable-under-wrap";
        let words = ["-i", &id, "-l", "theirs", "-d", "1", "-c", rights, "-A", "eck256"];
        shell(&bench.device, "generate-asymmetric-key", &words);
        let fresh = over(&bench.device, &bench.inner, "password", Some(WRAP_KEY)).await;
        for provider in [&*bench.provider, &fresh] {
            let scheme = TransferScheme::YubihsmWrap;
            let public = WRAP_KEY.to_be_bytes();
            let out = provider.transfer_out(&again(&ctx), &key.handle, scheme, &public).await.map(drop);
            assert!(matches!(out, Err(Error::Missing(_))), "{out:?}");
        }
        // What is gone is no obstacle to the same key made anew.
        let anew = bench.provider.generate(&again(&ctx), LEAVING).await.unwrap();
        let evidence = bench.evidence(&ctx, &anew).await;
        assert!(bench.judge(&evidence, &anew.public, &Expectation::default()).is_ok());
    });
}

fn declared() {
    run(async {
        let bench = Bench::new(41).await;
        let all = bench.provider.capabilities();
        assert_eq!((all.kind, all.attestation), (ProviderKind::Yubihsm, Attestation::Certificate));
        assert_eq!(all.transfers, [TransferScheme::YubihsmWrap]);
        let inner = bench.inner.capabilities();
        assert_eq!((&all.specs, &all.residences, all.hd), (&inner.specs, &inner.residences, inner.hd));
        let health = bench.provider.health(crate::kit::soon()).await;
        assert!(health.ready && health.detail.contains("device 41, firmware 2.3.2, log "), "{health:?}");
        let alone = over(&bench.device, &bench.inner, "password", None).await;
        assert!(alone.capabilities().transfers.is_empty());
        let ctx = ctx(KeySpec::P256);
        for outcome in [
            alone.generate(&ctx, LEAVING).await.map(drop),
            alone.transfer_offer(&ctx, TransferScheme::YubihsmWrap).await.map(drop),
            bench.provider.transfer_offer(&ctx, TransferScheme::RsaAesKeyWrap).await.map(drop),
        ] {
            assert!(matches!(outcome, Err(Error::Unsupported { .. })), "{outcome:?}");
        }
    });
}
