//! Messages signed by one key (`signmessage`), with the headers of BIP137.
//!
//! The signature does not commit to the key or the address, which are recovered from it: new uses should take
//! [`bip322`](crate::bip322). Taproot has no such signatures.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bitcoin::{
    CompressedPublicKey, PublicKey, Script, ScriptBuf,
    hashes::Hash as _,
    secp256k1::{
        Message, Secp256k1, VerifyOnly,
        ecdsa::{RecoverableSignature, RecoveryId, Signature},
    },
    sign_message::signed_msg_hash,
};

use crate::{
    bounded,
    error::{Error, Result},
};

static SECP: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);

/// The kinds of address that BIP137 knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// P2PKH of an uncompressed key.
    Uncompressed,
    /// P2PKH of a compressed key.
    Compressed,
    /// P2WPKH in P2SH.
    Wrapped,
    /// P2WPKH.
    Segwit,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Uncompressed, Self::Compressed, Self::Wrapped, Self::Segwit];

    /// The header of recovery id 0.
    fn header(self) -> u8 {
        match self {
            Self::Uncompressed => 27,
            Self::Compressed => 31,
            Self::Wrapped => 35,
            Self::Segwit => 39,
        }
    }

    /// The script of `key`'s address of this kind.
    fn script(self, key: PublicKey) -> ScriptBuf {
        let compressed = CompressedPublicKey(key.inner);
        match self {
            Self::Uncompressed => ScriptBuf::new_p2pkh(&PublicKey::new_uncompressed(key.inner).pubkey_hash()),
            Self::Compressed => ScriptBuf::new_p2pkh(&PublicKey::new(key.inner).pubkey_hash()),
            Self::Wrapped => ScriptBuf::new_p2wpkh(&compressed.wpubkey_hash()).to_p2sh(),
            Self::Segwit => ScriptBuf::new_p2wpkh(&compressed.wpubkey_hash()),
        }
    }
}

/// The digest to sign for a message: double SHA-256 of the words behind `Bitcoin Signed Message`.
///
/// # Errors
/// [`Error::TooLong`].
pub fn digest(message: &str) -> Result<[u8; 32]> {
    bounded("message", message.len())?;
    Ok(signed_msg_hash(message).to_byte_array())
}

/// The signature in base64, from the ECDSA signature of [`digest`] by `key`, for the address with this script.
///
/// # Errors
/// [`Error::Unsupported`] when the address is none that BIP137 has a header for; [`Error::Invalid`] when it is not the
/// address of `key`, or the signature is not of it; [`Error::TooLong`].
pub fn assemble(message: &str, script: &Script, key: PublicKey, signature: &Signature) -> Result<String> {
    let message = Message::from_digest(digest(message)?);
    supported(script)?;
    let kind = Kind::ALL.into_iter().find(|kind| *kind.script(key) == *script);
    let kind = kind.ok_or_else(|| Error::Invalid("the address is not one of this key".to_owned()))?;
    let compact = signature.serialize_compact();
    for id in 0..4_u8 {
        let Ok(recovery) = RecoveryId::from_i32(i32::from(id)) else { continue };
        let Ok(recoverable) = RecoverableSignature::from_compact(&compact, recovery) else { continue };
        if SECP.recover_ecdsa(&message, &recoverable).is_ok_and(|found| found == key.inner) {
            let bytes = [&[kind.header() + id], &compact[..]].concat();
            return Ok(STANDARD.encode(bytes));
        }
    }
    Err(Error::Invalid("it does not verify for this key and message".to_owned()))
}

/// Whether `signature` signs `message` with the key of the address with this script, and which key that is.
///
/// # Errors
/// [`Error::Unsupported`] when the address is none that BIP137 has a header for; [`Error::Malformed`] when the signature is
/// not 65 bytes in base64 with such a header; [`Error::Invalid`] when it is another key's, another message's or for
/// another kind of address; [`Error::TooLong`].
pub fn verify(message: &str, script: &Script, signature: &str) -> Result<PublicKey> {
    bounded("signature", signature.len())?;
    let message = Message::from_digest(digest(message)?);
    supported(script)?;
    let bytes =
        STANDARD.decode(signature.trim()).map_err(|_| Error::Malformed("it is no base64 with padding"))?;
    let Some((header, compact)) = bytes.split_first().filter(|_| bytes.len() == 65) else {
        return Err(Error::Malformed("it is not 65 bytes long"));
    };
    let kind = Kind::ALL.into_iter().find(|kind| (kind.header()..kind.header() + 4).contains(header));
    let kind = kind.ok_or(Error::Malformed("its header is not between 27 and 42"))?;
    let recoverable = RecoveryId::from_i32(i32::from(header - kind.header()))
        .and_then(|id| RecoverableSignature::from_compact(compact, id))
        .map_err(|_| Error::Malformed("its numbers are out of range"))?;
    let found = SECP
        .recover_ecdsa(&message, &recoverable)
        .map_err(|_| Error::Invalid("no key has made it".to_owned()))?;
    let key =
        if kind == Kind::Uncompressed { PublicKey::new_uncompressed(found) } else { PublicKey::new(found) };
    if *kind.script(key) == *script {
        Ok(key)
    } else {
        Err(Error::Invalid("it is of another key, message or kind of address".to_owned()))
    }
}

fn supported(script: &Script) -> Result<()> {
    if script.is_p2pkh() || script.is_p2sh() || script.is_p2wpkh() {
        Ok(())
    } else {
        Err(Error::Unsupported("this kind of address has no signatures of one key: use BIP322"))
    }
}
