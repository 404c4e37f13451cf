//! The Unix socket and its file.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tracing::warn;

use crate::error::{Error, Result};

/// Peers that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// How long a socket that is there already gets to answer. Connecting to a live one takes microseconds.
const ANSWER: Duration = Duration::from_secs(2);

/// A listening socket. Its file is removed with it, if it is still its own.
#[derive(Debug)]
pub(super) struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Listens on `path`, in place of a socket there that nobody answers on.
    pub(super) async fn bind(path: &Path) -> Result<Self> {
        remove_stale(path).await?;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => Error::SocketInUse { path: path.to_owned() },
            _ => Error::Listen { address: path.display().to_string(), source },
        };
        let socket = UnixSocket::new_stream().map_err(failed)?;
        socket.bind(path).map_err(failed)?;
        // Nobody can connect before `listen`, so there is no moment at which the wider mode counts.
        let restrict = fs::set_permissions(path, fs::Permissions::from_mode(0o600));
        let metadata = restrict.and_then(|()| fs::symlink_metadata(path)).map_err(failed)?;
        let listener = socket.listen(BACKLOG).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let own = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if own && let Err(error) = fs::remove_file(&self.path) {
            warn!(path = %self.path.display(), %error, "the socket file stays behind");
        }
    }
}

/// Makes room for a socket at `path`: a file that a dead server left is removed, anything else refuses.
async fn remove_stale(path: &Path) -> Result<()> {
    let failed = |source| Error::Listen { address: path.display().to_string(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(Error::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match tokio::time::timeout(ANSWER, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        // Somebody answers, or is too busy to, or may not be asked by us: the socket is not ours to take.
        Ok(Ok(_)) | Err(_) => Err(Error::SocketInUse { path: path.to_owned() }),
        Ok(Err(error)) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn the_socket_is_private_and_goes_with_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anya.sock");
        let socket = SocketFile::bind(&path).await.unwrap();
        assert_eq!(mode(&path), 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anya.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let live = SocketFile::bind(&path).await.unwrap();
        assert!(matches!(SocketFile::bind(&path).await, Err(Error::SocketInUse { .. })));
        assert!(UnixStream::connect(live.path()).await.is_ok());
    }

    #[tokio::test]
    async fn nothing_but_a_socket_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        fs::write(&path, "data").unwrap();
        assert!(matches!(SocketFile::bind(&path).await, Err(Error::NotASocket { .. })));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(SocketFile::bind(&link).await, Err(Error::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "data");
    }

    #[tokio::test]
    async fn a_successor_s_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anya.sock");
        let old = SocketFile::bind(&path).await.unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        let new = SocketFile::bind(&path).await.unwrap();
        drop(old);
        assert!(path.exists());
        drop(new);
    }

    #[tokio::test]
    async fn a_folder_that_is_missing_or_a_path_that_is_too_long_is_named() {
        let missing = Path::new("/nonexistent/anya.sock");
        let error = SocketFile::bind(missing).await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/anya.sock"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("x".repeat(120));
        let error = SocketFile::bind(&long).await.unwrap_err();
        assert!(error.to_string().contains("xxxx"), "{error}");
    }
}
