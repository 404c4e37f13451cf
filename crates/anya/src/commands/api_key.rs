//! `anya api-key`

use std::path::PathBuf;

use anya_api::access::{ApiKey, CreatedApiKey, NewApiKey, Scope};
use anya_primitives::{ApiKeyId, OperatorId};
use clap::Subcommand;
use serde::Serialize;

use crate::{
    context::Context,
    error::Result,
    listing::{Paging, list},
    output::{fields, note, or_dash, plain},
    private_file,
    progress::with_progress,
};

/// Creates, lists and revokes API keys
#[derive(Debug, Subcommand)]
pub(crate) enum ApiKeyCommand {
    /// Creates an API key; its token is shown once
    #[command(after_help = "\
Examples:
  anya api-key create payments --scope read --scope operations:propose --token-out payments.token
  anya api-key create alice --operator opr_0198… --scope read --scope operations:decide
  anya api-key create setup --all-scopes --expires-in 3600 --json | jq -r .token

Scopes: access:manage read keys:manage keys:use wallets:manage operations:propose operations:decide
        governance:propose audit:read; for keys of the server itself: tenants:manage providers:manage")]
    Create {
        /// What it is for
        name: String,
        /// What it allows; may be repeated
        #[arg(long = "scope", value_name = "SCOPE", value_parser = scope, required_unless_present = "all_scopes")]
        scopes: Vec<Scope>,
        /// Everything that a tenant's key may do
        #[arg(long, conflicts_with = "scopes")]
        all_scopes: bool,
        /// The operator who acts through it
        #[arg(long, value_name = "OPERATOR")]
        operator: Option<OperatorId>,
        /// Seconds until it expires
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=315_360_000))]
        expires_in: Option<u64>,
        /// Write the token to this new file (mode 0600) instead of showing it
        #[arg(long, value_name = "FILE")]
        token_out: Option<PathBuf>,
    },
    /// Lists API keys, without their secrets
    #[command(after_help = "Example:\n  anya api-key list --all")]
    List(Paging),
    /// Revokes an API key at once
    #[command(after_help = "Example:\n  anya api-key revoke ak_0198…")]
    Revoke {
        /// Its id
        id: ApiKeyId,
    },
}

/// A new key with its token, or with the file that holds it.
#[derive(Serialize)]
pub(crate) struct Token {
    pub(crate) key: ApiKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_file: Option<PathBuf>,
}

impl Token {
    /// Puts the token where it was asked for. A token that cannot be written to its file is shown: it exists, and the
    /// server will not say it again.
    pub(crate) fn deliver(created: CreatedApiKey, file: Option<PathBuf>) -> Result<Self> {
        let Some(path) = file else {
            return Ok(Self { key: created.key, token: Some(created.token), token_file: None });
        };
        match private_file::create(&path, format!("{}\n", created.token).as_bytes()) {
            Ok(()) => Ok(Self { key: created.key, token: None, token_file: Some(path) }),
            Err(error) => {
                note(&format!("{error}; the token is shown instead, keep it safe"));
                Ok(Self { key: created.key, token: Some(created.token), token_file: None })
            }
        }
    }
}

/// The new key for people.
pub(crate) fn token_text(created: &Token) -> String {
    let scopes: Vec<_> = created.key.scopes.iter().map(|scope| scope.name()).collect();
    let mut pairs = vec![("API key", created.key.id.to_string()), ("scopes", scopes.join(" "))];
    if let Some(token) = &created.token {
        pairs.push(("token (shown once)", plain(token)));
    }
    if let Some(path) = &created.token_file {
        pairs.push(("token in file", path.display().to_string()));
    }
    fields(&pairs)
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::from_name(text).ok_or_else(|| {
        let names: Vec<_> = Scope::ALL.iter().map(|scope| scope.name()).collect();
        format!("use one of {}", names.join(", "))
    })
}

fn state(key: &ApiKey) -> String {
    match (key.revoked_at, key.expires_at) {
        (Some(at), _) => format!("revoked {at}"),
        (None, Some(at)) => format!("expires {at}"),
        (None, None) => "active".into(),
    }
}

impl ApiKeyCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let client = context.client()?;
        match self {
            Self::Create { name, scopes, all_scopes, operator, expires_in, token_out } => {
                let scopes = if all_scopes { Scope::all_of_tenant() } else { scopes };
                let new = NewApiKey { name, scopes, operator, expires_in_seconds: expires_in };
                let created = with_progress("waiting for the server", client.create_api_key(&new)).await?;
                context.out.document(&Token::deliver(created, token_out)?, token_text)
            }
            Self::List(paging) => {
                let row = |key: &ApiKey| {
                    let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.name()).collect();
                    vec![
                        key.id.to_string(),
                        plain(&key.name),
                        state(key),
                        or_dash(key.operator),
                        scopes.join(" "),
                    ]
                };
                let client = &client;
                let fetch = async |query| client.api_keys(&query).await;
                list(context, paging, &["id", "name", "state", "operator", "scopes"], row, fetch).await
            }
            Self::Revoke { id } => {
                let key = with_progress("waiting for the server", client.revoke_api_key(id)).await?;
                context
                    .out
                    .document(&key, |key| fields(&[("API key", key.id.to_string()), ("state", state(key))]))
            }
        }
    }
}
