//! `anya tenant`

use std::path::PathBuf;

use anya_api::people::{NewTenant, Tenant};
use clap::Subcommand;
use serde::Serialize;

use crate::{
    commands::api_key::{Token, token_text},
    context::Context,
    error::Result,
    listing::{Paging, list},
    output::{fields, plain},
    progress::with_progress,
};

/// Creates and lists tenants (needs a key of the server itself)
#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Creates a tenant with the API key that can set it up
    #[command(after_help = "\
Examples:
  anya tenant create treasury --token-out treasury.token
  anya tenant create treasury --json | jq -r .api_key.token")]
    Create {
        /// A name, unique on this server
        name: String,
        /// Write the API token to this new file (mode 0600) instead of showing it
        #[arg(long, value_name = "FILE")]
        token_out: Option<PathBuf>,
    },
    /// Lists tenants
    #[command(after_help = "Example:\n  anya tenant list --json")]
    List(Paging),
}

#[derive(Serialize)]
struct Created {
    tenant: Tenant,
    api_key: Token,
}

impl TenantCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let client = context.client()?;
        match self {
            Self::Create { name, token_out } => {
                let new = NewTenant { name };
                let created = with_progress("waiting for the server", client.create_tenant(&new)).await?;
                let api_key = Token::deliver(created.api_key, token_out)?;
                let created = Created { tenant: created.tenant, api_key };
                context.out.document(&created, |created| {
                    let tenant = &created.tenant;
                    let head = fields(&[("tenant", tenant.id.to_string()), ("name", plain(&tenant.name))]);
                    head + &token_text(&created.api_key)
                })
            }
            Self::List(paging) => {
                let row = |tenant: &Tenant| {
                    vec![tenant.id.to_string(), plain(&tenant.name), tenant.created_at.to_string()]
                };
                let client = &client;
                let fetch = async |query| client.tenants(&query).await;
                list(context, paging, &["id", "name", "created"], row, fetch).await
            }
        }
    }
}
