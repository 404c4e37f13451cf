//! From a request to the keystore, and back.

use std::{sync::Arc, time::Instant};

use anya_enclave::{
    Binding, KeyPin, key_subject,
    wire::{Answer, Request},
};
use anya_keystore::SoftwareProvider;
use anya_provider::{Error, Evidence, KeyTemplate, Provider as _, Result, Transfer};
use zeroize::Zeroizing;

use crate::{attestor::Attestor, vault::Vault};

/// What answers need that were released to.
pub(crate) struct Desk {
    pub(crate) vault: Arc<Vault>,
    pub(crate) keys: Arc<SoftwareProvider>,
    pub(crate) attestor: Arc<dyn Attestor>,
    pub(crate) channel: KeyPin,
}

impl Desk {
    /// Answers one request.
    pub(crate) async fn answer(&self, request: Request<'_>, deadline: Instant) -> Result<Answer> {
        let keys = &self.keys;
        // Where a key lives is the server's to say: it alone knows what was proven.
        let template = |transferable| KeyTemplate { residence: None, transferable };
        Ok(match request {
            Request::Hello { .. } | Request::Release { .. } => {
                return Err(Error::invalid("request", "the connection is open already"));
            }
            Request::Health => Answer::Health(keys.health(deadline).await),
            Request::Generate { key, transferable } => {
                let made = keys.generate(&key, template(transferable)).await?;
                Answer::Generated { handle: made.handle, public: made.public }
            }
            Request::Import { key, transferable, material } => {
                let made = keys.import(&key, template(transferable), material.to_owned()).await?;
                Answer::Generated { handle: made.handle, public: made.public }
            }
            Request::DerivePublic { key, handle, path } => {
                Answer::Derived(keys.derive_public(&key, handle, &path).await?)
            }
            Request::Sign { key, handle, request } => {
                Answer::Bytes(Zeroizing::new(keys.sign(&key, handle, &request).await?.0))
            }
            Request::Encrypt { key, handle, aad, plaintext } => {
                Answer::Bytes(Zeroizing::new(keys.encrypt(&key, handle, aad, plaintext).await?))
            }
            Request::Decrypt { key, handle, aad, ciphertext } => {
                Answer::Bytes(keys.decrypt(&key, handle, aad, ciphertext).await?)
            }
            Request::Destroy { key, handle } => Answer::Erased(keys.destroy(&key, handle).await?),
            Request::TransferOffer { key, scheme } => Answer::Offer(keys.transfer_offer(&key, scheme).await?),
            Request::TransferOut { key, handle, scheme, public } => {
                Answer::Transfer(keys.transfer_out(&key, handle, scheme, public).await?)
            }
            Request::TransferIn { key, transferable, ticket, scheme, wrapped } => {
                let transfer = Transfer { scheme, wrapped: wrapped.to_vec() };
                let made = keys.transfer_in(&key, template(transferable), ticket, &transfer).await?;
                Answer::Generated { handle: made.handle, public: made.public }
            }
            Request::KekStatus => Answer::Kek(keys.kek_status(deadline).await?),
            Request::RotateKek { part } => Answer::Kek(self.vault.rotate(part, deadline).await?),
            Request::RetireKek { generation, part } => {
                Answer::Kek(self.vault.retire(generation, part, deadline).await?)
            }
            Request::Rewrap { key, handle } => Answer::Rewrapped(keys.rewrap(&key, handle).await?),
            Request::Attest { key, handle, nonce } => {
                // Evidence speaks of a key only after the key was opened here.
                keys.rewrap(&key, handle).await?;
                let subject = Some(key_subject(&key, handle));
                let binding = Binding { channel: self.channel, nonce, subject };
                Answer::Evidence(evidence(&self.attestor, binding).await?)
            }
        })
    }
}

/// Evidence, made where blocking does no harm.
pub(crate) async fn evidence(attestor: &Arc<dyn Attestor>, binding: Binding) -> Result<Evidence> {
    let attestor = Arc::clone(attestor);
    let made = tokio::task::spawn_blocking(move || attestor.attest(&binding));
    match made.await {
        Ok(Ok(evidence)) => Ok(evidence),
        Ok(Err(error)) => {
            tracing::error!(%error, "no evidence");
            Err(Error::Unavailable { provider: String::new(), reason: error.to_string() })
        }
        Err(_) => Err(Error::Internal("evidence could not be made")),
    }
}
