//! Providers that lie, each in one way. The suite catches each of them, in the case that is there for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod curve;
mod liar;
mod provider;
mod short;

use std::{sync::Arc, time::Duration};

use anya_conformance::{Limits, Report, Subject, Suite};
use anya_provider::Provider;
use common::{House, brisk, passphrase, run};
use liar::{Liar, Lie};

async fn examine(lie: Lie, suite: &Suite, limits: Limits) -> Report {
    let house = House::new().await;
    let liar = Arc::new(Liar::new(house.software.clone(), lie));
    let again = liar.clone();
    let subject = Subject::new(liar).within(limits).renewing_kek(Some(passphrase())).reopened_by(move || {
        let again = again.clone();
        async move {
            if lie == Lie::ForgetsOnRestart {
                let other = House::new().await;
                return Ok(Arc::new(Liar::new(other.software.clone(), lie)) as Arc<dyn Provider>);
            }
            Ok(Arc::new(Liar::reopened(&again)) as Arc<dyn Provider>)
        }
    });
    run(suite, subject).await
}

/// The case of this name fails, and says something like this.
async fn caught(lie: Lie, case: &str, says: &str) {
    let report = examine(lie, &Suite::only(&[case]), brisk()).await;
    let (_, reason) = report
        .failures()
        .find(|(id, _)| *id == case)
        .unwrap_or_else(|| panic!("{lie:?} was not caught by {case}: {:?}", report.case(case)));
    assert!(reason.contains(says), "{lie:?}: {reason}");
}

macro_rules! liars {
    ($($name:ident: $lie:ident, $case:literal, $says:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            caught(Lie::$lie, $case, $says).await;
        }
    )*};
}

liars! {
    constant_signatures: ConstantSignature, "sign/cross-verify/ecdsa-secp256k1", "no signature by this key";
    a_fixed_nonce: FixedNonce, "nonce/ecdsa-secp256k1", "share their nonce";
    a_short_nonce: ShortNonce, "nonce/ecdsa-secp256k1", "a nonce of 128 bits";
    a_biased_nonce: BiasedNonce, "nonce/ecdsa-secp256k1", "byte 31";
    another_keys_signature: AnotherKeysSignature, "nonce/ecdsa-secp256k1", "no signature by this key";
    a_signature_over_something_else: AnotherDigest, "sign/cross-verify/schnorr-secp256k1", "no signature";
    another_public_key: WrongPublicKey, "sign/cross-verify/ecdsa-secp256k1", "no signature by this key";
    messages_that_are_cut: CutsMessages, "sign/message-lengths", "no signature";
    digests_that_are_refused: RefusesZeros, "sign/edge-digests/ecdsa-secp256k1", "a digest of zeros";
    requests_that_are_bent: SignsAnything, "sign/wrong-requests", "a path with a";
    a_panic: Panics, "sign/cross-verify/ecdsa-secp256k1", "the provider panicked";
    late_work: WorksAfterDeadline, "deadline/past", "after the deadline: it was done";
    stale_answers: GivesStaleAnswers, "deadline/abandoned", "no signature";
    ready_when_closed: AlwaysReady, "restart/health-after-close", "says that it is ready, and does not sign";
    the_same_key_twice: SameKeyTwice, "keys/distinct", "the same key was given twice";
    writes_that_are_lost: LosesWrites, "concurrency/keys", "one is lost";
    callers_that_are_mixed_up: MixesCallers, "concurrency/signatures", "no signature";
    keys_that_are_forgotten: ForgetsOnRestart, "restart/keys-survive", "opened again";
    no_tenants: IgnoresTenant, "tenant/another-tenant", "as another tenant's: it was done";
    no_key_ids: IgnoresKey, "tenant/another-key", "as another key: it was done";
    no_versions: IgnoresVersion, "tenant/another-version", "as another version: it was done";
    no_specs: IgnoresSpec, "tenant/another-spec", "it was done";
    no_handles: IgnoresHandle, "handle/garbage", "it was done";
    handles_that_are_malleable: IgnoresEndOfHandle, "handle/altered", "it was done";
    handles_with_secrets: SecretInHandle, "handle/holds-no-secret", "holds its secret";
    imports_that_are_not: ImportIgnoresSecret, "import/known-answers/secp256k1", "another public key than its own";
    a_key_of_zero: ImportsZero, "import/refused", "a secp256k1 key of zero: it was done";
    refusals_that_repeat_secrets: RefusalRepeatsSecret, "import/refused", "the refusal repeats the secret";
    another_path: DerivesAnotherPath, "derive/bip32-vectors", "is another";
    another_child_of_an_account: DerivesAnotherPath, "derive/agrees-with-public-derivation", "is not the child of its account";
    signatures_for_another_path: SignsForAnotherPath, "derive/signs-for-its-path", "no signature";
    an_undeclared_algorithm: AnswersUndeclaredAlgorithm, "truth/undeclared/algorithms", "it was done";
    undeclared_evidence: AnswersUndeclaredAttestation, "truth/undeclared/attestation", "it was done";
    another_refusal_than_unsupported: AnswersUndeclaredWrongly, "truth/undeclared/kek", "refused, but not as `unsupported`";
    a_device_that_is_none: ClaimsDevice, "residence/device-keys-are-held", "does not list it";
    another_place_than_asked: ElsewhereThanAsked, "residence/as-asked", "is said to live in `device-wrapped`";
    another_tenants_list: ListsForAnother, "tenant/inventory", "not listed under its tenant";
    ciphertexts_that_always_open: OpensTampered, "cipher/tampered", "it was done";
    a_fixed_cipher_nonce: FixedCipherNonce, "cipher/nonces", "encrypted twice to the same";
    another_cipher: OwnCipher, "cipher/cross-decrypt", "does not open what it encrypted";
    a_destroyed_key_that_works: DestroysNothing, "life/destroyed", "use a destroyed secp256k1 key: it was done";
    strangers_that_destroy: DestroysForStrangers, "tenant/destroy", "destroyed under another's name";
    destruction_of_all: DestroysAll, "life/destroyed-alone", "after another";
    replicas_from_rubbish: TakesTampered, "transfer/tampered", "it was done";
    replicas_that_are_not: ReplicaIsAnother, "transfer/replica", "no signature";
    confined_keys_given_away: GivesAwayConfined, "transfer/confined", "it was done";
    offers_from_anybody: WrapsForAnybody, "transfer/offers", "it was done";
    handles_that_are_never_renewed: RewrapsNothing, "kek/rotation", "said to be wrapped under the new sealing key";
    generations_that_live_on: RetiresNothing, "kek/rotation", "of a retired generation: it was done";
    the_current_generation_retired: RetiresCurrent, "kek/rotation", "retired the current generation";
    evidence_of_another_kind: AnotherKindOfEvidence, "attest/kind", "evidence of another kind";
    evidence_that_is_replayed: StaleEvidence, "attest/nonce", "it can be replayed";
}

