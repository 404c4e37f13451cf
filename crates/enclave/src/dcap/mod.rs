//! Quotes of Intel SGX and TDX (DCAP), verified against Intel's root, and collateral that the operator brings along.
//!
//! The order: the shape of the quote ([`shape`]); the chain from Intel's root over the processor's certificate and the
//! quoting enclave down to the report, with revocation lists and expiry, in the `dcap-qvl` crate over aws-lc-rs
//! ([`crypto`]); then what the report says. Nothing is fetched: a verifier that calls out can be kept from its answer.
//!
//! Source: Intel SGX and TDX DCAP Quoting Library API, quote formats 3, 4 and 5; Intel PCS API version 4.

mod collateral;
mod crypto;
mod report;
mod shape;

pub use collateral::Collateral;
use dcap_qvl::{QuoteClaims, QuotePolicy, intel::parse_pck_extension_with, verify::QuoteVerifier};

use self::{crypto::AwsLc, shape::Shape};
use crate::{
    error::Refusal,
    policy::{EvidenceKind, Measurement},
    tcb::TcbStatus,
};
use anya_primitives::Timestamp;

/// The certificate of Intel's SGX root (`Intel SGX Root CA`, valid until 2049-12-31).
pub(crate) const INTEL_ROOT: &[u8] = include_bytes!("../roots/intel-sgx-root-ca.der");

/// What a verified quote says.
pub(crate) struct Quoted {
    /// The build, and for SGX the maker as well.
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) report_data: [u8; 64],
    pub(crate) status: TcbStatus,
    pub(crate) advisories: Vec<String>,
    pub(crate) evaluation: u32,
    /// When the first piece of the collateral or of the chains expires.
    pub(crate) until: Timestamp,
}

/// Verifies a quote at the time `now`.
pub(crate) fn verify(
    quote: &[u8],
    collateral: &[Collateral],
    root: &[u8],
    now: Timestamp,
) -> Result<Quoted, Refusal> {
    let shape = Shape::of(quote, root)?;
    if shape.is_debug() {
        return Err(Refusal::Debug);
    }
    let pck = parse_pck_extension_with::<AwsLc>(&shape.pck)
        .map_err(|error| Refusal::malformed("the processor's certificate", format!("{error:#}")))?;
    let matching: Vec<_> =
        collateral.iter().filter(|known| known.is_for(shape.tee.name(), &pck.fmspc)).collect();
    // The newest first, so that an expired piece left in the policy does no harm.
    let newest = matching
        .iter()
        .max_by_key(|known| known.until())
        .ok_or_else(|| Refusal::NoCollateral { tee: shape.tee.name(), fmspc: hex::encode(pck.fmspc) })?;
    newest.check(now)?;

    let seconds = u64::try_from(now.as_secs())
        .map_err(|_| Refusal::malformed("the time", "it lies before 1970: check the clock"))?;
    // The library's own policies are not used: ours is an allow-list of advisories, and its refusals are types.
    let claims = QuoteVerifier::<AwsLc>::new_with_config(root.to_vec())
        .verify_with_policy(quote, newest.inner(), seconds, &QuotePolicy::claims_only(seconds))
        .map_err(|error| Refusal::Untrusted(format!("{error:#}")))?;
    let (measurements, report_data) = report::read(&claims.report);
    Ok(Quoted {
        measurements,
        report_data,
        status: TcbStatus::from_intel(claims.tcb.status)?,
        advisories: advisories(&claims),
        evaluation: claims.tcb.eval_data_number,
        until: timestamp(claims.earliest_expiration_date)?,
    })
}

/// Every advisory that applies: to the platform as it was when the domain started, as it is now, and to the quoting
/// enclave.
fn advisories(claims: &QuoteClaims) -> Vec<String> {
    let current = claims.platform.current_tcb_level.iter().flat_map(|level| &level.advisory_ids);
    let all = claims.tcb.advisory_ids.iter().chain(&claims.platform.tcb_level.advisory_ids);
    let mut all: Vec<_> = all.chain(current).chain(&claims.qe.tcb_level.advisory_ids).cloned().collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Of what a quote says it is, for a refusal before anything is verified.
pub(crate) fn kind_of(quote: &[u8]) -> EvidenceKind {
    match quote.get(4..8) {
        Some([0, 0, 0, 0]) => EvidenceKind::Sgx,
        Some([0x81, 0, 0, 0]) => EvidenceKind::Tdx,
        _ => EvidenceKind::Other,
    }
}

fn timestamp(seconds: u64) -> Result<Timestamp, Refusal> {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| seconds.checked_mul(1000))
        .and_then(Timestamp::from_millis)
        .ok_or_else(|| Refusal::malformed("collateral", "a date lies outside the calendar"))
}
