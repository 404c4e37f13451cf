//! The server's log: lines on stderr.

use anya_config::{Log, LogFormat};
use tracing_subscriber::{EnvFilter, fmt, util::SubscriberInitExt};

use crate::error::{Error, Result};

/// Libraries that say at `debug` what belongs to `trace`.
const QUIET: &str = "hyper=info,hyper_util=info,rustls=info,h2=info,mio=info";

/// Starts logging. Only once in a process.
pub(crate) fn start(log: &Log) -> Result<()> {
    let failed = |what: String| Error::Invalid(format!("cannot start the log: {what}"));
    // What the operator sets is the level alone: a filter of RUST_LOG could make a library log request headers.
    let directives = match log.level.as_str() {
        "trace" => "trace".to_owned(),
        level => format!("{level},{QUIET}"),
    };
    let filter = EnvFilter::try_new(directives).map_err(|error| failed(error.to_string()))?;
    // A line that cannot be written is lost: to complain of it on the same stderr would end in a panic, and a full disk
    // under the log must not stop the server.
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let started = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
        LogFormat::Text => builder.with_ansi(crate::output::stderr_is_terminal()).finish().try_init(),
    };
    started.map_err(|error| failed(error.to_string()))
}
