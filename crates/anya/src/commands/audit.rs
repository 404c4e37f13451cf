//! `anya audit`

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use anya_api::audit::{
    Entry, Head,
    checkpoint::{Checkpoint, VerifierKey},
    verify::{Report, Verifier},
};
use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::io::AsyncWriteExt;

use crate::{
    commands::audit_stream::LineSink,
    context::{AUDIT_KEY, Context},
    error::{Error, Result},
    listing::{Paging, list},
    output::{fields, note, plain},
    progress::with_progress,
};

/// Longest line of an export that is read.
pub(crate) const MAX_LINE: usize = 8 * 1024 * 1024;

/// Lists, exports and verifies the audit log
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Lists entries
    #[command(after_help = "\
Examples:
  anya audit list --limit 20
  anya audit list --all --json | jq -r '.action + \" \" + .subject'")]
    List(Paging),
    /// Downloads the log as JSON Lines, with its signed checkpoints
    #[command(after_help = "\
Examples:
  anya audit export --out audit.jsonl
  anya audit export | gzip > audit.jsonl.gz")]
    Export {
        /// Write it to this new file instead of standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Checks every hash, link and signature; names the first entry that does not hold
    #[command(after_help = "\
Examples:
  anya audit verify --file audit.jsonl --key audit.vkey        # offline, without any server
  anya audit verify                                            # fetched from the server
  anya audit verify --file audit.jsonl --key audit.vkey --checkpoint last-month.note --json

Exit code 9: the log does not hold.")]
    Verify(Verify),
}

/// What is verified, and against what.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// An export; without it the log is fetched from the server
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The verifier key that is trusted, or a file that holds it; without it DATA_DIR/audit.vkey
    #[arg(long, value_name = "KEY|FILE")]
    key: Option<String>,
    /// Trust the key that the log itself names: this shows only that it agrees with itself
    #[arg(long, conflicts_with = "key")]
    any_key: bool,
    /// A signed checkpoint that was kept; the log must contain what it says
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

/// The answer.
#[derive(Serialize)]
struct Verified {
    ok: bool,
    key_trusted: bool,
    #[serde(flatten)]
    report: Report,
}

impl AuditCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::List(paging) => {
                let client = &context.client()?;
                let row = |entry: &Entry| {
                    vec![
                        entry.seq.to_string(),
                        entry.at.to_string(),
                        entry.actor.to_string(),
                        plain(&entry.action),
                        plain(&entry.subject),
                    ]
                };
                let fetch = async |query| client.audit_entries(&query).await;
                list(context, paging, &["seq", "at", "actor", "action", "subject"], row, fetch).await
            }
            Self::Export { out } => export(context, out).await,
            Self::Verify(verify) => verify.run(context).await,
        }
    }
}

#[derive(Serialize)]
struct Exported {
    file: PathBuf,
    bytes: u64,
}

async fn export(context: &Context, out: Option<PathBuf>) -> Result<()> {
    let client = context.client()?;
    let Some(path) = out else {
        client.audit_export(&mut tokio::io::stdout()).await?;
        return Ok(());
    };
    let options = tokio::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).await;
    let mut file = options.map_err(Error::file("create", &path))?;
    let written = with_progress("downloading the log", client.audit_export(&mut file)).await;
    let synced = file.shutdown().await.and(file.sync_all().await);
    let bytes = match (written, synced) {
        (Ok(bytes), Ok(())) => bytes,
        (written, synced) => {
            // A part of a log must not be taken for the log.
            drop(std::fs::remove_file(&path));
            written?;
            return synced.map_err(Error::file("write", &path));
        }
    };
    let exported = Exported { file: path, bytes };
    context.out.document(&exported, |done| format!("{} bytes in {}", done.bytes, done.file.display()))
}

