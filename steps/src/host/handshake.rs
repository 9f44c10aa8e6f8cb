//! One TLS handshake, to see what a server presents. Nothing is verified, and nothing is asked.

use super::edge::HostError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The longest time for one handshake, connecting included.
const WITHIN: Duration = Duration::from_secs(3);

/// The chain that was presented, and our end of the connection, which is open until this is dropped.
pub(super) struct Shaken {
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) client: SocketAddr,
    /// None if the server has ended the handshake: one that wants a certificate of its client, as etcd does,
    /// presents its own first.
    _stream: Option<TlsStream<TcpStream>>,
}

/// Shakes hands with the server at this address. With a name, the server may present another certificate.
pub(super) async fn shake(at: SocketAddr, name: Option<&str>) -> Result<Shaken, HostError> {
    let attempt = format!("shake hands with {at}");
    match tokio::time::timeout(WITHIN, shaken(at, name)).await {
        Ok(Ok(shaken)) => Ok(shaken),
        Ok(Err(cause)) => Err(HostError::new(attempt, cause)),
        Err(_) => Err(HostError::new(attempt, format!("no answer within {WITHIN:?}"))),
    }
}

async fn shaken(
    at: SocketAddr,
    name: Option<&str>,
) -> Result<Shaken, Box<dyn std::error::Error + Send + Sync>> {
    let provider = Arc::new(ring::default_provider());
    let seen = Arc::new(Keeper { chain: Mutex::default(), provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&seen) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let name = match name {
        Some(name) => ServerName::try_from(name.to_owned())?,
        None => ServerName::from(at.ip()),
    };
    let stream = TcpStream::connect(at).await?;
    let client = stream.local_addr()?;
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let chain = std::mem::take(&mut *seen.chain.lock().unwrap_or_else(PoisonError::into_inner));
    match shaken {
        Ok(stream) => Ok(Shaken { chain, client, _stream: Some(stream) }),
        Err(_) if !chain.is_empty() => Ok(Shaken { chain, client, _stream: None }),
        Err(error) => Err(error.into()),
    }
}

/// Takes every certificate, and keeps it.
#[derive(Debug)]
struct Keeper {
    chain: Mutex<Vec<Vec<u8>>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Keeper {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(end_entity).chain(intermediates).map(|one| one.to_vec()).collect();
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    const CERT: &[u8] = include_bytes!("../../tests/fixtures/server.crt");
    const KEY: &[u8] = include_bytes!("../../tests/fixtures/server.key");

    /// A server that asks its clients for a certificate, as etcd does.
    async fn server(version: &'static SupportedProtocolVersion) -> SocketAddr {
        let cert = CertificateDer::from_pem_slice(CERT).unwrap();
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(cert.clone()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(vec![cert], PrivateKeyDer::from_pem_slice(KEY).unwrap())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await {
                let _ = stream.read(&mut [0]).await;
            }
        });
        address
    }

    /// What a server presents is seen also where the server then refuses a client without a certificate.
    #[tokio::test]
    async fn a_server_is_seen_that_wants_a_certificate_itself() {
        let cert = CertificateDer::from_pem_slice(CERT).unwrap();
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let shaken = shake(server(version).await, None).await.unwrap();
            assert_eq!(shaken.chain, [cert.to_vec()], "{version:?}");
        }
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(shake(closed, Some("by-name")).await.is_err());
    }
}
