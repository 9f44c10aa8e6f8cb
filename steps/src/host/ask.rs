//! One `GET` over a connection of its own. The caller knows its own end, so the owner of the other end can be
//! looked up in the kernel's socket tables while the connection is open.

use super::edge::{Hindrance, HostError, Question};
use super::kernel::set_mark;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// The longest time for one question, connecting included. A healthy component on the own node answers its
/// health path within a few milliseconds. One that is starting may need a second.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Of a list the metadata of its objects is enough. What is no list of objects comes as it is.
const METADATA_ONLY: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json,*/*";

#[derive(Debug, Clone)]
pub(super) struct Asker {
    tls: Arc<ClientConfig>,
}

/// The answer and the connection that brought it. The connection stays open until this is dropped.
pub(super) struct Asked {
    pub(super) status: u16,
    pub(super) body: Bytes,
    pub(super) client: SocketAddr,
    _connection: Connection,
    /// hyper closes a connection whose sender has gone. Then the kernel can no longer say which process
    /// answered.
    _sender: SendRequest<Empty<Bytes>>,
}

/// The task that drives a connection. Dropping this ends the task and the connection.
struct Connection(tokio::task::JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Asker {
    pub(super) fn new(tls: Arc<ClientConfig>) -> Self {
        Self { tls }
    }

    pub(super) async fn ask(&self, question: &Question) -> Result<Asked, HostError> {
        let attempt = || format!("ask {} for {}", question.address, question.path);
        match tokio::time::timeout(ANSWER_WITHIN, self.connect_and_ask(question)).await {
            Ok(Ok(asked)) => Ok(asked),
            Ok(Err(cause)) => {
                let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
                let hindrance = match kind {
                    Some(ErrorKind::PermissionDenied) => Hindrance::NotPermitted, // The mark needs it.
                    _ => Hindrance::Other,
                };
                Err(HostError::hindered(hindrance, attempt(), cause))
            }
            Err(_) => Err(HostError::new(attempt(), format!("no answer within {ANSWER_WITHIN:?}"))),
        }
    }

    async fn connect_and_ask(
        &self,
        question: &Question,
    ) -> Result<Asked, Box<dyn std::error::Error + Send + Sync>> {
        let stream = connect(question).await?;
        let client = stream.local_addr()?;
        if !question.tls {
            return send(stream, client, question).await;
        }
        let name = ServerName::from(question.address.ip());
        send(TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?, client, question).await
    }
}

async fn connect(question: &Question) -> std::io::Result<TcpStream> {
    let socket = match question.address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Set before connecting: the kernel picks a listener by the first packet.
    if let Some(mark) = question.mark {
        set_mark(&socket, mark)?;
    }
    socket.connect(question.address).await
}

async fn send<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    client: SocketAddr,
    question: &Question,
) -> Result<Asked, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = Connection(tokio::spawn(async move {
        // Whatever ends the connection early also fails the request, which says so.
        let _ = connection.await;
    }));
    let request = http::Request::get(&question.path)
        .header(http::header::HOST, question.address.to_string())
        .header(http::header::ACCEPT, METADATA_ONLY)
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    Ok(Asked { status, body, client, _connection: connection, _sender: sender })
}

/// For tests, whose servers speak plain HTTP.
#[cfg(test)]
pub(super) fn no_tls() -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(config.unwrap().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}
