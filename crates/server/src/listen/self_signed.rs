//! A certificate for a server that has none.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use anya_primitives::{Clock, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use zeroize::Zeroizing;

use super::TlsFiles;
use crate::error::{Error, Result};

/// How long a generated certificate is valid.
const VALIDITY: Duration = Duration::from_secs(825 * 24 * 3600);

/// Clocks of peers may go behind by this much.
const BACKDATED: Duration = Duration::from_secs(24 * 3600);

/// A certificate and key that were just made.
#[derive(Clone, Debug)]
pub struct SelfSigned {
    /// The files.
    pub files: TlsFiles,
    /// The certificate, for clients to trust.
    pub certificate_pem: String,
    /// When it ends to be valid.
    pub expires: Timestamp,
}

/// Makes a P-256 key and a certificate for `names` (host names and IP addresses) and writes them to `folder/cert.pem` and
/// `folder/key.pem`, both of mode 0600, in a folder of mode 0700. Files that are there are never overwritten.
pub fn generate_self_signed(folder: &Path, names: &[String], clock: &dyn Clock) -> Result<SelfSigned> {
    let files = TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    for path in [&files.certificate, &files.key] {
        if fs::symlink_metadata(path).is_ok() {
            return Err(Error::Exists { path: path.clone() });
        }
    }
    let now = clock.now();
    let expires = now.saturating_add(VALIDITY);
    let (certificate_pem, key_pem) = make(names, now, expires)?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| Error::Write { path: folder.to_owned(), source })?;
    write_new(&files.key, key_pem.as_bytes())?;
    if let Err(error) = write_new(&files.certificate, certificate_pem.as_bytes()) {
        // A key without its certificate would stand in the way of the next attempt.
        let _ = fs::remove_file(&files.key);
        return Err(error);
    }
    Ok(SelfSigned { files, certificate_pem, expires })
}

fn make(names: &[String], now: Timestamp, expires: Timestamp) -> Result<(String, Zeroizing<String>)> {
    let failed = |reason: String| Error::Names { reason };
    if names.is_empty() {
        return Err(failed("give at least one host name or IP address".to_owned()));
    }
    let mut params = CertificateParams::new(names).map_err(|error| failed(error.to_string()))?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Anya");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = date_time_ymd(1970, 1, 1) + since_epoch(now.saturating_sub(BACKDATED));
    params.not_after = date_time_ymd(1970, 1, 1) + since_epoch(expires);
    let key = KeyPair::generate().map_err(|error| failed(error.to_string()))?;
    let certificate = params.self_signed(&key).map_err(|error| failed(error.to_string()))?;
    Ok((certificate.pem(), Zeroizing::new(key.serialize_pem())))
}

fn since_epoch(at: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(at.as_secs()).unwrap_or(0))
}

fn write_new(path: &Path, content: &[u8]) -> Result<()> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists { path: path.to_owned() },
        _ => Error::Write { path: path.to_owned(), source },
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use anya_primitives::SystemClock;

    use super::*;

    #[test]
    fn files_are_private_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let tls = folder.path().join("tls");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = generate_self_signed(&tls, &names, &SystemClock).unwrap();
        for path in [&made.files.certificate, &made.files.key] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::metadata(&tls).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(super::super::tls::server_config(&made.files).is_ok());

        assert!(matches!(generate_self_signed(&tls, &names, &SystemClock), Err(Error::Exists { .. })));
        assert_eq!(fs::read_to_string(&made.files.certificate).unwrap(), made.certificate_pem);
    }

    #[test]
    fn names_that_no_certificate_can_bear_are_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let tls = folder.path().join("tls");
        for names in [vec![], vec!["m\u{fc}nchen".to_owned()]] {
            assert!(matches!(generate_self_signed(&tls, &names, &SystemClock), Err(Error::Names { .. })));
        }
        assert!(!tls.exists());
    }
}
