//! What no public sample shows: quotes for a channel that exists here, debug mode, revocation, every status.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

#[path = "support/bench.rs"]
mod bench;

use anya_enclave::{
    Binding, EvidenceKind, EvidencePolicy, KeyPin, Measurement, Refusal, Roots, TcbStatus, Verified,
    Verifier, simulate,
};
use anya_primitives::{Network, Timestamp};
use anya_provider::{Evidence, HexBytes, Residence};
use bench::{Bench, MR_ENCLAVE, MR_SIGNER, MR_TD, Report, VALID};
use std::collections::BTreeMap;

fn now() -> Timestamp {
    VALID.parse().unwrap()
}

fn binding() -> Binding {
    Binding { channel: KeyPin::of(b"the channel's key"), nonce: [8; 32], subject: None }
}

fn policy(bench: &Bench) -> EvidencePolicy {
    let zeros = [0; 48];
    let mut policy = EvidencePolicy::new(Network::Regtest);
    policy.measurements = vec![
        Measurement::Sgx { mr_enclave: MR_ENCLAVE },
        Measurement::Tdx { mr_td: MR_TD, rtmr0: zeros, rtmr1: zeros, rtmr2: zeros, rtmr3: zeros },
    ];
    policy.collateral = vec![bench.collateral("TDX"), bench.collateral("SGX")];
    policy
}

fn verify_with(bench: &Bench, policy: EvidencePolicy, quote: Vec<u8>) -> Result<Verified, Refusal> {
    let evidence = Evidence::Dcap { quote: HexBytes(quote) };
    Verifier::with_roots(policy, bench.roots()).unwrap().verify(&evidence, &binding(), now())
}

fn verify(bench: &Bench, quote: Vec<u8>) -> Result<Verified, Refusal> {
    verify_with(bench, policy(bench), quote)
}

fn untrusted(outcome: Result<Verified, Refusal>, because: &str) {
    match outcome {
        Err(Refusal::Untrusted(reason)) if reason.contains(because) => {}
        other => panic!("expected `{because}`: {other:?}"),
    }
}

#[test]
fn a_quote_for_this_channel_and_nonce_is_accepted_and_for_no_other() {
    let bench = Bench::new();
    let report = Report::of(binding().report_data());
    for (quote, kind) in [(bench.sgx(&report), EvidenceKind::Sgx), (bench.tdx(&report), EvidenceKind::Tdx)] {
        let verified = verify(&bench, quote.clone()).unwrap();
        assert_eq!(verified.kind, kind);
        assert_eq!(verified.residence(), Residence::Enclave);
        assert_eq!(verified.status, Some(TcbStatus::UpToDate));
        assert_eq!(verified.until.unwrap().to_string(), "2030-01-31T00:00:00.000Z");

        let evidence = Evidence::Dcap { quote: HexBytes(quote) };
        let verifier = Verifier::with_roots(policy(&bench), bench.roots()).unwrap();
        for other in [
            Binding { channel: KeyPin::of(b"the key of a man in the middle"), ..binding() },
            Binding { nonce: [9; 32], ..binding() },
            Binding { subject: Some([0; 32]), ..binding() },
        ] {
            assert_eq!(verifier.verify(&evidence, &other, now()), Err(Refusal::Binding));
        }
    }
}

#[test]
fn the_whole_report_data_counts() {
    let bench = Bench::new();
    for place in [0, 31, 32, 63] {
        let mut report = Report::of(binding().report_data());
        report.report_data[place] ^= 1;
        assert_eq!(verify(&bench, bench.sgx(&report)), Err(Refusal::Binding), "byte {place}");
    }
}

#[test]
fn debug_mode_is_refused_though_everything_is_signed() {
    let bench = Bench::new();
    let report = Report { debug: true, ..Report::of(binding().report_data()) };
    assert_eq!(verify(&bench, bench.sgx(&report)), Err(Refusal::Debug));
    assert_eq!(verify(&bench, bench.tdx(&report)), Err(Refusal::Debug));
}

