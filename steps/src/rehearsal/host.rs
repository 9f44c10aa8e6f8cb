//! The machine's kernel, asked over the same transport as the API: `/host/…`, which answers whether or
//! not any API server runs.

use super::api::{Asked, Reply};
use super::failure::Failure;
use super::world::World;
use crate::node::{Answer, Host, HostError, Listener, Process, Question};
use async_trait::async_trait;
use http::{Method, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::time::Duration;

/// A rehearsal that is at work answers within a millisecond; on a machine that is busy, within a second.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Where the paths begin.
pub(super) const PREFIX: &str = "/host/";

/// The rehearsal's side.
pub(super) fn answer(world: &mut World, asked: &Asked) -> Reply {
    let machine = &mut world.machine;
    let path = asked.path.strip_prefix(PREFIX).unwrap_or_default();
    let found = match (&asked.method, path.split_once('/').unwrap_or((path, ""))) {
        (&Method::GET, ("boot-id", "")) => Ok(json!(machine.boot_id)),
        (&Method::GET, ("memory", "")) => Ok(json!(machine.memory_available())),
        (&Method::GET, ("listeners", port)) => match port.parse() {
            Ok(port) => Ok(json!(machine.listeners(port))),
            Err(e) => Err(Failure::bad_request(format!("{port:?} is no port: {e}"))),
        },
        (&Method::GET, ("processes", uid)) => Ok(json!(machine.pod_processes(uid))),
        (&Method::POST, ("end", "")) => match serde_json::from_slice::<Process>(&asked.body) {
            Ok(process) => {
                machine.end(&process);
                Ok(json!(null))
            }
            Err(e) => Err(Failure::bad_request(format!("the process cannot be read: {e}"))),
        },
        (&Method::POST, ("ask", "")) => match serde_json::from_slice::<Question>(&asked.body) {
            Ok(question) => machine
                .ask(question.address, &question.path, question.tls)
                .map(|(status, process)| json!(Answer { status, process: Some(process) }))
                .map_err(Failure::internal),
            Err(e) => Err(Failure::bad_request(format!("the question cannot be read: {e}"))),
        },
        _ => Err(Failure::no_path(&asked.path)),
    };
    found.map_or_else(|failure| (failure.code, failure.status()), |value| (200, value))
}

/// The steps' side.
#[derive(Clone)]
pub(super) struct RehearsalHost {
    client: kube::Client,
}

impl std::fmt::Debug for RehearsalHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RehearsalHost").finish_non_exhaustive()
    }
}

impl RehearsalHost {
    pub(super) fn new(client: kube::Client) -> Self {
        Self { client }
    }

    async fn get<T: DeserializeOwned>(&self, what: &str, attempt: &str) -> Result<T, HostError> {
        self.request(Method::GET, what, Vec::new(), attempt).await
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        what: &str,
        body: Vec<u8>,
        attempt: &str,
    ) -> Result<T, HostError> {
        let request = Request::builder().method(method).uri(format!("{PREFIX}{what}")).body(body);
        let request = request.map_err(|e| HostError::new(attempt, e))?;
        match tokio::time::timeout(ANSWER_WITHIN, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => Err(HostError::new(attempt, status.message)),
            Ok(Err(other)) => Err(HostError::new(attempt, other)),
            Err(_) => Err(HostError::new(attempt, format!("no answer within {ANSWER_WITHIN:?}"))),
        }
    }
}

fn body(value: &impl Serialize, attempt: &str) -> Result<Vec<u8>, HostError> {
    serde_json::to_vec(value).map_err(|e| HostError::new(attempt, e))
}

#[async_trait]
impl Host for RehearsalHost {
    async fn boot_id(&self) -> Result<String, HostError> {
        self.get("boot-id", "asking the rehearsal for the boot id").await
    }

    async fn listeners(&self, port: u16) -> Result<Vec<Listener>, HostError> {
        let attempt = format!("asking the rehearsal who listens on port {port}");
        self.get(&format!("listeners/{port}"), &attempt).await
    }

    async fn pod_processes(&self, pod_uid: &str) -> Result<Vec<Process>, HostError> {
        let attempt = format!("asking the rehearsal for the processes of pod {pod_uid}");
        self.get(&format!("processes/{pod_uid}"), &attempt).await
    }

    async fn ask(&self, question: &Question) -> Result<Answer, HostError> {
        let attempt = format!("asking {} for {}", question.address, question.path);
        self.request(Method::POST, "ask", body(question, &attempt)?, &attempt).await
    }

    async fn end(&self, process: &Process) -> Result<(), HostError> {
        let attempt = format!("ending process {} of the rehearsal", process.pid);
        self.request(Method::POST, "end", body(process, &attempt)?, &attempt).await
    }

    async fn memory_available(&self) -> Result<u64, HostError> {
        self.get("memory", "asking the rehearsal for its memory").await
    }
}