impl Verify {
    async fn run(self, context: &Context) -> Result<()> {
        let key = self.trusted_key(context)?;
        let known = match (&self.checkpoint, &key) {
            (None, _) => None,
            (Some(path), Some(key)) => Some(read_checkpoint(path, key)?),
            (Some(_), None) => {
                return Err(Error::Usage("--checkpoint needs a trusted key, not --any-key".into()));
            }
        };
        let key_trusted = key.is_some();
        let verifier = Verifier::new(key, known);
        let report = match &self.file {
            Some(path) => verify_file(path, verifier)?,
            None => verify_server(context, verifier).await?,
        };
        if !key_trusted {
            note("warning: the log's own key was believed; pass --key to check who signed it");
        }
        let verified = Verified { ok: true, key_trusted, report };
        context.out.document(&verified, |verified| {
            let Report { chain, head, checkpoints, signed_size } = &verified.report;
            fields(&[
                ("log", chain.to_string()),
                ("entries", head.size.to_string()),
                ("head", head.hash.to_string()),
                ("checkpoints", checkpoints.to_string()),
                ("signed up to entry", signed_size.to_string()),
                ("result", "the log holds".into()),
            ])
        })
    }

    fn trusted_key(&self, context: &Context) -> Result<Option<VerifierKey>> {
        if self.any_key {
            return Ok(None);
        }
        let (text, origin) = match &self.key {
            // A verifier key is `name+id+base64`; no sane file name parses as one.
            Some(text) if text.parse::<VerifierKey>().is_ok() => (text.clone(), "--key".to_owned()),
            Some(path) => (read_text(Path::new(path))?, path.clone()),
            None => {
                let path = context.load()?.config.data.dir.join(AUDIT_KEY);
                if !path.try_exists().unwrap_or(false) {
                    return Err(Error::Usage(format!(
                        "whose signatures count? {} is not there: pass --key KEY|FILE, or --any-key",
                        path.display()
                    )));
                }
                (read_text(&path)?, path.display().to_string())
            }
        };
        let key = text.trim().parse().map_err(|error| Error::Invalid(format!("{origin}: {error}")))?;
        Ok(Some(key))
    }
}

fn read_text(path: &Path) -> Result<String> {
    let text = std::fs::read(path).map_err(Error::file("read", path))?;
    match String::from_utf8(text) {
        Ok(text) if text.len() <= 4096 => Ok(text),
        _ => Err(Error::Invalid(format!("{} is not a short text file", path.display()))),
    }
}

fn read_checkpoint(path: &Path, key: &VerifierKey) -> Result<Head> {
    let checkpoint = Checkpoint::open(&read_text(path)?, key);
    checkpoint
        .map(|checkpoint| checkpoint.head)
        .map_err(|error| Error::Verification(format!("{}: {error}", path.display())))
}

fn verify_file(path: &Path, mut verifier: Verifier) -> Result<Report> {
    let file = File::open(path).map_err(Error::file("read", path))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limited = &mut std::io::Read::take(&mut reader, MAX_LINE as u64 + 1);
        if limited.read_until(b'\n', &mut line).map_err(Error::file("read", path))? == 0 {
            break;
        }
        feed(&mut verifier, &line)?;
    }
    verifier.finish().map_err(|error| Error::Verification(error.to_string()))
}

async fn verify_server(context: &Context, verifier: Verifier) -> Result<Report> {
    let mut sink = LineSink::new(verifier);
    let outcome =
        with_progress("verifying the server's log", context.client()?.audit_export(&mut sink)).await;
    let verifier = sink.into_verifier()?;
    outcome?;
    verifier.finish().map_err(|error| Error::Verification(error.to_string()))
}

/// Gives the verifier one line, with or without its newline.
pub(crate) fn feed(verifier: &mut Verifier, line: &[u8]) -> Result<()> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    if line.len() > MAX_LINE {
        return Err(Error::Verification("a line is longer than 8 MiB: this is no audit export".into()));
    }
    // What is not UTF-8 is no JSON either; the verifier then names the line.
    let text = String::from_utf8_lossy(line);
    verifier.line(&text).map_err(|error| Error::Verification(error.to_string()))
}
