//! Errors of a provider on the wire.
//!
//! A signer's errors become the server's, so they are few and typed. Texts that are constants on the sending side are
//! looked up among those that are known here; what is not known becomes part of the reason.

use anya_provider::Error;

use super::codec::{Reader, Writer};
use crate::error::Result;

/// The fields and acts that the signer's keystore names.
const KNOWN: [&str; 21] = [
    "aad",
    "ciphertext",
    "digest",
    "generation",
    "handle",
    "message",
    "mnemonic",
    "mnemonic_passphrase",
    "passphrase",
    "path",
    "plaintext",
    "public",
    "scheme",
    "secret",
    "spec",
    "ticket",
    "transfer",
    "be imported from a mnemonic: use spec bip32",
    "derive keys: only bip32 keys do",
    "encrypt or decrypt: only aes256 keys do",
    "sign with this algorithm",
];

fn known(text: &str) -> Option<&'static str> {
    KNOWN.into_iter().find(|known| *known == text)
}

pub(super) fn write(writer: &mut Writer, error: &Error) {
    let (code, first, second): (u8, String, String) = match error {
        Error::Locked => (0, String::new(), String::new()),
        Error::Invalid { field, reason } => (1, (*field).to_owned(), reason.clone()),
        Error::WrongSpec { spec, act } => (2, spec.name().to_owned(), (*act).to_owned()),
        Error::Unsupported { act, .. } => (3, act.clone(), String::new()),
        Error::Busy(_) => (5, String::new(), String::new()),
        Error::Credential { reason, .. } => (6, reason.clone(), String::new()),
        Error::Full { reason, .. } => (7, reason.clone(), String::new()),
        Error::Missing(_) => (8, String::new(), String::new()),
        Error::NotTransferable(_) => (9, String::new(), String::new()),
        Error::Timeout(_) => (10, String::new(), String::new()),
        Error::HandleDamaged => (11, String::new(), String::new()),
        Error::Decrypt => (12, String::new(), String::new()),
        Error::WrongAnswer { what, .. } => (13, (*what).to_owned(), String::new()),
        Error::Internal(what) => (14, (*what).to_owned(), String::new()),
        Error::Unavailable { reason, .. } => (4, reason.clone(), String::new()),
        other => (4, other.to_string(), String::new()),
    };
    writer.u8(code);
    writer.bytes(first.as_bytes());
    writer.bytes(second.as_bytes());
}

/// The error, in the name of `provider`.
pub(super) fn read(reader: &mut Reader<'_>, provider: &str) -> Result<Error> {
    let code = reader.u8()?;
    let (first, second) = (reader.text()?.to_owned(), reader.text()?.to_owned());
    let provider = provider.to_owned();
    Ok(match code {
        0 => Error::Unavailable { provider, reason: "the signer is locked".to_owned() },
        1 => match known(&first) {
            Some(field) => Error::Invalid { field, reason: second },
            None => Error::Invalid { field: "request", reason: format!("{first}: {second}") },
        },
        2 => match (first.parse(), known(&second)) {
            (Ok(spec), Some(act)) => Error::WrongSpec { spec, act },
            _ => Error::Invalid { field: "spec", reason: format!("a {first} key cannot {second}") },
        },
        3 => Error::Unsupported { provider, act: first },
        5 => Error::Busy(provider),
        6 => Error::Credential { provider, reason: first },
        7 => Error::Full { provider, reason: first },
        8 => Error::Missing(provider),
        9 => Error::NotTransferable(provider),
        10 => Error::Timeout(provider),
        11 => Error::HandleDamaged,
        12 => Error::Decrypt,
        13 => Error::WrongAnswer { provider, what: "the signer's own check failed" },
        14 => {
            tracing::error!(provider, reason = first, "the signer failed");
            Error::Internal("the signer failed where it cannot")
        }
        4 => Error::Unavailable { provider, reason: first },
        _ => return Err(crate::Error::Protocol("a refusal of an unknown sort")),
    })
}
