//! HTTP in front of the world: a tower service for a client in the same process, and TCP for others.

use super::api::{Asked, Body};
use super::connection::Connection;
use super::host;
use super::shared::{Fate, Shared};
use super::watch::{Told, Watch};
use super::world::{Caller, Target};
use futures::future::BoxFuture;
use futures::stream::{self, Stream};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as Sent, Bytes, Frame};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A path that begins so is for whatever listens at the address in its next part: `/at/192.0.2.11:2379/health`.
pub(super) const AT: &str = "/at/";

/// The API as one caller reaches it, and the caller's machine, `/host/…`, as a service.
#[derive(Debug, Clone)]
pub(super) struct Server {
    shared: Arc<Shared>,
    caller: Caller,
    connection: Arc<Connection>,
}

/// An answer: all at once, or, for a watch, bit by bit.
type Answer = UnsyncBoxBody<Bytes, io::Error>;

impl Server {
    pub(super) fn new(shared: Arc<Shared>, caller: Caller) -> Self {
        Self { shared, caller, connection: Arc::default() }
    }

    /// The server that this path is for, and its path there.
    fn directed(&self, path: &str) -> io::Result<(Self, String)> {
        let Some(rest) = path.strip_prefix(AT) else { return Ok((self.clone(), path.to_owned())) };
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address: SocketAddr = address.parse().map_err(io::Error::other)?;
        let caller = Caller { target: Target::Address(address), port: address.port(), ..self.caller };
        Ok((Self::new(self.shared.clone(), caller), format!("/{path}")))
    }

    /// `Err` stands for a connection that failed, as a client sees it.
    async fn serve<B>(self, request: Request<B>) -> io::Result<Response<Answer>>
    where
        B: Sent + Send,
        B::Error: std::fmt::Display,
    {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|e| io::Error::other(e.to_string()))?;
        let (server, path) = self.directed(head.uri.path())?;
        let content_type = head.headers.get(http::header::CONTENT_TYPE);
        let asked = Asked {
            method: head.method,
            path,
            query: head.uri.query().unwrap_or_default().to_owned(),
            content_type: content_type.and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned(),
            body: body.to_bytes().to_vec(),
        };
        let fate = match server.shared.serve(&asked, server.caller, &server.connection) {
            Fate::Later(delay) => {
                tokio::time::sleep(delay).await;
                server.shared.serve_late(&asked, server.caller, &server.connection)
            }
            fate => fate,
        };
        match fate {
            Fate::Answered((code, body)) => {
                // A health check is answered in plain text, all others in JSON.
                let (kind, text) = match body {
                    Body::Made(Value::String(text)) if !asked.path.starts_with(host::PREFIX) => {
                        ("text/plain", text.into_bytes())
                    }
                    other => ("application/json", serde_json::to_vec(&other)?),
                };
                let body = Full::from(text).map_err(|never| match never {}).boxed_unsync();
                response(code, kind, body)
            }
            Fate::Watches(watch) => {
                let body = StreamBody::new(lines(server.shared, *watch)).boxed_unsync();
                response(200, "application/json", body)
            }
            Fate::Refused => Err(io::Error::new(io::ErrorKind::ConnectionRefused, "no API server is ready")),
            Fate::Cut => {
                Err(io::Error::new(io::ErrorKind::ConnectionReset, "the connection ended without an answer"))
            }
            Fate::Hangs | Fate::Later(_) => std::future::pending().await,
        }
    }
}

fn response(code: u16, kind: &str, body: Answer) -> io::Result<Response<Answer>> {
    let head = Response::builder().status(code).header(http::header::CONTENT_TYPE, kind);
    head.body(body).map_err(io::Error::other)
}

/// A watch's lines, as they come. When its server's process goes, the kernel closes the connection, and the
/// client sees it end in the middle.
fn lines(shared: Arc<Shared>, watch: Watch) -> impl Stream<Item = io::Result<Frame<Bytes>>> {
    let moved = shared.moved();
    stream::unfold(Some((shared, watch, moved)), |open| async move {
        let (shared, mut watch, mut moved) = open?;
        loop {
            moved.borrow_and_update();
            match shared.tell(&mut watch) {
                Told::Lines(text) => {
                    return Some((Ok(Frame::data(text.into())), Some((shared, watch, moved))));
                }
                Told::Ended => return None,
                Told::Cut => {
                    let why = "the API server is gone, and the connection with it";
                    return Some((Err(io::Error::new(io::ErrorKind::UnexpectedEof, why)), None));
                }
                Told::NothingUntil(at) => {
                    // In either case the watch looks again: something moved, or it is time.
                    let _ = tokio::time::timeout_at(shared.instant(at), moved.changed()).await;
                }
            }
        }
    })
}

impl tower::Service<Request<kube::client::Body>> for Server {
    type Response = Response<Answer>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        Box::pin(self.clone().serve(request))
    }
}

/// Serves connections until it is dropped. A connection that meets no API server is closed without an answer.
pub(super) async fn accept(server: Server, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let server = Server::new(server.shared.clone(), server.caller);
                    connections.spawn(async move {
                        let service = hyper::service::service_fn(move |request| server.clone().serve(request));
                        let http = hyper::server::conn::http1::Builder::new();
                        if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                            tracing::trace!(%error, "a connection to the rehearsal ended");
                        }
                    });
                }
                Err(error) => tracing::warn!(%error, "accepting a connection to the rehearsal"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
