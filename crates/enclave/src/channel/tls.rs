//! TLS 1.3 with raw public keys: no certificates, no names, no dates. Each end is who holds the pinned key.
//!
//! Nothing is carried over from one connection to the next: no tickets, no early data, so that each connection proves
//! both keys anew.

use std::{sync::Arc, time::Duration};

use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs::default_provider,
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::{ChannelKey, Stream};
use crate::{
    binding::KeyPin,
    error::{Error, Result},
};

/// Which protocol is spoken inside, and its version.
const PROTOCOL: &[u8] = b"anya-signer/1";
/// The longest that a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Opens the server's end of a channel, to a signer with the key `expected`, or with any key when evidence is to bind
/// it. Returns the key that the signer proved to hold.
pub async fn connect(
    stream: Box<dyn Stream>,
    own: &ChannelKey,
    expected: Option<KeyPin>,
) -> Result<(client::TlsStream<Box<dyn Stream>>, KeyPin)> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| Error::Handshake(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned::new(expected)))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(own.certified())));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    let name = ServerName::try_from("anya-signer").map_err(|_| Error::Internal("a constant name is bad"))?;
    let stream = in_time(TlsConnector::from(Arc::new(config)).connect(name, stream)).await?;
    let (_, session) = stream.get_ref();
    let pin = pin_of(session.peer_certificates())?;
    spoken(session.alpn_protocol())?;
    Ok((stream, pin))
}

/// Opens the signer's end of a channel, to the server with the key `expected`.
pub async fn accept<S: Stream>(
    stream: S,
    own: &ChannelKey,
    expected: KeyPin,
) -> Result<server::TlsStream<S>> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| Error::Handshake(error.to_string()))?
        .with_client_cert_verifier(Arc::new(Pinned::new(Some(expected))))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(own.certified())));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let stream = in_time(TlsAcceptor::from(Arc::new(config)).accept(stream)).await?;
    let (_, session) = stream.get_ref();
    pin_of(session.peer_certificates())?;
    spoken(session.alpn_protocol())?;
    Ok(stream)
}

async fn in_time<T>(handshake: impl Future<Output = std::io::Result<T>>) -> Result<T> {
    match tokio::time::timeout(HANDSHAKE, handshake).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Error::Handshake(error.to_string())),
        Err(_) => Err(Error::Handshake("the other end does not answer".to_owned())),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

fn pin_of(keys: Option<&[CertificateDer<'_>]>) -> Result<KeyPin> {
    match keys {
        Some([key]) => Ok(KeyPin::of(key)),
        _ => Err(Error::Handshake("the other end showed no key".to_owned())),
    }
}

fn spoken(protocol: Option<&[u8]>) -> Result<()> {
    match protocol {
        Some(PROTOCOL) => Ok(()),
        _ => Err(Error::Handshake("the other end speaks another protocol".to_owned())),
    }
}

/// Accepts one key, whatever else there is.
#[derive(Debug)]
struct Pinned {
    expected: Option<KeyPin>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn new(expected: Option<KeyPin>) -> Self {
        Self { expected, algorithms: default_provider().signature_verification_algorithms }
    }

    fn check(&self, key: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        match self.expected {
            Some(expected) if expected != KeyPin::of(key) => Err(rustls::Error::General(format!(
                "the other end has the key {} instead of {expected}: compare both ends' settings",
                KeyPin::of(key)
            ))),
            _ => Ok(()),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }
}

fn too_old() -> rustls::Error {
    rustls::Error::General("TLS 1.2 is not spoken here".to_owned())
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(key).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(key).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
