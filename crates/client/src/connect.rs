//! Connections: Unix sockets and TLS, behind the one type that the HTTP client wants.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{endpoint::Endpoint, error::Error};

/// Opens connections to one endpoint, whatever URI it is asked for.
#[derive(Clone)]
pub(crate) enum Connector {
    Unix(Arc<std::path::Path>),
    Tls { host: Arc<str>, port: u16, name: ServerName<'static>, config: Arc<ClientConfig> },
}

impl Connector {
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Self, Error> {
        match endpoint {
            Endpoint::Unix(path) => Ok(Self::Unix(path.as_path().into())),
            Endpoint::Https { host, port, ca_pem } => {
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| Error::Endpoint(format!("`{host}` is no host name or address")))?;
                let config = Arc::new(tls_config(ca_pem.as_deref())?);
                Ok(Self::Tls { host: host.as_str().into(), port: *port, name, config })
            }
        }
    }

    async fn connect(self) -> io::Result<Stream> {
        match self {
            Self::Unix(path) => Ok(Stream::Unix(TokioIo::new(UnixStream::connect(&path).await?))),
            Self::Tls { host, port, name, config } => {
                let tcp = TcpStream::connect((&*host, port)).await?;
                tcp.set_nodelay(true)?;
                let tls = TlsConnector::from(config).connect(name, tcp).await?;
                Ok(Stream::Tls(Box::new(TokioIo::new(tls))))
            }
        }
    }
}

fn tls_config(ca_pem: Option<&[u8]>) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    match ca_pem {
        Some(pem) => {
            let unreadable = |e: &dyn std::fmt::Display| {
                Error::Endpoint(format!("the CA file is no PEM certificate: {e}"))
            };
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|e| unreadable(&e))?;
                roots.add(certificate).map_err(|e| unreadable(&e))?;
            }
            if roots.is_empty() {
                return Err(Error::Endpoint("the CA file holds no certificate".into()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(Error::Endpoint(
                    "this system trusts no certificates: name the server's with --ca-file".into(),
                ));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Endpoint(format!("TLS cannot be set up: {e}")))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

impl tower::Service<hyper::Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: hyper::Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

/// A connection.
pub(crate) enum Stream {
    Unix(TokioIo<UnixStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
