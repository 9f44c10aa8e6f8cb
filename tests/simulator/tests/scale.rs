//! What a pivot asks of the API as the cluster's pods grow: nothing more, for it asks for kube-system and for its own node.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]
#![allow(clippy::print_stdout, reason = "the figures of docs/figures.md are printed")]

use fulcrum_engine::Silent;
use fulcrum_engine::run::Phase;
use fulcrum_simulator::rehearsal::{Setup, SimulatedSite, Version};
use fulcrum_steps::cluster::Cluster;
use futures::stream::{self, StreamExt};
use http::{Request, Response};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Pod;
use kube::client::Body;
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Pods of other people, on other nodes.
const PODS: usize = 5000;

/// Every question, without the names that differ from run to run, and its answers.
type Asked = BTreeMap<String, Answers>;

/// How often a question was asked, and how many bytes its largest answer had.
#[derive(Debug, Default)]
struct Answers {
    times: usize,
    largest: usize,
}

/// This client. It notes what it is asked.
fn noted(client: Client, asked: &Arc<Mutex<Asked>>) -> Client {
    let asked = Arc::clone(asked);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, asked) = (client.clone(), Arc::clone(&asked));
        async move {
            let question = question(&request);
            let answer = client.send(request).await?;
            if question.contains("watch=") {
                asked.lock().unwrap().entry(question).or_default().times += 1;
                return Ok::<_, kube::Error>(answer);
            }
            let (head, body) = answer.into_parts();
            let bytes = body.collect().await?.to_bytes();
            let mut asked = asked.lock().unwrap();
            let answers = asked.entry(question).or_default();
            answers.times += 1;
            answers.largest = bytes.len().max(answers.largest);
            Ok(Response::from_parts(head, Body::from(bytes)))
        }
    });
    Client::new(service, "default")
}

/// The method, the path as far as it is a kind of object, and whose pods are asked for.
fn question(request: &Request<Body>) -> String {
    let uri = request.uri();
    let path: Vec<&str> = uri.path().split('/').filter(|part| !part.contains("node-1-")).collect();
    let path = path.into_iter().take(7).map(|part| if is_a_name(part) { "NAME" } else { part });
    let query = uri.query().unwrap_or_default();
    let of_node = if query.contains("spec.nodeName") { " of a node" } else { "" };
    let watch = if query.contains("watch=") { " watch=" } else { "" };
    format!("{} {}{of_node}{watch}", request.method(), path.collect::<Vec<_>>().join("/"))
}

/// Whether this part of a path ends in what a cluster or this program has made up.
fn is_a_name(part: &str) -> bool {
    part.starts_with("self-hosted-") || part.starts_with("kube-apiserver-") || part.starts_with("fulcrum-")
}

/// There and back, beside so many pods.
async fn asked_beside(pods: usize) -> Asked {
    let root = tempfile::tempdir().unwrap();
    let setup = Setup::built_in(Version::DEFAULT).unwrap();
    let mut site = SimulatedSite::boot(&setup, root.path()).await.unwrap();
    let others = Api::<Pod>::namespaced(site.machine().client(), "default");
    let made = stream::iter(0..pods).map(|number| {
        let pod = serde_json::json!({
            "metadata": { "name": format!("app-{number}"), "labels": { "app": "other" } },
            "spec": {
                "nodeName": format!("worker-{}", number % 50),
                "containers": [{ "name": "app", "image": "registry.example.org/app:1" }],
            },
        });
        let (pod, others): (Pod, _) = (serde_json::from_value(pod).unwrap(), others.clone());
        async move { others.create(&kube::api::PostParams::default(), &pod).await.map(|_| ()) }
    });
    made.buffer_unordered(16).for_each(|made| async move { made.unwrap() }).await;
    let asked = Arc::default();
    let clients = site.machine().clients();
    site.cluster = Cluster::new(noted(site.machine().client(), &asked)).with_etcd(move |_, url| {
        let address = url.split_once("://").and_then(|(_, address)| address.parse().ok());
        address.map(&clients).ok_or_else(|| format!("{url} is no address"))
    });
    let journal = site.journal().unwrap();
    let ending = site.pivot(&journal, Arc::new(Silent)).await.unwrap();
    assert!(matches!(ending.phase, Phase::Ended(fulcrum_engine::Outcome::Completed, _)), "{}", ending.phase);
    let back = site.rollback(&journal, ending.run, Arc::new(Silent)).await.unwrap();
    assert!(matches!(back.phase, Phase::Ended(fulcrum_engine::Outcome::RolledBack, _)), "{}", back.phase);
    std::mem::take(&mut asked.lock().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pivot_asks_no_more_of_the_api_beside_five_thousand_pods() {
    let (alone, beside) = (asked_beside(0).await, asked_beside(PODS).await);
    let lists = |asked: &Asked| {
        asked.keys().filter(|question| question.contains("/pods")).cloned().collect::<Vec<_>>()
    };
    assert!(!lists(&alone).is_empty(), "{alone:?}");
    for question in lists(&beside) {
        let is_bounded = question.contains("/namespaces/kube-system/") || question.ends_with(" of a node");
        assert!(is_bounded, "pods of the whole cluster are asked for: {question}");
    }
    println!("times, largest answer in bytes; beside {PODS} pods; the question");
    for (question, Answers { times, largest }) in &beside {
        let (alone_times, alone_largest) = alone.get(question).map_or((0, 0), |a| (a.times, a.largest));
        println!("{alone_times} {alone_largest}; {times} {largest}; {question}");
    }
    let largest = |asked: &Asked| asked.values().map(|answers| answers.largest).max().unwrap();
    let (small, large) = (largest(&alone), largest(&beside));
    // 5,000 pods are more than a megabyte.
    assert!(large < 2 * small, "the largest answer had {small} bytes, and has {large}");
}
