//! Everything that a run changes of the manifests directory and of the cluster is in the journal, on the way there
//! and on the way back. The test looks at both edges itself.

use crate::support::{TestSite, outcome, reason, setup};
use fulcrum_engine::state::{Journal, RunId, Timestamp};
use fulcrum_engine::{Event, Observer, Outcome};
use fulcrum_evidence::sha256_hex;
use fulcrum_simulator::rehearsal::{SimulatedSite, Steps};
use fulcrum_steps::cluster::Cluster;
use fulcrum_steps::settings::{HandoverMode, Wanted};
use fulcrum_steps::step::library;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tower::Service;

/// The digest of each file of a directory that the kubelet reads, by its path.
type Files = BTreeMap<String, String>;

fn look(dir: &PathBuf) -> Files {
    let mut files = Files::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if let Ok(bytes) = std::fs::read(entry.path()) {
            files.insert(entry.path().display().to_string(), sha256_hex(&bytes));
        }
    }
    files
}

/// Sees the manifests directory after each event.
struct FileSpy {
    dir: PathBuf,
    seen: Mutex<Vec<Files>>,
}

impl Observer for FileSpy {
    fn event(&self, _run: RunId, _time: Timestamp, _event: &Event) {
        self.seen.lock().unwrap().push(look(&self.dir));
    }
}

/// What was written to the API: the object, and its version afterwards. A deleted object has none.
type Writes = Arc<Mutex<BTreeSet<(String, Option<String>)>>>;

/// Sees each request of the steps.
#[derive(Clone)]
struct ApiSpy {
    inner: kube::Client,
    writes: Writes,
}

impl Service<Request<Body>> for ApiSpy {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, kube::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let dry = uri.query().is_some_and(|query| query.contains("dryRun"));
        let (inner, writes) = (self.inner.clone(), Arc::clone(&self.writes));
        Box::pin(async move {
            let answer = inner.send(request).await?;
            if method == Method::GET || dry || !answer.status().is_success() {
                return Ok(answer);
            }
            let (head, body) = answer.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            let said: Value = serde_json::from_slice(&bytes).unwrap();
            let version = said["metadata"]["resourceVersion"].as_str().map(str::to_owned);
            let version = version.filter(|_| method != Method::DELETE);
            let object = object(&method, uri.path(), &said);
            writes.lock().unwrap().insert((object, version));
            Ok(Response::from_parts(head, Body::from(bytes.to_vec())))
        })
    }
}

/// `Kind/namespace/name`, as a change names the object.
fn object(method: &Method, path: &str, said: &Value) -> String {
    let mut words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
    let made = said["metadata"]["name"].as_str().unwrap_or_default();
    if method == Method::POST {
        words.push(made);
    }
    let name = words.pop().unwrap();
    let kind = match words.pop().unwrap() {
        "daemonsets" => "DaemonSet",
        "leases" => "Lease",
        "pods" => "Pod",
        "nodes" => "Node",
        "events" => "Event",
        "endpoints" => "Endpoints",
        "endpointslices" => "EndpointSlice",
        other => panic!("{method} of {other}: what is it called in a change?"),
    };
    match words.iter().position(|word| *word == "namespaces") {
        Some(at) => format!("{kind}/{}/{name}", words[at + 1]),
        None => format!("{kind}/{name}"),
    }
}

/// All changes of a run, in the order of the journal.
pub(crate) fn recorded(journal: &Journal, run: RunId) -> Vec<Value> {
    let entries = journal.reader().entries(run).map(Result::unwrap);
    entries.flat_map(|entry| serde_json::from_str::<Event>(&entry.body).unwrap().facts().to_vec()).collect()
}

