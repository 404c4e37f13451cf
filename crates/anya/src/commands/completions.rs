//! `anya completions`

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use crate::{cli::Cli, context::Context, error::Result};

/// Writes a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anya completions bash > ~/.local/share/bash-completion/completions/anya
  anya completions fish > ~/.config/fish/completions/anya.fish")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "anya", &mut script);
        context.out.raw(&script)
    }
}
