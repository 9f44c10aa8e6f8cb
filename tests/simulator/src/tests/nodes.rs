//! Several nodes: what one of them loses, and what the others keep. What they have in common with a real
//! cluster is in `behaviours`.

use super::*;
use bench::Nodes;
use kube::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The first node has pids below this, the second one below twice this.
const PIDS: u32 = 1_000_000;

/// Reads through the balancer, from outside, until it is dropped.
struct Load {
    good: Arc<AtomicU64>,
    bad: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    fn on(client: Client) -> Self {
        let (good, bad) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counts = (Arc::clone(&good), Arc::clone(&bad));
        let task = tokio::spawn(async move {
            let nodes = Api::<Node>::all(client);
            loop {
                let which = if nodes.get("node-1").await.is_ok() { &counts.0 } else { &counts.1 };
                which.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Self { good, bad, task }
    }

    /// Requires that requests were answered, and that none failed.
    fn all_good(self) {
        self.task.abort();
        let (good, bad) = (self.good.load(Ordering::Relaxed), self.bad.load(Ordering::Relaxed));
        assert!(good > 0 && bad == 0, "{good} requests were answered, {bad} failed");
    }
}

fn kubernetes(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("192.0.2.{name}")).collect()
}

async fn ready(nodes: &Nodes, client: Client, name: &str, status: &str) {
    let api = Api::<Node>::all(client);
    let is_so = async {
        loop {
            let node = api.get(name).await.map(|node| serde_json::to_value(node.status).unwrap());
            let conditions = node.ok().and_then(|node| node["conditions"].as_array().cloned());
            let mut conditions = conditions.into_iter().flatten();
            if conditions.any(|c| c["type"] == "Ready" && c["status"] == status) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let late = tokio::time::timeout(SOON, is_so).await.is_err();
    assert!(!late, "node {name} is not Ready {status}\n{:#?}", nodes.simulator.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_power_leaves_the_others_serving() {
    let nodes = Nodes::up().await;
    let (first, second) = (nodes.simulator.node(0), nodes.simulator.node(1));
    let load = Load::on(second.client());
    let boot = first.snapshot().boot_id;
    let pods = Api::<Pod>::namespaced(second.client(), "kube-system");
    let registered = async {
        while !pods.get("kube-apiserver-node-1").await.is_ok_and(|pod| is_ready(&pod)) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, registered).await.expect("its kubelet says that the pod is ready");
    first.power_off();
    nodes.until(1, "its address to be out", |s| s.endpoints == kubernetes(&["11", "12"])).await;
    nodes
        .until(1, "leaders elsewhere", |s| s.leaders.len() == 2 && s.leaders.values().all(|p| *p > PIDS))
        .await;
    assert!(Api::<Node>::all(first.client()).get("node-1").await.is_err());
    ready(&nodes, second.client(), "node-1", "Unknown").await;
    assert!(!is_ready(&pods.get("kube-apiserver-node-1").await.unwrap()), "nothing is known of it");
    first.power_on();
    nodes.all_serve().await;
    ready(&nodes, second.client(), "node-1", "True").await;
    assert_ne!(first.snapshot().boot_id, boot);
    load.all_good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_has_no_store_and_no_leader() {
    let nodes = Nodes::up().await;
    let (first, third) = (nodes.simulator.node(0), nodes.simulator.node(2));
    let load = Load::on(nodes.simulator.from_outside());
    let readyz = |address| Question { address, path: "/readyz".into(), tls: true, mark: None };
    let direct = readyz((third.address(), 6443).into());
    let answer = first.host().ask(&direct).await.unwrap();
    assert_eq!((answer.status, answer.process), (200, None), "another machine's processes are not seen");
    assert!(third.host().ask(&direct).await.unwrap().process.is_some());

    third.cut_off();
    assert!(first.host().ask(&direct).await.is_err());
    assert_eq!(third.host().ask(&direct).await.unwrap().status, 500);
    assert!(third.snapshot().processes.iter().any(|p| p.component == SERVER), "its processes run");
    let read = async |client| Api::<Node>::all(client).get("node-1").await.map_err(reason).map(drop);
    assert_eq!(read(third.client()).await.unwrap_err().0, 500);
    assert_eq!(read(third.balanced()).await.unwrap_err().0, 0, "the balancer is on another machine");
    assert_eq!(read(first.balanced()).await, Ok(()));
    nodes.until(0, "its address to be out", |s| s.endpoints == kubernetes(&["10", "11"])).await;
    let elsewhere = |s: &Snapshot| s.leaders.len() == 2 && s.leaders.values().all(|pid| *pid < 2 * PIDS);
    nodes.until(0, "leaders elsewhere", elsewhere).await;
    ready(&nodes, first.client(), "node-3", "Unknown").await;

    third.connect_again();
    nodes.all_serve().await;
    ready(&nodes, third.client(), "node-3", "True").await;
    load.all_good();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_of_its_members_etcd_serves_nobody() {
    let nodes = Nodes::up().await;
    let (first, others) = (nodes.simulator.node(0), [nodes.simulator.node(1), nodes.simulator.node(2)]);
    let etcd = async |number: usize, method: &str, path: &str| {
        let client = first.client_to((nodes.simulator.node(number).address(), 2379).into());
        let asked = http::Request::builder().method(method).uri(path);
        let asked = asked.body(kube::client::Body::from(b"{}".to_vec())).unwrap();
        let (head, body) = client.send(asked).await.map_err(|gone| gone.to_string())?.into_parts();
        let body = body.collect_bytes().await.unwrap();
        Ok::<_, String>((head.status.as_u16(), serde_json::from_slice::<Value>(&body).unwrap()))
    };
    let (status, list) = etcd(2, "POST", "/v3/cluster/member/list").await.unwrap();
    let urls: Vec<_> =
        list["members"].as_array().unwrap().iter().map(|m| m["clientURLs"][0].clone()).collect();
    let expected = ["10", "11", "12"].map(|last| format!("https://192.0.2.{last}:2379"));
    assert_eq!((status, urls), (200, expected.map(Into::into).to_vec()));
    assert_eq!(etcd(1, "GET", "/health").await.unwrap().1["health"], "true");
    nodes.simulator.alarm(Some(Alarm::NoSpace));
    let (_, alarms) = etcd(0, "POST", "/v3/maintenance/alarm").await.unwrap();
    assert_eq!(alarms["alarms"][0]["alarm"], "NOSPACE");

    others[0].power_off();
    assert!(etcd(1, "GET", "/health").await.is_err(), "nobody listens there");
    assert!(first.snapshot().api_up, "two of three are a majority");
    others[1].power_off();
    assert!(!first.snapshot().api_up);
    let (status, health) = etcd(0, "GET", "/health").await.unwrap();
    assert_eq!((status, health["health"].as_str()), (503, Some("false")));
    assert_eq!(etcd(0, "POST", "/v3/maintenance/alarm").await.unwrap().0, 503);
    let (_, own) = etcd(0, "POST", "/v3/cluster/member/list").await.unwrap();
    assert_eq!(own["members"], list["members"], "this it knows by itself");
    let maps = Api::<ConfigMap>::namespaced(first.client(), "kube-system");
    assert_eq!(reason(maps.list(&ListParams::default()).await.unwrap_err()).0, 500);

    others[1].power_on();
    nodes.until(0, "its API", |s| s.api_up).await;
    maps.list(&ListParams::default()).await.unwrap();
}

/// As a process of its own reaches them, over TCP.
#[tokio::test(flavor = "multi_thread")]
async fn another_process_reaches_each_server_through_one_port() {
    let nodes = Nodes::up().await;
    let (first, third) = (nodes.simulator.node(0), nodes.simulator.node(2));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = first.serve_balanced_on(listener).unwrap();
    let (balanced, host) = Simulator::connect(address).unwrap();
    assert_eq!(host.boot_id().await.unwrap(), first.snapshot().boot_id);
    let ask = async |port: u16, path: &str| {
        let client = Simulator::connect_to(address, (third.address(), port).into()).unwrap();
        client.request_text(http::Request::get(path).body(Vec::new()).unwrap()).await
    };
    assert_eq!(ask(6443, "/readyz").await.unwrap(), "ok");
    assert!(ask(2379, "/health").await.unwrap().contains("true"));
    third.power_off();
    assert!(ask(6443, "/readyz").await.is_err());
    assert!(balanced.apiserver_version().await.is_ok());
}
