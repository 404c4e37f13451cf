//! The server's Unix socket.

use std::{io::ErrorKind, time::Duration};

use anya_config::Config;
use tokio::{net::UnixStream, time::timeout};

use super::{Check, files::Hold};

const NAME: &str = "socket";

/// Whether the socket answers when a server runs, and could be made when none does.
pub(crate) async fn socket(config: &Config, hold: &Hold) -> Option<Check> {
    let path = config.server.listen_unix.as_ref()?;
    let connected = timeout(Duration::from_secs(5), UnixStream::connect(path)).await;
    let connected = connected.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
    Some(match (connected, hold) {
        (Ok(_), Hold::Running) => Check::ok(NAME, format!("{} answers", path.display())),
        (Ok(_), _) => Check::fail(
            NAME,
            format!("another program answers at {}", path.display()),
            "stop it, or choose another server.listen_unix",
        ),
        (Err(error), Hold::Running) => Check::fail(
            NAME,
            format!("a server runs but {} does not answer: {error}", path.display()),
            "the running server may have another server.listen_unix; else see its log",
        ),
        (Err(_), _) => match path.parent().map(std::fs::metadata) {
            Some(Ok(folder)) if folder.is_dir() => Check::ok(NAME, format!("{} is free", path.display())),
            _ => Check::fail(
                NAME,
                format!("the folder of {} is not there", path.display()),
                "make it, or choose another server.listen_unix",
            ),
        },
    })
}
