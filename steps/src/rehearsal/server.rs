//! HTTP in front of the world: a tower service for a client in the same process, and TCP for others.

use super::api::Asked;
use super::handle::{Fate, Shared};
use super::host;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The API, and `/host/…`, as a service.
#[derive(Debug, Clone)]
pub(super) struct Server {
    shared: Arc<Shared>,
}

impl Server {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// `Err` is what a client sees as a connection that failed.
    async fn serve<B>(self, request: Request<B>) -> io::Result<Response<Full<Bytes>>>
    where
        B: Body + Send,
        B::Error: std::fmt::Display,
    {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|e| io::Error::other(e.to_string()))?;
        let content_type = head.headers.get(http::header::CONTENT_TYPE);
        let asked = Asked {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            content_type: content_type.and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned(),
            body: body.to_bytes().to_vec(),
        };
        match self.shared.serve(&asked) {
            Fate::Answered((code, value)) => {
                // A health check is answered in plain text, all else in JSON.
                let (kind, text) = match value {
                    Value::String(text) if !asked.path.starts_with(host::PREFIX) => ("text/plain", text),
                    other => ("application/json", other.to_string()),
                };
                let reply = Response::builder().status(code).header(http::header::CONTENT_TYPE, kind);
                reply.body(Full::from(text)).map_err(io::Error::other)
            }
            Fate::Refused => Err(io::Error::new(io::ErrorKind::ConnectionRefused, "no API server is ready")),
            Fate::Cut => {
                Err(io::Error::new(io::ErrorKind::ConnectionReset, "the connection ended without an answer"))
            }
            Fate::Hangs => std::future::pending().await,
        }
    }
}

impl tower::Service<Request<kube::client::Body>> for Server {
    type Response = Response<Full<Bytes>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        Box::pin(self.clone().serve(request))
    }
}

/// Serves connections until it is dropped. One that meets no API server is closed without an answer.
pub(super) async fn accept(server: Server, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let server = server.clone();
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
