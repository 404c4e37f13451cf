//! Intel's whole chain with keys of our own: root, platform authority, a processor, its quoting enclave, TCB info,
//! QE identity and revocation lists. Whatever real hardware cannot be asked for (a debug enclave, a revoked platform,
//! a quote for a channel that exists only in this test) is made here, validly signed under another root.

use anya_enclave::{Collateral, Roots};
use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, CustomExtension,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use serde_json::{Value, json};

pub(crate) const FMSPC: &str = "00a0ff000001";
pub(crate) const MR_ENCLAVE: [u8; 32] = [0xe1; 32];
pub(crate) const MR_SIGNER: [u8; 32] = [0x51; 32];
pub(crate) const MR_TD: [u8; 48] = [0xd1; 48];

/// Every certificate, list and statement of the bench is valid in 2030.
pub(crate) const VALID: &str = "2030-01-15T00:00:00Z";

const QE_SIGNER: [u8; 32] = [0x8c; 32];
const CPU_SVN: u8 = 7;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

pub(crate) struct Bench {
    root: Authority,
    platform: Authority,
    pck: Certificate,
    pck_key: EcdsaKeyPair,
    tcb: Certificate,
    tcb_key: EcdsaKeyPair,
    /// The quoting enclave's key.
    attestation: EcdsaKeyPair,
    pub(crate) tcb_status: &'static str,
    pub(crate) advisories: Vec<&'static str>,
    pub(crate) qe_status: &'static str,
    pub(crate) revoke_pck: bool,
    pub(crate) revoke_platform: bool,
}

/// What a minted quote says.
#[derive(Clone)]
pub(crate) struct Report {
    pub(crate) debug: bool,
    pub(crate) mr_enclave: [u8; 32],
    pub(crate) isv_svn: u16,
    pub(crate) report_data: [u8; 64],
}

impl Report {
    pub(crate) fn of(report_data: [u8; 64]) -> Self {
        Self { debug: false, mr_enclave: MR_ENCLAVE, isv_svn: 3, report_data }
    }
}

fn params(name: &str, ca: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2029, 1, 1);
    params.not_after = date_time_ymd(2031, 1, 1);
    params.serial_number = Some(SerialNumber::from(name.len() as u64 + 1000));
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    } else {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
    }
    params
}

fn authority(name: &str, above: Option<&Authority>) -> Authority {
    let (key, params) = (KeyPair::generate().unwrap(), params(name, true));
    let certificate = match above {
        None => params.self_signed(&key).unwrap(),
        Some(above) => params.signed_by(&key, &above.issuer).unwrap(),
    };
    Authority { issuer: Issuer::new(params, key), certificate }
}

fn leaf(params: &CertificateParams, above: &Authority) -> (Certificate, EcdsaKeyPair) {
    let key = KeyPair::generate().unwrap();
    let signer = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der()).unwrap();
    (params.signed_by(&key, &above.issuer).unwrap(), signer)
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        Ok(long) => out.extend([0x81, long]),
        Err(_) => {
            out.push(0x82);
            out.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        }
    }
    out.extend(content);
    out
}

/// An entry of Intel's SGX extension: `1.2.840.113741.1.13.1` and what follows, with its value.
fn entry(below: &[u8], value: &[u8]) -> Vec<u8> {
    let oid = [&[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01][..], below].concat();
    tlv(0x30, &[tlv(0x06, &oid), value.to_vec()].concat())
}

fn sgx_extension() -> CustomExtension {
    let tcb = [entry(&[2, 17], &tlv(0x02, &[13])), entry(&[2, 18], &tlv(0x04, &[CPU_SVN; 16]))].concat();
    let content = [
        entry(&[1], &tlv(0x04, &[0xaa; 16])),
        entry(&[2], &tlv(0x30, &tcb)),
        entry(&[3], &tlv(0x04, &[0, 0])),
        entry(&[4], &tlv(0x04, &hex::decode(FMSPC).unwrap())),
        entry(&[5], &tlv(0x0a, &[0])),
    ]
    .concat();
    CustomExtension::from_oid_content(&[1, 2, 840, 113741, 1, 13, 1], tlv(0x30, &content))
}