/// Each file goes from what it was to what it is, without a leap, and by way of everything that was seen.
fn assert_files(before: &Files, spy: &FileSpy, changes: &[Value]) {
    let state = |value: &Value| value["sha256"].as_str().map(str::to_owned);
    let dir = spy.dir.display().to_string();
    let mut now: BTreeMap<String, Option<String>> =
        before.iter().map(|(path, digest)| (path.clone(), Some(digest.clone()))).collect();
    let mut known: BTreeSet<(String, Option<String>)> =
        now.iter().map(|(path, digest)| (path.clone(), digest.clone())).collect();
    for change in changes {
        let name = change["name"].as_str().unwrap();
        if !name.starts_with(&dir) || change.get("before").is_none() {
            continue;
        }
        let at = now.entry(name.to_owned()).or_default();
        assert_eq!(*at, state(&change["before"]), "{name} was something else: {changes:#?}");
        *at = state(&change["after"]);
        known.insert((name.to_owned(), at.clone()));
    }
    now.retain(|_, digest| digest.is_some());
    let now: Files = now.into_iter().map(|(path, digest)| (path, digest.unwrap())).collect();
    assert_eq!(now, look(&spy.dir), "what the journal says is there is there");
    for (path, digest) in spy.seen.lock().unwrap().iter().flatten() {
        assert!(known.contains(&(path.clone(), Some(digest.clone()))), "no change made {path} {digest}");
    }
}

/// Each write to the API is a change, with the version that the object has had afterwards.
fn assert_objects(writes: &Writes, changes: &[Value]) {
    let writes = writes.lock().unwrap();
    assert!(writes.len() > 5, "{writes:?}");
    for (object, version) in writes.iter() {
        let of_it = changes.iter().filter(|change| {
            let name = change["name"].as_str().unwrap();
            name == object || name.starts_with(&format!("{object}, "))
        });
        // A label or an annotation is recorded by its value.
        let told = of_it.into_iter().any(|change| match (version, &change["after"]["resource_version"]) {
            (_, Value::Null) => change["name"] != **object || version.is_none(),
            (Some(version), after) => after == version,
            (None, _) => false,
        });
        assert!(told, "{object} {version:?} was written, and no change says so: {changes:#?}");
    }
}

async fn there_and_back(way: HandoverMode) {
    let writes = Writes::default();
    let seen = Arc::clone(&writes);
    let client: Arc<Mutex<Option<kube::Client>>> = Arc::default();
    let of_steps = Arc::clone(&client);
    let steps: Steps = Arc::new(move |site| {
        let inner = of_steps.lock().unwrap().clone().unwrap();
        let spy = ApiSpy { inner, writes: Arc::clone(&seen) };
        let mut site = (*site).clone();
        site.cluster = Cluster::new(kube::Client::new(spy, "default"));
        Arc::new(library(Arc::new(site)))
    });
    let world = TestSite::boot_with(&setup().with_handover(Wanted::Way(way))).await;
    let world = world.with(|site: SimulatedSite| site.with_steps(steps));
    *client.lock().unwrap() = Some(world.simulator.client());
    let dir = world.manifests().path().to_owned();
    let before = look(&dir);
    let spy = Arc::new(FileSpy { dir, seen: Mutex::default() });
    let journal = world.journal();
    let ending = SimulatedSite::pivot(&world, &journal, Arc::clone(&spy) as _).await.unwrap();
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    let there = recorded(&journal, ending.run);
    assert_files(&before, &spy, &there);
    assert_objects(&writes, &there);
    let back = SimulatedSite::rollback(&world, &journal, ending.run, Arc::clone(&spy) as _).await.unwrap();
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    let all = recorded(&journal, ending.run);
    assert!(all.len() > there.len() + 5, "the way back says what it changes: {all:#?}");
    assert_files(&before, &spy, &all);
    assert_objects(&writes, &all);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_a_pivot_and_its_rollback_is_in_the_journal() {
    there_and_back(HandoverMode::Steer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_in_the_journal_where_a_bridge_serves_meanwhile() {
    there_and_back(HandoverMode::Bridge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_in_the_journal_where_the_static_pods_are_restarted() {
    there_and_back(HandoverMode::Restart).await;
}