/// Limits for a provider that does not answer.
fn impatient() -> Limits {
    Limits {
        call: Duration::from_millis(200),
        slow: Duration::from_millis(1000),
        grace: Duration::from_millis(200),
        case: Duration::from_secs(5),
        measure: Duration::ZERO,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signatures_that_never_come() {
    let report =
        examine(Lie::HangsOnSign, &Suite::only(&["deadline/kept", "sign/cross-verify"]), impatient()).await;
    for case in ["deadline/kept", "sign/cross-verify/ecdsa-secp256k1"] {
        let (_, reason) = report.failures().find(|(id, _)| *id == case).unwrap();
        assert!(reason.contains("it hangs"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_after_the_deadline() {
    let report = examine(Lie::AnswersLate, &Suite::only(&["deadline/kept"]), impatient()).await;
    let (_, reason) = report.failures().next().unwrap();
    assert!(reason.contains("no answer 200 ms after the deadline"), "{reason}");
}

/// The rest of the suite is not waited for, and nothing is claimed about it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_hangs_ends_the_run() {
    let report = examine(Lie::HangsAlways, &Suite::new(), impatient()).await;
    assert!(!report.passed());
    assert!(report.took < Duration::from_secs(60), "{:?}", report.took);
    assert!(report.count("failed") >= 4);
    assert!(report.count("not exercised") > 50, "{}", report.count("not exercised"));
    assert_eq!(report.count("passed"), 1, "only that nothing is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_stays_behind() {
    let report = examine(Lie::RefusesToDestroy, &Suite::only(&["keys/public-form"]), brisk()).await;
    let (case, reason) = report.failures().next().unwrap();
    assert_eq!(case, "cleanup/nothing-left");
    assert!(reason.contains("not today"), "{reason}");
    assert_eq!(report.leftovers.len(), 4);
}

/// The wrapper itself is no lie: with fewer abilities it passes, and what it lacks is not applicable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_provider_of_few_abilities_passes() {
    let report = examine(Lie::None, &Suite::new(), brisk()).await;
    let failures: Vec<_> = report.failures().collect();
    assert!(failures.is_empty(), "{failures:#?}");
    for case in
        ["sign/cross-verify/rsa-pss-sha256", "sign/cross-verify/ecdsa-p256", "import/known-answers/p256"]
    {
        assert_eq!(report.case(case).unwrap().outcome.word(), "not applicable", "{case}");
    }
}
