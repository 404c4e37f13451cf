//! `anya doctor`

use anya_config::Config;
use clap::Args;
use serde::Serialize;

use crate::{
    checks::{Check, Outcome, files, node, provider, socket, storage, tls},
    context::Context,
    error::{Error, Result},
    output::plain,
    progress::with_progress,
    setting_flags::SettingFlags,
};

/// Checks configuration, data folder, ledger, keystore, node, clock, certificate and socket
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anya doctor --data-dir /srv/anya
  anya doctor --json | jq '.checks[] | select(.outcome != \"ok\")'

It needs no running server and copes with one. It changes nothing. Exit code 1: a check failed; warnings are no
failures.")]
pub(crate) struct Doctor {
    #[command(flatten)]
    settings: SettingFlags,
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Check>,
}

impl Doctor {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        anya_provider::harden_process().map_err(Error::part)?;
        let checks = match context.load_with(self.settings.into_overrides()) {
            Ok(loaded) => with_progress("checking", Box::pin(examine(&loaded.config))).await,
            Err(error) => {
                vec![Check::fail("configuration", error.to_string(), "correct it; nothing else was checked")]
            }
        };
        let failed = checks.iter().filter(|check| check.outcome == Outcome::Fail).count();
        let report = Report { ok: failed == 0, checks };
        context.out.document(&report, show)?;
        if failed == 0 { Ok(()) } else { Err(Error::Unwell(failed)) }
    }
}

async fn examine(config: &Config) -> Vec<Check> {
    let mut checks = vec![Check::ok("configuration", "read, and every value fits")];
    let hold = files::data_dir(config, &mut checks);
    files::modes(config, &mut checks);
    files::space(config, &mut checks);
    if !matches!(hold, files::Hold::Unusable) {
        let copy = config.clone();
        match tokio::task::spawn_blocking(move || storage::ledger(&copy)).await {
            Ok(found) => checks.extend(found),
            Err(_) => {
                checks.push(Check::fail("ledger", "the check itself failed", "report this as a defect"))
            }
        }
        checks.push(provider::keystore(config).await);
    }
    checks.extend(tls::certificate(config));
    checks.extend(socket::socket(config, &hold).await);
    checks.extend(node::node(config).await);
    checks
}

fn show(report: &Report) -> String {
    let mut text = String::new();
    for check in &report.checks {
        let mark = match check.outcome {
            Outcome::Ok => "ok  ",
            Outcome::Warn => "warn",
            Outcome::Fail => "FAIL",
        };
        text.push_str(&format!("{mark}  {:15}  {}\n", check.name, plain(&check.detail)));
        if let Some(remedy) = &check.remedy {
            text.push_str(&format!("      {:15}  -> {remedy}\n", ""));
        }
    }
    text
}
