//! The certificate of the TLS listener.

use std::path::Path;

use anya_config::Config;
use anya_primitives::{Clock, SystemClock, Timestamp};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::parse_x509_certificate;

use super::Check;

/// Days before the end at which to speak up.
const SOON: i64 = 30;

const NAME: &str = "TLS certificate";
const REMEDY: &str = "put a certificate (PEM) at server.tls_cert and its key at server.tls_key";

/// Checks the certificate when there is a TLS listener.
pub(crate) fn certificate(config: &Config) -> Option<Check> {
    config.server.listen_tls?;
    let (cert, key) = (&config.server.tls_cert, &config.server.tls_key);
    if !key.try_exists().unwrap_or(false) {
        return Some(Check::fail(NAME, format!("no key at {}", key.display()), REMEDY));
    }
    Some(match expiry(cert) {
        Ok((from, until)) => judge(from, until, SystemClock.now().as_secs()),
        Err(reason) => Check::fail(NAME, format!("{}: {reason}", cert.display()), REMEDY),
    })
}

fn expiry(path: &Path) -> Result<(i64, i64), String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let der = CertificateDer::from_pem_slice(&pem).map_err(|error| error.to_string())?;
    let (_, certificate) = parse_x509_certificate(&der).map_err(|error| error.to_string())?;
    let validity = certificate.validity();
    Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

fn judge(from: i64, until: i64, now: i64) -> Check {
    let renew = "renew it; clients that pin it need the new one before";
    let end =
        Timestamp::from_millis(until.saturating_mul(1000)).map_or_else(|| "?".into(), |at| at.to_string());
    if now >= until {
        Check::fail(NAME, format!("expired at {end}"), renew)
    } else if now < from {
        Check::fail(NAME, "not valid yet", "set the clock, or wait")
    } else if until - now < SOON * 86_400 {
        Check::warn(NAME, format!("expires at {end}"), renew)
    } else {
        Check::ok(NAME, format!("valid until {end}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Outcome;

    #[test]
    fn a_certificate_is_judged_by_its_days() {
        let outcome = |now| judge(1_000, 1_000 + 100 * 86_400, now).outcome;
        assert_eq!(outcome(999), Outcome::Fail);
        assert_eq!(outcome(1_000), Outcome::Ok);
        assert_eq!(outcome(1_000 + 71 * 86_400), Outcome::Warn);
        assert_eq!(outcome(1_000 + 100 * 86_400), Outcome::Fail);
    }
}
