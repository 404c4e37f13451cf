//! Quotes of real processors, verified with the collateral that Intel published for them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use anya_enclave::{
    Binding, Collateral, EvidenceKind, EvidencePolicy, KeyPin, Measurement, Refusal, TcbPolicy, TcbStatus,
    Verifier,
};
use anya_primitives::{Network, Timestamp};
use anya_provider::{Evidence, HexBytes};
use proptest::prelude::*;

struct Sample {
    quote: &'static [u8],
    collateral: &'static [u8],
    /// A time at which the collateral is valid.
    now: &'static str,
    kind: EvidenceKind,
}

const SGX: Sample = Sample {
    quote: include_bytes!("data/sgx_quote.bin"),
    collateral: include_bytes!("data/sgx_collateral.json"),
    now: "2025-07-01T00:00:00Z",
    kind: EvidenceKind::Sgx,
};
const TDX: Sample = Sample {
    quote: include_bytes!("data/tdx_quote.bin"),
    collateral: include_bytes!("data/tdx_collateral.json"),
    now: "2025-07-01T00:00:00Z",
    kind: EvidenceKind::Tdx,
};
const TDX_OUTDATED: Sample = Sample {
    quote: include_bytes!("data/tdx_outdated_quote.bin"),
    collateral: include_bytes!("data/tdx_outdated_collateral.json"),
    now: "2026-03-01T00:00:00Z",
    kind: EvidenceKind::Tdx,
};
const TDX_15EX: Sample = Sample {
    quote: include_bytes!("data/tdx_15ex_quote.bin"),
    collateral: include_bytes!("data/tdx_15ex_collateral.json"),
    now: "2026-10-20T00:00:00Z",
    kind: EvidenceKind::Tdx,
};

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn bytes<const N: usize>(quote: &[u8], offset: usize) -> [u8; N] {
    quote[offset..offset + N].try_into().unwrap()
}

/// Where the report begins: after the header, and in format 5 after the body's type and length.
fn report_at(quote: &[u8]) -> usize {
    if quote[0] == 5 { 54 } else { 48 }
}

/// What the sample measures, read at the offsets of Intel's structures.
fn measurement(sample: &Sample) -> Measurement {
    let (quote, at) = (sample.quote, report_at(sample.quote));
    match sample.kind {
        EvidenceKind::Sgx => Measurement::Sgx { mr_enclave: bytes(quote, at + 64) },
        _ => Measurement::Tdx {
            mr_td: bytes(quote, at + 136),
            rtmr0: bytes(quote, at + 328),
            rtmr1: bytes(quote, at + 376),
            rtmr2: bytes(quote, at + 424),
            rtmr3: bytes(quote, at + 472),
        },
    }
}

/// Accepts every status and no measurement but the sample's.
fn policy(sample: &Sample) -> EvidencePolicy {
    let mut policy = EvidencePolicy::new(Network::Mainnet);
    policy.measurements = vec![measurement(sample)];
    policy.collateral = vec![Collateral::from_json(sample.collateral).unwrap()];
    policy.tcb = TcbPolicy {
        statuses: vec![
            TcbStatus::UpToDate,
            TcbStatus::OutOfDate,
            TcbStatus::ConfigurationAndSwHardeningNeeded,
        ],
        advisories: [
            "00289", "00615", "01192", "01245", "01312", "01313", "01036", "01079", "01099", "01103", "01111",
        ]
        .map(|id| format!("INTEL-SA-{id}"))
        .to_vec(),
        min_evaluation: 0,
    };
    policy
}

fn binding() -> Binding {
    Binding { channel: KeyPin([7; 32]), nonce: [8; 32], subject: None }
}

fn verify(quote: &[u8], policy: EvidencePolicy, now: &str) -> Result<(), Refusal> {
    let evidence = Evidence::Dcap { quote: HexBytes(quote.to_vec()) };
    Verifier::new(policy).verify(&evidence, &binding(), at(now)).map(drop)
}

/// All but the binding of a sample can be right: the refusal for the binding is the last that is left.
fn all_but_the_binding(sample: &Sample) {
    assert_eq!(verify(sample.quote, policy(sample), sample.now), Err(Refusal::Binding), "{:?}", sample.kind);
}

