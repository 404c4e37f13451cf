//! Signatures that need no approval, for keys whose own rules allow that. Much is asked here, so nothing is done twice.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anya_api::{
    Digest,
    access::Scope,
    key::{KeyAlgorithm, KeySignature, MAX_MESSAGE_TEXT, MAX_PATH, SignatureRequest},
};
use anya_keys::{MAX_MESSAGE, Message, SignAlgorithm, SignRequest, TapTweak};
use anya_primitives::KeyId;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bitcoin::{bip32::DerivationPath, hashes::Hash as _, taproot::TapNodeHash};

use super::Treasury;
use crate::{Error, Principal, audit};

impl Treasury {
    /// Has a key sign. The signature is in the log, durably, before anyone sees it.
    pub async fn sign_with_key(
        &self,
        caller: &Principal,
        id: KeyId,
        request: SignatureRequest,
    ) -> Result<KeySignature, Error> {
        let tenant = caller.tenant_for(Scope::KeysUse)?;
        let (now, actor) = (self.now(), caller.actor());
        let name = request.algorithm;
        let algorithm = algorithm(&request)?;
        let path = request.path.as_deref().map(path).transpose()?;
        let bytes = request.message.as_deref().map(decode).transpose()?;
        let (message, digest, field) = match (&request.digest, &bytes) {
            (Some(digest), None) => (Message::Digest(*digest.as_bytes()), *digest, "digest"),
            (None, Some(bytes)) => (Message::Bytes(bytes), Digest::of_bytes(bytes), "message_sha256"),
            _ => return Err(Error::invalid("digest", "send either `digest` or `message`")),
        };
        let seq = Arc::new(AtomicU64::new(0));
        let written = Arc::clone(&seq);
        let (signs, at) = (SignRequest { algorithm, path, message }, request.path);
        let signed = self
            .inner
            .keyring
            .sign_direct(tenant, id, &signs, move |tx, _, signed| -> Result<(), Error> {
                let mut detail = serde_json::Map::with_capacity(4);
                detail.insert("algorithm".to_owned(), name.name().into());
                detail.insert(field.to_owned(), digest.to_string().into());
                detail.insert("provider".to_owned(), signed.provider.as_str().into());
                if let Some(path) = at {
                    detail.insert("path".to_owned(), path.into());
                }
                let entry = audit::append(tx, now, actor, "key.signed", id, detail.into())?;
                written.store(entry.seq, Ordering::Release);
                Ok(())
            })
            .await?;
        Ok(KeySignature {
            signature: hex::encode(signed.signature.to_vec()),
            algorithm: name,
            provider: signed.provider,
            key: id,
            audit_seq: seq.load(Ordering::Acquire),
        })
    }
}

fn algorithm(request: &SignatureRequest) -> Result<SignAlgorithm, Error> {
    let tweak = request.taproot.map(|tweak| TapTweak {
        merkle_root: tweak.merkle_root.map(|root| TapNodeHash::from_byte_array(*root.as_bytes())),
    });
    if tweak.is_some() && request.algorithm != KeyAlgorithm::SchnorrSecp256k1 {
        return Err(Error::invalid("taproot", "only schnorr-secp256k1 signs for a tweaked key"));
    }
    match request.algorithm {
        KeyAlgorithm::EcdsaSecp256k1 => Ok(SignAlgorithm::EcdsaSecp256k1),
        KeyAlgorithm::SchnorrSecp256k1 => Ok(SignAlgorithm::SchnorrSecp256k1 { tweak }),
        KeyAlgorithm::Ed25519 => Ok(SignAlgorithm::Ed25519),
        KeyAlgorithm::EcdsaP256 => Ok(SignAlgorithm::EcdsaP256),
        KeyAlgorithm::RsaPssSha256 => Ok(SignAlgorithm::RsaPssSha256),
        KeyAlgorithm::Aes256Gcm => Err(Error::invalid("algorithm", "aes256-gcm encrypts, it does not sign")),
    }
}

fn path(text: &str) -> Result<DerivationPath, Error> {
    let wrong = || Error::invalid("path", "use a path such as m/86'/0'/0'/0/0");
    if text.len() > MAX_PATH {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}

fn decode(text: &str) -> Result<Vec<u8>, Error> {
    let wrong = || Error::invalid("message", format!("use base64 of at most {MAX_MESSAGE} bytes"));
    if text.len() > MAX_MESSAGE_TEXT {
        return Err(wrong());
    }
    STANDARD.decode(text).map_err(|_| wrong())
}
