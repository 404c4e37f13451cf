//! What evidence is made for: one channel, one nonce, and perhaps one key.
//!
//! A quote proves that some enclave signed some 64 bytes. Unless those bytes name the channel that the verifier talks
//! through and a nonce that it chose, anybody can show a quote that was made elsewhere or yesterday.

use anya_provider::KeyContext;
use aws_lc_rs::digest::{Context, SHA256, digest};

const DOMAIN: &[u8] = b"anya/enclave/evidence/1";

/// The SHA-256 of a public key in DER (`SubjectPublicKeyInfo`, RFC 5280): how the ends of a channel know each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyPin(pub [u8; 32]);

impl KeyPin {
    /// The pin of a `SubjectPublicKeyInfo`.
    pub fn of(spki: &[u8]) -> Self {
        Self(sha256(&[spki]))
    }
}

impl std::fmt::Display for KeyPin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::str::FromStr for KeyPin {
    type Err = anya_provider::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut pin = [0; 32];
        hex::decode_to_slice(text, &mut pin).map_err(|_| {
            anya_provider::Error::invalid(
                "pin",
                "64 hexadecimal digits are needed, as `anya-signer init` prints",
            )
        })?;
        Ok(Self(pin))
    }
}

/// What a piece of evidence has to be bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The signer's key of the channel through which the evidence came.
    pub channel: KeyPin,
    /// Chosen by the verifier, once.
    pub nonce: [u8; 32],
    /// The key that the evidence is about, where it is about one: [`key_subject`].
    pub subject: Option<[u8; 32]>,
}

impl Binding {
    /// What the evidence has to contain.
    pub fn digest(&self) -> [u8; 32] {
        let subject = self.subject.unwrap_or_default();
        sha256(&[DOMAIN, &[u8::from(self.subject.is_some())], &self.channel.0, &self.nonce, &subject])
    }

    /// The same as SGX and TDX carry it: the digest, then zeros.
    pub fn report_data(&self) -> [u8; 64] {
        let mut data = [0; 64];
        data[..32].copy_from_slice(&self.digest());
        data
    }
}

/// Names one key in evidence: which key it is, and the handle that the signer opened before it spoke.
pub fn key_subject(ctx: &KeyContext, handle: &[u8]) -> [u8; 32] {
    sha256(&[
        b"anya/enclave/key/1",
        ctx.tenant.as_bytes(),
        ctx.key.as_bytes(),
        &ctx.version.to_be_bytes(),
        digest(&SHA256, ctx.spec.name().as_bytes()).as_ref(),
        digest(&SHA256, handle).as_ref(),
    ])
}

/// All parts but the first, a constant, have fixed lengths.
fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_binding_changes_it() {
        let one = Binding { channel: KeyPin([1; 32]), nonce: [2; 32], subject: None };
        let others = [
            Binding { channel: KeyPin([3; 32]), ..one.clone() },
            Binding { nonce: [3; 32], ..one.clone() },
            Binding { subject: Some([0; 32]), ..one.clone() },
            Binding { subject: Some([1; 32]), ..one.clone() },
        ];
        let mut digests: Vec<_> = others.iter().map(Binding::digest).collect();
        digests.push(one.digest());
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 5);
        assert_eq!(one.report_data()[32..], [0; 32]);
    }

    #[test]
    fn a_pin_is_read_as_it_is_written() {
        let pin = KeyPin::of(b"a key");
        assert_eq!(pin.to_string().parse::<KeyPin>().unwrap(), pin);
        assert!("abcd".parse::<KeyPin>().is_err());
    }
}