#[test]
fn samples_of_real_processors_are_right_but_for_the_channel_they_were_made_for() {
    for sample in [&SGX, &TDX, &TDX_15EX] {
        all_but_the_binding(sample);
    }
}

#[test]
fn any_other_measurement_is_refused() {
    for sample in [&SGX, &TDX] {
        let mut policy = policy(sample);
        match &mut policy.measurements[0] {
            Measurement::Sgx { mr_enclave } => mr_enclave[31] ^= 1,
            Measurement::Tdx { rtmr2, .. } => rtmr2[0] ^= 1,
            other => panic!("{other}"),
        }
        let refusal = verify(sample.quote, policy, sample.now).unwrap_err();
        assert!(matches!(refusal, Refusal::Measurement(_)), "{refusal}");
        assert!(refusal.to_string().contains(&measurement(sample).to_string()), "{refusal}");
    }
}

#[test]
fn an_sgx_maker_is_named_with_product_and_least_version() {
    let maker = |isv_prod_id, min_isv_svn| Measurement::SgxSigner {
        mr_signer: bytes(SGX.quote, 48 + 128),
        isv_prod_id,
        min_isv_svn,
    };
    let with = |measurement| EvidencePolicy { measurements: vec![measurement], ..policy(&SGX) };
    assert_eq!(verify(SGX.quote, with(maker(0, 0)), SGX.now), Err(Refusal::Binding));
    assert!(matches!(verify(SGX.quote, with(maker(0, 1)), SGX.now), Err(Refusal::Measurement(_))));
    assert!(matches!(verify(SGX.quote, with(maker(1, 0)), SGX.now), Err(Refusal::Measurement(_))));
}

#[test]
fn a_kind_that_the_policy_does_not_name_is_refused() {
    let nothing = EvidencePolicy { measurements: vec![], ..policy(&SGX) };
    assert_eq!(verify(SGX.quote, nothing.clone(), SGX.now), Err(Refusal::Kind(EvidenceKind::Sgx)));
    assert_eq!(verify(TDX.quote, nothing, TDX.now), Err(Refusal::Kind(EvidenceKind::Tdx)));
}

#[test]
fn collateral_counts_from_its_issue_to_its_expiry() {
    for sample in [&SGX, &TDX, &TDX_15EX] {
        let until = Collateral::from_json(sample.collateral).unwrap().until();
        for now in ["2020-01-01T00:00:00Z", "2027-01-01T00:00:00Z", &until.to_string()] {
            let refusal = verify(sample.quote, policy(sample), now).unwrap_err();
            assert!(matches!(refusal, Refusal::NotNow { .. }), "{now}: {refusal}");
        }
        let last = verify(sample.quote, policy(sample), &until.saturating_sub(SECOND).to_string());
        assert_eq!(last, Err(Refusal::Binding));
    }
}

#[test]
fn collateral_of_another_platform_does_not_help() {
    let foreign = EvidencePolicy { collateral: policy(&TDX).collateral, ..policy(&SGX) };
    let refusal = verify(SGX.quote, foreign, SGX.now).unwrap_err();
    assert_eq!(refusal, Refusal::NoCollateral { tee: "SGX", fmspc: "00a067110000".to_owned() });
    // Old collateral beside new does no harm, and the order does not matter.
    let mut both = policy(&TDX_15EX);
    both.collateral.extend(policy(&TDX).collateral);
    assert_eq!(verify(TDX_15EX.quote, both, TDX_15EX.now), Err(Refusal::Binding));
}

#[test]
fn a_platform_is_as_good_as_the_policy_wants_it() {
    let strict = |sample: &Sample| EvidencePolicy { tcb: TcbPolicy::default(), ..policy(sample) };
    assert_eq!(verify(TDX.quote, strict(&TDX), TDX.now), Err(Refusal::Binding));
    assert_eq!(
        verify(SGX.quote, strict(&SGX), SGX.now),
        Err(Refusal::Status(TcbStatus::ConfigurationAndSwHardeningNeeded))
    );
    let mut fewer = policy(&SGX);
    fewer.tcb.advisories.retain(|id| id != "INTEL-SA-00289");
    assert_eq!(verify(SGX.quote, fewer, SGX.now), Err(Refusal::Advisory("INTEL-SA-00289".to_owned())));
    let mut newer = policy(&TDX);
    newer.tcb.min_evaluation = 18;
    assert_eq!(verify(TDX.quote, newer, TDX.now), Err(Refusal::Evaluation { found: 17, minimum: 18 }));
}

