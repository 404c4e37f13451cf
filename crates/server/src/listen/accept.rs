//! The accept loop: from bound listeners to answered requests, and an orderly end.

use std::{future::pending, io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{JoinError, JoinSet},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, error, info, warn};

use super::{Listeners, stall::StallGuard};
use crate::{
    error::Result,
    limits::{Limits, READ_BUFFER_BYTES},
};

/// Pause after a failed accept. The usual cause is a lack of file descriptors, which time mends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A peer that was let in.
enum Peer {
    Unix(UnixStream),
    Tls(TcpStream, TlsAcceptor),
}

/// Serves `app` on `listeners` until `shutdown` is ready; then lets requests in progress end, for `limits.drain` at most.
///
/// While all connections are taken, peers wait in the kernel's backlog.
pub async fn serve(
    listeners: Listeners,
    app: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = Box::pin(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => report(ended),
            (peer, slot) = next_peer(&listeners, &slots) => {
                let (app, stopping) = (app.clone(), stopping.clone());
                connections.spawn(connection(peer, slot, app, limits, stopping));
            }
        }
    }
    drop(listeners);
    stop.send_replace(true);
    drain(connections, limits.drain).await;
    Ok(())
}

/// The next peer, once there is room for it.
async fn next_peer(listeners: &Listeners, slots: &Arc<Semaphore>) -> (Peer, OwnedSemaphorePermit) {
    // The semaphore is never closed.
    let Ok(slot) = Arc::clone(slots).acquire_owned().await else { return pending().await };
    loop {
        match accept(listeners).await {
            Ok(peer) => return (peer, slot),
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept(listeners: &Listeners) -> io::Result<Peer> {
    let unix = async {
        match &listeners.unix {
            Some(socket) => socket.accept().await.map(Peer::Unix),
            None => pending().await,
        }
    };
    let tls = async {
        match &listeners.tls {
            Some(tls) => {
                let (stream, _) = tls.listener.accept().await?;
                Ok(Peer::Tls(stream, TlsAcceptor::from(Arc::clone(&tls.config))))
            }
            None => pending().await,
        }
    };
    tokio::select! {
        peer = unix => peer,
        peer = tls => peer,
    }
}

async fn connection(
    peer: Peer,
    _slot: OwnedSemaphorePermit,
    app: Router,
    limits: Limits,
    stopping: watch::Receiver<bool>,
) {
    match peer {
        Peer::Unix(stream) => requests(stream, app, limits, stopping).await,
        Peer::Tls(stream, acceptor) => {
            // Answers are written whole; waiting to merge them only adds latency.
            let _ = stream.set_nodelay(true);
            match timeout(limits.handshake, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => requests(stream, app, limits, stopping).await,
                Ok(Err(error)) => debug!(%error, "the TLS handshake failed"),
                Err(_) => debug!("the TLS handshake took too long"),
            }
        }
    }
}

/// Answers a connection's requests until the peer leaves, breaks a limit, or the server stops.
async fn requests<S>(stream: S, app: Router, limits: Limits, mut stopping: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = TokioIo::new(StallGuard::new(stream, limits.stalled_write));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .max_buf_size(READ_BUFFER_BYTES)
        .serve_connection(stream, TowerToHyperService::new(app));
    let mut connection = Box::pin(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection broke off");
    }
}

/// Ready once the server stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is the same.
    let _ = stopping.wait_for(|stop| *stop).await;
}

async fn drain(mut connections: JoinSet<()>, patience: Duration) {
    let ending = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if timeout(patience, ending).await.is_err() {
        warn!(connections = connections.len(), "requests did not end in time and are cut off");
        connections.shutdown().await;
    }
    info!("all connections are closed");
}

fn report(ended: Result<(), JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        error!("a connection's task panicked");
    }
}