#[test]
fn an_older_security_version_is_refused() {
    let bench = Bench::new();
    let mut policy = policy(&bench);
    policy.measurements =
        vec![Measurement::SgxSigner { mr_signer: MR_SIGNER, isv_prod_id: 9, min_isv_svn: 3 }];
    let report = Report::of(binding().report_data());
    assert!(verify_with(&bench, policy.clone(), bench.sgx(&report)).is_ok());
    let newer = Report { isv_svn: 4, ..report.clone() };
    assert!(verify_with(&bench, policy.clone(), bench.sgx(&newer)).is_ok());
    let older = Report { isv_svn: 2, ..report };
    let outcome = verify_with(&bench, policy, bench.sgx(&older));
    assert!(matches!(outcome, Err(Refusal::Measurement(_))), "{outcome:?}");
}

#[test]
fn every_status_but_up_to_date_has_to_be_accepted_by_name_and_revoked_never_can() {
    for (intel, ours) in [
        ("SWHardeningNeeded", TcbStatus::SwHardeningNeeded),
        ("ConfigurationNeeded", TcbStatus::ConfigurationNeeded),
        ("ConfigurationAndSWHardeningNeeded", TcbStatus::ConfigurationAndSwHardeningNeeded),
        ("OutOfDate", TcbStatus::OutOfDate),
        ("OutOfDateConfigurationNeeded", TcbStatus::OutOfDateConfigurationNeeded),
    ] {
        let mut bench = Bench::new();
        bench.tcb_status = intel;
        let quote = bench.sgx(&Report::of(binding().report_data()));
        assert_eq!(verify(&bench, quote.clone()), Err(Refusal::Status(ours)));
        let mut lenient = policy(&bench);
        lenient.tcb.statuses = vec![ours];
        assert_eq!(verify_with(&bench, lenient, quote).unwrap().status, Some(ours));
    }
    let mut bench = Bench::new();
    bench.tcb_status = "Revoked";
    untrusted(verify(&bench, bench.sgx(&Report::of(binding().report_data()))), "Revoked");
    let mut bench = Bench::new();
    bench.qe_status = "OutOfDate";
    let outcome = verify(&bench, bench.sgx(&Report::of(binding().report_data())));
    assert_eq!(outcome, Err(Refusal::Status(TcbStatus::OutOfDate)), "the quoting enclave counts as well");
}

#[test]
fn an_advisory_has_to_be_accepted_by_name() {
    let mut bench = Bench::new();
    bench.advisories = vec!["INTEL-SA-00001", "INTEL-SA-00002"];
    let quote = bench.sgx(&Report::of(binding().report_data()));
    let mut lenient = policy(&bench);
    lenient.tcb.advisories = vec!["INTEL-SA-00001".to_owned()];
    let outcome = verify_with(&bench, lenient.clone(), quote.clone());
    assert_eq!(outcome, Err(Refusal::Advisory("INTEL-SA-00002".to_owned())));
    lenient.tcb.advisories.push("INTEL-SA-00002".to_owned());
    assert!(verify_with(&bench, lenient, quote).is_ok());
}

#[test]
fn revoked_certificates_are_refused() {
    for (processor, platform) in [(true, false), (false, true)] {
        let mut bench = Bench::new();
        (bench.revoke_pck, bench.revoke_platform) = (processor, platform);
        untrusted(verify(&bench, bench.sgx(&Report::of(binding().report_data()))), "CertRevoked");
    }
}

#[test]
fn another_root_is_refused_and_mainnet_trusts_the_vendors_alone() {
    let (bench, other) = (Bench::new(), Bench::new());
    let report = Report::of(binding().report_data());
    let outcome = verify(&bench, other.sgx(&report));
    untrusted(outcome, "another root");
    let evidence = Evidence::Dcap { quote: HexBytes(bench.sgx(&report)) };
    untrusted(Verifier::new(policy(&bench)).verify(&evidence, &binding(), now()), "another root");
    let mainnet = EvidencePolicy { network: Network::Mainnet, ..policy(&bench) };
    assert_eq!(Verifier::with_roots(mainnet, bench.roots()).err(), Some(Refusal::ForeignRoots));
}

