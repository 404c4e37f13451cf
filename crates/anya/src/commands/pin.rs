//! `anya provider pin`

use anya_config::ProviderKind;
use anya_enclave::ChannelKey;
use clap::Args;
use serde::Serialize;

use crate::{
    context::Context,
    error::{Error, Result},
};

/// Prints the pin by which a signer knows this server: `anya-signer serve --server-key` wants it
///
/// The key is made when there is none. No server is needed, and the signer need not run.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  anya-signer serve --data signer --socket signer.sock --server-key $(anya provider pin signer)")]
pub(crate) struct Pin {
    /// The provider: a section of kind enclave
    name: String,
}

#[derive(Serialize)]
struct Answer {
    provider: String,
    pin: String,
}

impl Pin {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let config = context.load()?.config;
        let found = config.providers.into_iter().find(|provider| provider.name == self.name);
        let Some(ProviderKind::Enclave(enclave)) = found.map(|provider| provider.kind) else {
            return Err(Error::Invalid(format!("no provider `{}` of kind enclave is configured", self.name)));
        };
        let key = ChannelKey::load_or_create(&enclave.channel_key);
        let key = key.map_err(|error| Error::Invalid(error.to_string()))?;
        let answer = Answer { provider: self.name, pin: key.pin().to_string() };
        context.out.document(&answer, |answer| answer.pin.clone())
    }
}
