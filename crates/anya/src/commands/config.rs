//! `anya config`

use anya_config::Explained;
use clap::Subcommand;
use serde::Serialize;

use crate::{
    context::Context,
    error::Result,
    output::{or_dash, table},
};

/// Shows the configuration
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Shows every setting with its value and where that came from; secrets are masked
    #[command(after_help = "\
Examples:
  anya config show
  anya config show --json | jq '.settings[] | select(.key == \"node.url\")'
  ANYA_LOG__LEVEL=debug anya config show --data-dir /srv/anya")]
    Show,
}

#[derive(Serialize)]
struct Shown {
    file: Option<String>,
    settings: Vec<Explained>,
}

impl ConfigCommand {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let Self::Show = self;
        let loaded = context.load()?;
        let file = loaded.file.as_ref().map(|path| path.display().to_string());
        let shown = Shown { file, settings: loaded.explain() };
        context.out.document(&shown, |shown| {
            let rows: Vec<_> = shown
                .settings
                .iter()
                .map(|setting| {
                    vec![setting.key.to_owned(), or_dash(setting.value.as_deref()), setting.source.clone()]
                })
                .collect();
            table(&["setting", "value", "source"], &rows)
        })
    }
}