/// A policy may accept much, but not a platform that Intel has no level for.
#[test]
fn a_platform_below_every_level_is_refused() {
    let refusal = verify(TDX_OUTDATED.quote, policy(&TDX_OUTDATED), TDX_OUTDATED.now).unwrap_err();
    assert_eq!(refusal, Refusal::Untrusted("No matching TCB level found".to_owned()));
}

#[test]
fn altered_collateral_is_refused() {
    let text = std::str::from_utf8(SGX.collateral).unwrap();
    for (from, to) in [
        ("SWHardeningNeeded", "UpToDate"),
        ("INTEL-SA-00615", "INTEL-SA-00000"),
        ("2025-07-19T10:56:11Z", "2035-07-19T10:56:11Z"),
        ("8C4F5775D796503E", "8C4F5775D796503F"),
    ] {
        let altered = text.replace(from, to);
        assert_ne!(altered, text, "{from}");
        let collateral = vec![Collateral::from_json(altered.as_bytes()).unwrap()];
        let refusal = verify(SGX.quote, EvidencePolicy { collateral, ..policy(&SGX) }, SGX.now).unwrap_err();
        assert!(matches!(refusal, Refusal::Untrusted(_)), "{from}: {refusal}");
    }
    assert!(matches!(Collateral::from_json(b"{}"), Err(Refusal::Malformed { .. })));
}

#[test]
fn a_quote_that_is_cut_or_goes_on_is_refused() {
    for sample in [&SGX, &TDX, &TDX_15EX] {
        for length in (0..sample.quote.len()).step_by(97) {
            let cut = verify(&sample.quote[..length], policy(sample), sample.now);
            // One sample lies in a longer buffer, whose zeros may be missing.
            let zeros = sample.quote[length..].iter().all(|&byte| byte == 0);
            assert_eq!(cut == Err(Refusal::Binding), zeros, "{length}: {cut:?}");
        }
        let longer = [sample.quote, &[1]].concat();
        assert!(matches!(verify(&longer, policy(sample), sample.now), Err(Refusal::Malformed { .. })));
        let padded = [sample.quote, &[0; 100]].concat();
        assert_eq!(verify(&padded, policy(sample), sample.now), Err(Refusal::Binding));
        let endless = [sample.quote, &[0; 20_000]].concat();
        assert!(matches!(verify(&endless, policy(sample), sample.now), Err(Refusal::Malformed { .. })));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// No byte of a quote is free: not the lengths, not the text around the certificates, not the buffer's end.
    #[test]
    fn a_flipped_byte_anywhere_is_refused(which in 0..3_usize, place in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let sample = [&SGX, &TDX, &TDX_15EX][which];
        let mut quote = sample.quote.to_vec();
        let place = place.index(quote.len());
        quote[place] ^= flip;
        let outcome = verify(&quote, policy(sample), sample.now);
        prop_assert!(!matches!(outcome, Ok(()) | Err(Refusal::Binding)), "byte {place} of sample {which}: {outcome:?}");
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let outcome = verify(&bytes, policy(&SGX), SGX.now);
        prop_assert!(!matches!(outcome, Ok(()) | Err(Refusal::Binding)), "{outcome:?}");
    }
}

/// The same for each byte of the parts that no signature covers: everything from the authentication data on.
#[test]
fn every_byte_after_the_report_is_held() {
    let start = 48 + 384;
    for place in start..SGX.quote.len() {
        let mut quote = SGX.quote.to_vec();
        quote[place] ^= 0x20;
        let outcome = verify(&quote, policy(&SGX), SGX.now);
        assert!(!matches!(outcome, Ok(()) | Err(Refusal::Binding)), "byte {place}: {outcome:?}");
    }
}
