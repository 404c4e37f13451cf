//! The one form in which a quote is accepted.
//!
//! Parts of a quote are signed by nobody: lengths, types, the text around certificates, what follows the end. A lenient
//! parser accepts many texts for one quote, and each leniency is a place where two parsers may disagree. So everything
//! that no signature covers is held to the single value that Intel's quoting library writes.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::error::Refusal;

/// Quotes have about 5 KB; the buffers that drivers hand out have up to 16 KB.
const LONGEST: usize = 16 * 1024;
const HEADER: usize = 48;
/// Signature, public key.
const SIGNATURE: usize = 64 + 64;
/// The quoting enclave's report and the signature of the processor's key over it.
const ENCLAVE: usize = 384 + 64;
/// `PCK_CERT_CHAIN` and `QE_REPORT_CERT` of the quoting library's `sgx_ql_cert_key_type_t`.
const PCK_CHAIN: u16 = 5;
const ENCLAVE_REPORT: u16 = 6;

/// On what the enclave runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tee {
    Sgx,
    Tdx,
}

impl Tee {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sgx => "SGX",
            Self::Tdx => "TDX",
        }
    }
}

/// A quote of the right form, nothing in it verified.
pub(super) struct Shape<'a> {
    pub(super) tee: Tee,
    report: &'a [u8],
    /// The processor's certificate, in DER.
    pub(super) pck: Vec<u8>,
}

impl<'a> Shape<'a> {
    /// Takes a quote apart. Its chain has to end in `root`.
    pub(super) fn of(quote: &'a [u8], root: &[u8]) -> Result<Self, Refusal> {
        if quote.len() > LONGEST {
            return Err(malformed(format!("it is longer than {LONGEST} bytes")));
        }
        let mut rest = Reader(quote);
        let header = rest.take(HEADER)?;
        let version = u16::from_le_bytes([header[0], header[1]]);
        let tee = match u32::from_le_bytes([header[4], header[5], header[6], header[7]]) {
            0 => Tee::Sgx,
            0x81 => Tee::Tdx,
            other => return Err(malformed(format!("TEE type {other:#x} is neither SGX nor TDX"))),
        };
        let report = match (version, tee) {
            (3, Tee::Sgx) => rest.take(384)?,
            (4, Tee::Tdx) => rest.take(584)?,
            (5, Tee::Tdx) => {
                let (body, length) = (rest.u16()?, rest.u32()?);
                match (body, length) {
                    (2, 584) | (3, 648) | (4, 885) => rest.take(length)?,
                    _ => return Err(malformed(format!("report type {body} with {length} bytes is unknown"))),
                }
            }
            _ => return Err(malformed(format!("version {version} for {} is not read here", tee.name()))),
        };
        let length = rest.u32()?;
        let mut signed = Reader(rest.take(length)?);
        // Drivers hand out buffers that are longer than the quote.
        if rest.0.iter().any(|&byte| byte != 0) {
            return Err(malformed("something follows its end".to_owned()));
        }
        signed.take(SIGNATURE)?;
        if version > 3 {
            signed = Reader(signed.certified(ENCLAVE_REPORT)?);
        }
        signed.take(ENCLAVE)?;
        let length = signed.u16()?;
        signed.take(length.into())?;
        let chain = certificates(signed.certified(PCK_CHAIN)?)?;
        match <[Vec<u8>; 3]>::try_from(chain) {
            Ok([pck, _, end]) if end == root => Ok(Self { tee, report, pck }),
            Ok(_) => Err(Refusal::Untrusted("the chain ends in another root".to_owned())),
            Err(chain) => Err(malformed(format!("its chain has {} certificates instead of 3", chain.len()))),
        }
    }

    /// SGX: `DEBUG` of ATTRIBUTES (SDM vol. 3D, table 35-2). TDX: any bit of `TUD`, the group of TDATTRIBUTES that
    /// makes a domain untrusted (TDX module ABI specification, table 3.23).
    pub(super) fn is_debug(&self) -> bool {
        match self.tee {
            Tee::Sgx => self.report[48] & 2 != 0,
            Tee::Tdx => self.report[120] != 0,
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Refusal> {
        let (taken, rest) =
            self.0.split_at_checked(length).ok_or_else(|| malformed("it ends too early".to_owned()))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, Refusal> {
        self.take(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<usize, Refusal> {
        let bytes = self.take(4)?;
        usize::try_from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .map_err(|_| malformed("a length is too large".to_owned()))
    }

    /// Certification data of one type, which fills the rest.
    fn certified(&mut self, wanted: u16) -> Result<&'a [u8], Refusal> {
        let kind = self.u16()?;
        if kind != wanted {
            return Err(malformed(format!(
                "certification data of type {kind} instead of {wanted}: have the quote provider library embed the \
                 certificate chain"
            )));
        }
        let length = self.u32()?;
        if length != self.0.len() {
            return Err(malformed("its lengths contradict each other".to_owned()));
        }
        self.take(length)
    }
}

/// The certificates of a chain in PEM, which may end in one zero byte and has no other freedom.
fn certificates(chain: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----\n";
    const END: &str = "-----END CERTIFICATE-----\n";
    let odd = || malformed("its chain is not PEM as Intel writes it".to_owned());
    let text = std::str::from_utf8(chain.strip_suffix(&[0]).unwrap_or(chain)).map_err(|_| odd())?;
    let mut certificates = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (body, after) = rest.strip_prefix(BEGIN).and_then(|body| body.split_once(END)).ok_or_else(odd)?;
        let der = STANDARD.decode(body.replace('\n', "")).map_err(|_| odd())?;
        let lines: String = STANDARD
            .encode(&der)
            .as_bytes()
            .chunks(64)
            .flat_map(|line| line.iter().map(|&byte| char::from(byte)).chain(['\n']))
            .collect();
        if lines != body {
            return Err(odd());
        }
        certificates.push(der);
        rest = after;
    }
    Ok(certificates)
}

fn malformed(reason: String) -> Refusal {
    Refusal::malformed("the quote", reason)
}