#[test]
fn collateral_under_another_root_is_refused() {
    let (bench, other) = (Bench::new(), Bench::new());
    let mut mixed = policy(&bench);
    mixed.collateral = vec![other.collateral("SGX")];
    let outcome = verify_with(&bench, mixed, bench.sgx(&Report::of(binding().report_data())));
    untrusted(outcome, "");
}

#[test]
fn simulated_evidence_needs_its_name_and_on_mainnet_a_second_one() {
    let evidence = simulate(&binding());
    assert!(evidence.is_simulated());
    let check =
        |policy: EvidencePolicy, binding: &Binding| Verifier::new(policy).verify(&evidence, binding, now());
    let mut policy = EvidencePolicy::new(Network::Regtest);
    policy.measurements = vec![Measurement::Sgx { mr_enclave: MR_ENCLAVE }];
    assert_eq!(check(policy.clone(), &binding()), Err(Refusal::Simulated));
    policy.allow_simulated_on_mainnet = true;
    assert_eq!(
        check(policy.clone(), &binding()),
        Err(Refusal::Simulated),
        "the second name alone does nothing"
    );

    policy.allow_simulated_on_mainnet = false;
    policy.allow_simulated = true;
    let verified = check(policy.clone(), &binding()).unwrap();
    assert_eq!(verified.kind, EvidenceKind::Simulated);
    assert_eq!(verified.residence(), Residence::SignerProcess);
    assert_eq!(verified.measurement, None);
    let replayed = Binding { nonce: [9; 32], ..binding() };
    assert_eq!(check(policy.clone(), &replayed), Err(Refusal::Binding));
    let elsewhere = Binding { channel: KeyPin([0; 32]), ..binding() };
    assert_eq!(check(policy.clone(), &elsewhere), Err(Refusal::Binding));

    policy.network = Network::Mainnet;
    assert_eq!(check(policy.clone(), &binding()), Err(Refusal::SimulatedOnMainnet));
    policy.allow_simulated_on_mainnet = true;
    assert_eq!(check(policy, &binding()).unwrap().residence(), Residence::SignerProcess);
}

#[test]
fn a_simulation_is_not_taken_for_the_real_thing_nor_other_evidence_for_either() {
    let bench = Bench::new();
    let Evidence::Simulated { statement } = simulate(&binding()) else { panic!() };
    let verifier = Verifier::with_roots(policy(&bench), bench.roots()).unwrap();
    let dressed = Evidence::Dcap { quote: statement.clone() };
    assert!(matches!(verifier.verify(&dressed, &binding(), now()), Err(Refusal::Malformed { .. })));
    let dressed = Evidence::Nitro { document: statement };
    assert_eq!(verifier.verify(&dressed, &binding(), now()), Err(Refusal::Kind(EvidenceKind::Nitro)));
    let claims =
        Evidence::Claims { claims: BTreeMap::from([("CKA_SENSITIVE".to_owned(), "true".to_owned())]) };
    assert_eq!(verifier.verify(&claims, &binding(), now()), Err(Refusal::Kind(EvidenceKind::Other)));
    let mut lenient = policy(&bench);
    lenient.allow_simulated = true;
    let statement = HexBytes(br#"{"statement":"trust me","bound_to":""}"#.to_vec());
    let outcome = Verifier::new(lenient).verify(&Evidence::Simulated { statement }, &binding(), now());
    assert!(matches!(outcome, Err(Refusal::Malformed { .. })), "{outcome:?}");
}

#[test]
fn the_vendors_root_is_the_one_that_intel_publishes() {
    let fingerprint = KeyPin::of(&Roots::vendors().intel).to_string();
    assert_eq!(fingerprint, "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3");
}
