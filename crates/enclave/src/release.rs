//! The server's part of what opens a signer's root.
//!
//! The root is sealed under a secret made of two parts: one that the signer keeps (in its own folder, or sealed by its
//! processor), and one that the server releases once the signer is attested. Neither opens anything alone.

use std::path::Path;

use anya_provider::Residence;
use aws_lc_rs::{
    hkdf::{HKDF_SHA256, KeyType, Salt},
    rand::{SecureRandom as _, SystemRandom},
};
use zeroize::Zeroizing;

use crate::{
    channel::{read_secret, write_secret},
    error::{Error, Result},
};

/// The server's secret for one signer.
#[derive(Clone)]
pub struct ReleaseSecret(Zeroizing<[u8; 32]>);

impl ReleaseSecret {
    /// A new one.
    pub fn random() -> Result<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        SystemRandom::new()
            .fill(secret.as_mut())
            .map_err(|_| Error::Internal("the random generator failed"))?;
        Ok(Self(secret))
    }

    /// One that is kept elsewhere.
    pub fn from_bytes(secret: Zeroizing<[u8; 32]>) -> Self {
        Self(secret)
    }

    /// The one in the file at `path`, which is made when there is none.
    ///
    /// Losing it loses every key of the signer: it belongs into the server's backup.
    ///
    /// # Errors
    /// [`Error::Unfit`] when others than its owner may read the file, or when it has not 32 bytes.
    pub fn load_or_create(path: &Path) -> Result<Self> {
        let bytes = match read_secret(path) {
            Ok(bytes) => bytes,
            Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let secret = Self::random()?;
                write_secret(path, secret.0.as_ref())?;
                return Ok(secret);
            }
            Err(error) => return Err(error),
        };
        let secret = bytes.as_slice().try_into().map_err(|_| Error::Unfit {
            path: path.to_owned(),
            reason: "it has not 32 bytes: restore it from the backup of the server",
        })?;
        Ok(Self(Zeroizing::new(secret)))
    }

    /// What is released to a signer in which keys have this residence.
    ///
    /// It differs by residence, so that a root which was made in an attested enclave can never be opened by a signer
    /// that proves nothing, whatever somebody writes into the policy later.
    pub(crate) fn part(&self, residence: Residence) -> Result<Zeroizing<[u8; 32]>> {
        struct Length;
        impl KeyType for Length {
            fn len(&self) -> usize {
                32
            }
        }
        let failed = |_| Error::Internal("the release secret could not be derived");
        let mut part = Zeroizing::new([0; 32]);
        Salt::new(HKDF_SHA256, b"anya/enclave/release/1")
            .extract(self.0.as_ref())
            .expand(&[residence.name().as_bytes()], Length)
            .and_then(|output| output.fill(part.as_mut()))
            .map_err(failed)?;
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_enclave_gets_is_not_what_a_process_gets() {
        let secret = ReleaseSecret::random().unwrap();
        let [enclave, process] =
            [Residence::Enclave, Residence::SignerProcess].map(|place| secret.part(place).unwrap());
        assert_ne!(enclave, process);
        assert_eq!(secret.part(Residence::Enclave).unwrap(), enclave);
    }
}
