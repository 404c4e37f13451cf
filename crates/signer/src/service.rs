//! Accepts connections, few at a time.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anya_enclave::{ChannelKey, KeyPin};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    attestor::Attestor,
    error::{Error, Result},
    session,
    vault::Vault,
};

/// Connections at once: one server, its successor after a restart, and some whose handshake will fail.
const CONNECTIONS: usize = 16;
/// The longest that connections may take to end after the signer was told to stop.
const GRACE: Duration = Duration::from_secs(20);

/// A signer for one server.
pub struct Signer {
    pub(crate) vault: Arc<Vault>,
    pub(crate) attestor: Arc<dyn Attestor>,
    pub(crate) key: ChannelKey,
    pub(crate) server: KeyPin,
}

impl Signer {
    /// A signer that answers to the server with the key `server`, and to nobody else.
    pub fn new(vault: Vault, attestor: Arc<dyn Attestor>, key: ChannelKey, server: KeyPin) -> Arc<Self> {
        Arc::new(Self { vault: Arc::new(vault), attestor, key, server })
    }

    /// Serves until `stop` becomes true. Requests under way are answered, then the root is wiped.
    pub async fn run(self: Arc<Self>, listener: UnixListener, mut stop: watch::Receiver<bool>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut sessions = JoinSet::new();
        loop {
            while sessions.try_join_next().is_some() {}
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::error!(%error, "a connection could not be accepted");
                        // Usually too many open files: more haste helps nobody.
                        sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
                () = told(&mut stop) => break,
            };
            let Ok(room) = Arc::clone(&room).try_acquire_owned() else {
                tracing::warn!("too many connections: one was refused");
                continue;
            };
            let (signer, stop) = (Arc::clone(&self), stop.clone());
            sessions.spawn(async move {
                let _room = room;
                match session::serve(signer, stream, stop).await {
                    Ok(()) => tracing::info!("a connection ended"),
                    Err(error) => tracing::warn!(%error, "a connection ended"),
                }
            });
        }
        drop(listener);
        let _ = timeout(GRACE, async { while sessions.join_next().await.is_some() {} }).await;
        sessions.shutdown().await;
        self.vault.close().await;
    }
}

/// Returns when the signer is told to stop.
pub(crate) async fn told(stop: &mut watch::Receiver<bool>) {
    // An error says that nobody is left to tell, which is the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Listens at `path` with the given permissions. A socket that nobody listens on is replaced.
///
/// # Errors
/// [`Error::Folder`] when somebody listens there, or when something else lies there.
pub async fn bind(path: &Path, mode: u32) -> Result<UnixListener> {
    let failed = |action| move |source: io::Error| Error::Io { action, path: path.to_owned(), source };
    let taken = |reason| Error::Folder { path: path.to_owned(), reason };
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(taken("it is no socket: choose another path for the socket"));
        }
        Ok(_) => match UnixStream::connect(path).await {
            Ok(_) => return Err(taken("somebody listens on this socket: choose another path")),
            Err(_) => fs::remove_file(path).map_err(failed("remove"))?,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("look at")(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("open up"))?;
    Ok(listener)
}
