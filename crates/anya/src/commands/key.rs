//! `anya key`

use anya_api::key::{Key, KeyKind, KeyState, KeyStateChange, NewKey};
use anya_primitives::KeyId;
use clap::{Subcommand, ValueEnum};

use crate::{
    context::Context,
    error::Result,
    listing::{Paging, list},
    output::{fields, or_dash, plain},
    progress::with_progress,
    prompt::confirm,
};

/// Creates keys and changes their state
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Makes a key in a provider
    #[command(after_help = "\
Examples:
  anya key create hot
  anya key create webhooks --kind ed25519")]
    Create {
        /// A name, unique in the tenant
        name: String,
        /// What it is
        #[arg(long, value_enum, default_value_t = Kind::Bip32Seed)]
        kind: Kind,
        /// The provider that makes it; without it, the default one
        #[arg(long)]
        provider: Option<String>,
    },
    /// Lists keys
    #[command(after_help = "Example:\n  anya key list")]
    List(Paging),
    /// Shows a key
    #[command(after_help = "Example:\n  anya key show key_0198…")]
    Show {
        /// Its id
        id: KeyId,
    },
    /// Stops all use of a key until it is made active again
    #[command(after_help = "Example:\n  anya key suspend key_0198…")]
    Suspend {
        /// Its id
        id: KeyId,
    },
    /// Lets a suspended key be used again
    #[command(after_help = "Example:\n  anya key activate key_0198…")]
    Activate {
        /// Its id
        id: KeyId,
    },
    /// Destroys a suspended key for good: coins that need it are lost
    #[command(after_help = "Example:\n  anya key suspend key_0198… && anya key destroy key_0198… --yes")]
    Destroy {
        /// Its id
        id: KeyId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// What a key is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// HD root for wallets (BIP32 from a BIP39 seed)
    Bip32Seed,
    /// One secp256k1 key
    Secp256k1,
    /// Ed25519
    Ed25519,
    /// NIST P-256
    P256,
    /// RSA, 3072 bits
    Rsa3072,
    /// AES-256
    Aes256,
}

impl From<Kind> for KeyKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Bip32Seed => Self::Bip32Seed,
            Kind::Secp256k1 => Self::Secp256k1,
            Kind::Ed25519 => Self::Ed25519,
            Kind::P256 => Self::P256,
            Kind::Rsa3072 => Self::Rsa3072,
            Kind::Aes256 => Self::Aes256,
        }
    }
}

fn kind(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Bip32Seed => "bip32-seed",
        KeyKind::Secp256k1 => "secp256k1",
        KeyKind::Ed25519 => "ed25519",
        KeyKind::P256 => "p256",
        KeyKind::Rsa3072 => "rsa3072",
        KeyKind::Aes256 => "aes256",
    }
}

fn state(state: KeyState) -> &'static str {
    match state {
        KeyState::PreActivation => "pre-activation",
        KeyState::Active => "active",
        KeyState::Suspended => "suspended",
        KeyState::Deactivated => "deactivated",
        KeyState::Compromised => "compromised",
        KeyState::Destroyed => "destroyed",
    }
}

fn show(key: &Key) -> String {
    fields(&[
        ("key", key.id.to_string()),
        ("name", plain(&key.name)),
        ("kind", kind(key.kind).into()),
        ("state", state(key.state).into()),
        ("provider", plain(&key.provider)),
        ("custody", plain(&key.custody)),
        ("fingerprint", or_dash(key.fingerprint.as_deref().map(plain))),
        ("public key", or_dash(key.public_key.as_deref().map(plain))),
        ("created", key.created_at.to_string()),
    ])
}

impl KeyCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let client = context.client()?;
        let key = match self {
            Self::Create { name, kind, provider } => {
                let new = NewKey { name, kind: kind.into(), provider };
                with_progress("waiting for the provider", client.create_key(&new)).await?
            }
            Self::Show { id } => client.key(id).await?,
            Self::Suspend { id } => set(&client, id, KeyState::Suspended).await?,
            Self::Activate { id } => set(&client, id, KeyState::Active).await?,
            Self::Destroy { id, yes } => {
                let key = client.key(id).await?;
                let name = plain(&key.name);
                confirm(&format!("Destroy key {name} ({id}) for good? Coins that need it are lost."), yes)?;
                set(&client, id, KeyState::Destroyed).await?
            }
            Self::List(paging) => {
                let row = |key: &Key| {
                    vec![
                        key.id.to_string(),
                        plain(&key.name),
                        kind(key.kind).into(),
                        state(key.state).into(),
                        plain(&key.provider),
                    ]
                };
                let client = &client;
                let fetch = async |query| client.keys(&query).await;
                return list(context, paging, &["id", "name", "kind", "state", "provider"], row, fetch).await;
            }
        };
        context.out.document(&key, show)
    }
}

async fn set(client: &anya_client::Client, id: KeyId, state: KeyState) -> Result<Key> {
    let change = KeyStateChange { state };
    Ok(with_progress("waiting for the provider", client.set_key_state(id, &change)).await?)
}