/// PEM as Intel writes it: lines of 64 characters that end in a line feed.
fn pem(certificates: &[&Certificate]) -> String {
    certificates.iter().map(|certificate| certificate.pem().replace('\r', "")).collect()
}

fn sign(key: &EcdsaKeyPair, message: &[u8]) -> Vec<u8> {
    key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
}

impl Bench {
    pub(crate) fn new() -> Self {
        let root = authority("Bench SGX Root CA", None);
        let platform = authority("Bench PCK Platform CA", Some(&root));
        let mut processor = params("Bench PCK Certificate", false);
        processor.custom_extensions = vec![sgx_extension()];
        let (pck, pck_key) = leaf(&processor, &platform);
        let (tcb, tcb_key) = leaf(&params("Bench TCB Signing", false), &root);
        let attestation = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self {
            root,
            platform,
            pck,
            pck_key,
            tcb,
            tcb_key,
            attestation,
            tcb_status: "UpToDate",
            advisories: vec![],
            qe_status: "UpToDate",
            revoke_pck: false,
            revoke_platform: false,
        }
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots { intel: self.root.certificate.der().to_vec(), ..Roots::vendors() }
    }

    fn crl(&self, above: &Authority, revoked: Option<&str>) -> String {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2030, 1, 1),
            next_update: date_time_ymd(2030, 2, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .map(|name| RevokedCertParams {
                    serial_number: params(name, false).serial_number.unwrap(),
                    revocation_time: date_time_ymd(2030, 1, 1),
                    reason_code: None,
                    invalidity_date: None,
                })
                .into_iter()
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        hex::encode(list.signed_by(&above.issuer).unwrap().der())
    }

    /// The collateral's JSON, for SGX or TDX.
    pub(crate) fn collateral_json(&self, tee: &str) -> Value {
        let levels: Vec<_> = (0..16).map(|_| json!({"svn": CPU_SVN})).collect();
        let zeros: Vec<_> = (0..16).map(|_| json!({"svn": 0})).collect();
        let mut tcb_info = json!({
            "id": tee, "version": 3, "issueDate": "2030-01-01T00:00:00Z", "nextUpdate": "2030-01-31T00:00:00Z",
            "fmspc": FMSPC.to_uppercase(), "pceId": "0000", "tcbType": 0, "tcbEvaluationDataNumber": 20,
            "tcbLevels": [{
                "tcb": {"sgxtcbcomponents": levels, "pcesvn": 13, "tdxtcbcomponents": zeros},
                "tcbDate": "2029-01-01T00:00:00Z", "tcbStatus": self.tcb_status, "advisoryIDs": self.advisories,
            }],
        });
        if tee == "TDX" {
            tcb_info["tdxModule"] = json!({
                "mrsigner": "00".repeat(48), "attributes": "00".repeat(8), "attributesMask": "ff".repeat(8),
            });
        }
        let qe_identity = json!({
            "id": if tee == "TDX" { "TD_QE" } else { "QE" }, "version": 2,
            "issueDate": "2030-01-01T00:00:00Z", "nextUpdate": "2030-01-31T00:00:00Z",
            "tcbEvaluationDataNumber": 20, "miscselect": "00".repeat(4), "miscselectMask": "ff".repeat(4),
            "attributes": format!("11{}", "00".repeat(15)), "attributesMask": format!("fb{}", "00".repeat(15)),
            "mrsigner": hex::encode(QE_SIGNER), "isvprodid": 1,
            "tcbLevels": [{"tcb": {"isvsvn": 8}, "tcbDate": "2029-01-01T00:00:00Z", "tcbStatus": self.qe_status}],
        });
        let (tcb_info, qe_identity) = (tcb_info.to_string(), qe_identity.to_string());
        let chain = pem(&[&self.tcb, &self.root.certificate]);
        json!({
            "pck_crl_issuer_chain": pem(&[&self.platform.certificate, &self.root.certificate]),
            "root_ca_crl": self.crl(&self.root, self.revoke_platform.then_some("Bench PCK Platform CA")),
            "pck_crl": self.crl(&self.platform, self.revoke_pck.then_some("Bench PCK Certificate")),
            "tcb_info_issuer_chain": chain,
            "tcb_info_signature": hex::encode(sign(&self.tcb_key, tcb_info.as_bytes())),
            "tcb_info": tcb_info,
            "qe_identity_issuer_chain": chain,
            "qe_identity_signature": hex::encode(sign(&self.tcb_key, qe_identity.as_bytes())),
            "qe_identity": qe_identity,
        })
    }

