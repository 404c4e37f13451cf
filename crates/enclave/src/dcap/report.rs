//! What a verified report says of the code in the enclave.

use dcap_qvl::quote::Report;

use crate::policy::Measurement;

/// The measurements, each in every form in which a policy can name it, and the data that the enclave chose.
pub(super) fn read(report: &Report) -> (Vec<Measurement>, [u8; 64]) {
    let domain = match report {
        Report::SgxEnclave(enclave) => {
            let build = Measurement::Sgx { mr_enclave: enclave.mr_enclave };
            let maker = Measurement::SgxSigner {
                mr_signer: enclave.mr_signer,
                isv_prod_id: enclave.isv_prod_id,
                min_isv_svn: enclave.isv_svn,
            };
            return (vec![build, maker], enclave.report_data);
        }
        Report::TD10(domain) => domain,
        Report::TD15(newer) => &newer.base,
        Report::TD15Ex(newer) => &newer.base.base,
    };
    let measured = Measurement::Tdx {
        mr_td: domain.mr_td,
        rtmr0: domain.rt_mr0,
        rtmr1: domain.rt_mr1,
        rtmr2: domain.rt_mr2,
        rtmr3: domain.rt_mr3,
    };
    (vec![measured], domain.report_data)
}
