//! What Intel says of its processors, signed and dated: fetched by the operator, kept in files.

use anya_primitives::Timestamp;
use dcap_qvl::QuoteCollateralV3;
use serde::Deserialize;
use x509_parser::{prelude::FromDer as _, revocation_list::CertificateRevocationList};

use crate::error::Refusal;

/// The largest file that is read as collateral. Real ones have 15 to 25 KB.
const LARGEST: usize = 1 << 20;

/// Collateral for one family of platforms: TCB info, identity of the quoting enclave, and revocation lists.
///
/// Its JSON form is the one that PCCS clients write: the fields of `sgx_ql_qve_collateral_t` by their names, signatures
/// and revocation lists in hexadecimal. It is not trusted: every part is checked against Intel's root with each quote.
#[derive(Clone)]
pub struct Collateral {
    inner: QuoteCollateralV3,
    fmspc: String,
    tee: String,
    parts: [Part; 4],
}

/// A part with the time during which it is valid.
#[derive(Clone, Copy)]
struct Part {
    what: &'static str,
    from: Timestamp,
    until: Timestamp,
}

/// The head of TCB info and of QE identity.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dated {
    id: String,
    #[serde(default)]
    fmspc: String,
    issue_date: Timestamp,
    next_update: Timestamp,
}

impl Collateral {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// [`Refusal::Malformed`], naming the part.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > LARGEST {
            return Err(Refusal::malformed("collateral", format!("it is longer than {LARGEST} bytes")));
        }
        let mut inner: QuoteCollateralV3 = serde_json::from_slice(bytes)
            .map_err(|error| Refusal::malformed("collateral", error.to_string()))?;
        // A quote brings its own chain, and the library would prefer this one.
        inner.pck_certificate_chain = None;
        let tcb_info = head("TCB info", &inner.tcb_info)?;
        let qe_identity = head("QE identity", &inner.qe_identity)?;
        let parts = [
            tcb_info.part("TCB info"),
            qe_identity.part("QE identity"),
            list("root CA CRL", &inner.root_ca_crl)?,
            list("PCK CRL", &inner.pck_crl)?,
        ];
        Ok(Self { inner, fmspc: tcb_info.fmspc, tee: tcb_info.id, parts })
    }

    /// The platform family (FMSPC) in hexadecimal, and `SGX` or `TDX`.
    pub fn platform(&self) -> (&str, &str) {
        (&self.fmspc, &self.tee)
    }

    /// When the first part expires, so that all has to be renewed: Intel gives each about 30 days.
    pub fn until(&self) -> Timestamp {
        self.parts.iter().fold(self.parts[0].until, |first, part| first.min(part.until))
    }

    pub(super) fn is_for(&self, tee: &str, fmspc: &[u8]) -> bool {
        self.tee == tee && self.fmspc.eq_ignore_ascii_case(&hex::encode(fmspc))
    }

    /// Whether every part is valid. The library looks again, and at the chains; this gives the operator the dates.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.parts.iter().find(|part| now < part.from || now >= part.until) {
            Some(&Part { what, from, until }) => Err(Refusal::NotNow { what, now, from, until }),
            None => Ok(()),
        }
    }

    pub(super) fn inner(&self) -> QuoteCollateralV3 {
        self.inner.clone()
    }
}

impl Dated {
    fn part(&self, what: &'static str) -> Part {
        Part { what, from: self.issue_date, until: self.next_update }
    }
}

fn head(what: &'static str, text: &str) -> Result<Dated, Refusal> {
    serde_json::from_str(text).map_err(|error| Refusal::malformed(what, error.to_string()))
}

fn list(what: &'static str, der: &[u8]) -> Result<Part, Refusal> {
    let (_, list) = CertificateRevocationList::from_der(der)
        .map_err(|error| Refusal::malformed(what, error.to_string()))?;
    let next = list.next_update().ok_or_else(|| Refusal::malformed(what, "it names no next update"))?;
    let time = |time: x509_parser::time::ASN1Time| {
        time.timestamp()
            .checked_mul(1000)
            .and_then(Timestamp::from_millis)
            .ok_or_else(|| Refusal::malformed(what, "a date lies outside the calendar"))
    };
    Ok(Part { what, from: time(list.last_update())?, until: time(next)? })
}

impl std::fmt::Debug for Collateral {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (fmspc, tee) = self.platform();
        write!(f, "Collateral({tee} {fmspc}, until {})", self.until())
    }
}