    pub(crate) fn collateral(&self, tee: &str) -> Collateral {
        Collateral::from_json(self.collateral_json(tee).to_string().as_bytes()).unwrap()
    }

    /// A quote of an SGX enclave, format 3.
    pub(crate) fn sgx(&self, report: &Report) -> Vec<u8> {
        let body = enclave(
            if report.debug { 0x07 } else { 0x05 },
            report.mr_enclave,
            MR_SIGNER,
            (9, report.isv_svn),
            report.report_data,
        );
        let mut quote = header(3, 0);
        quote.extend(body);
        let auth = [self.signatures(&quote), self.certified()].concat();
        quote.extend(u32::try_from(auth.len()).unwrap().to_le_bytes());
        quote.extend(auth);
        quote
    }

    /// A quote of a TDX domain, format 4.
    pub(crate) fn tdx(&self, report: &Report) -> Vec<u8> {
        let mut body = vec![0; 584];
        body[120] = u8::from(report.debug);
        body[123] = 0x10; // SEPT_VE_DISABLE, which attestation demands
        body[136..184].copy_from_slice(&MR_TD);
        body[520..].copy_from_slice(&report.report_data);
        let mut quote = header(4, 0x81);
        quote.extend(body);
        let certified = self.certified();
        let mut auth = self.signatures(&quote);
        auth.extend(6_u16.to_le_bytes());
        auth.extend(u32::try_from(certified.len()).unwrap().to_le_bytes());
        auth.extend(certified);
        quote.extend(u32::try_from(auth.len()).unwrap().to_le_bytes());
        quote.extend(auth);
        quote
    }

    /// The quoting enclave's signature over header and report, and its public key.
    fn signatures(&self, signed: &[u8]) -> Vec<u8> {
        [sign(&self.attestation, signed), self.attestation.public_key().as_ref()[1..].to_vec()].concat()
    }

    /// The quoting enclave's own report, signed by the processor, and the processor's chain.
    fn certified(&self) -> Vec<u8> {
        let extra = [0x33; 32];
        let mut data = [0; 64];
        let bound = [&self.attestation.public_key().as_ref()[1..], &extra].concat();
        data[..32].copy_from_slice(digest(&SHA256, &bound).as_ref());
        let report = enclave(0x11, [0; 32], QE_SIGNER, (1, 8), data);
        let chain = pem(&[&self.pck, &self.platform.certificate, &self.root.certificate]);
        let mut out = report.clone();
        out.extend(sign(&self.pck_key, &report));
        out.extend(32_u16.to_le_bytes());
        out.extend(extra);
        out.extend(5_u16.to_le_bytes());
        out.extend(u32::try_from(chain.len() + 1).unwrap().to_le_bytes());
        out.extend(chain.as_bytes());
        out.push(0);
        out
    }
}

fn header(version: u16, tee: u32) -> Vec<u8> {
    let mut header = vec![0; 48];
    header[..2].copy_from_slice(&version.to_le_bytes());
    header[2..4].copy_from_slice(&2_u16.to_le_bytes());
    header[4..8].copy_from_slice(&tee.to_le_bytes());
    header[12..28].copy_from_slice(&hex::decode("939a7233f79c4ca9940a0db3957f0607").unwrap());
    header
}

fn enclave(
    flags: u8,
    mr_enclave: [u8; 32],
    mr_signer: [u8; 32],
    (product, svn): (u16, u16),
    report_data: [u8; 64],
) -> Vec<u8> {
    let mut report = vec![0; 384];
    report[48] = flags;
    report[64..96].copy_from_slice(&mr_enclave);
    report[128..160].copy_from_slice(&mr_signer);
    report[256..258].copy_from_slice(&product.to_le_bytes());
    report[258..260].copy_from_slice(&svn.to_le_bytes());
    report[320..].copy_from_slice(&report_data);
    report
}
