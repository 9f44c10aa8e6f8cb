//! The order, what pods and nodes are, and the driver against nodes that follow a script.

use super::drive::{Driver, Happened, Limits, Nodes, PodSeen};
use super::in_cluster::api_port;
use super::look::{NodeIs, NodeSeen, Own, own_node};
use super::order::order;
use super::pod::{PodOf, pod};
use super::pod_state::PodState;
use super::record::{Progress, Record};
use super::stop::Stop;
use super::task::{LastRun, Task};
use crate::cluster::{Cause, ClusterError};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

fn seen(name: &str, is: NodeIs) -> NodeSeen {
    NodeSeen { name: name.to_owned(), address: None, is, leads: false, own: false }
}

fn unfinished() -> NodeIs {
    NodeIs::Unfinished { run: "r".to_owned() }
}

#[test]
fn unfinished_nodes_are_first_then_those_that_do_not_lead_and_the_own_one_is_last() {
    let node = |name, is, leads, own| NodeSeen { leads, own, ..seen(name, is) };
    let nodes = [
        node("a", NodeIs::Static, false, true),
        node("b", NodeIs::Static, true, false),
        node("c", NodeIs::SelfHosted, false, false),
        node("d", NodeIs::Static, false, false),
        node("e", unfinished(), true, false),
        node("f", NodeIs::NotReady { components: 1 }, false, false),
    ];
    let turn = |task| {
        let order = order(task, &nodes);
        let already: Vec<String> = order.already.into_iter().map(|(name, _)| name).collect();
        (order.todo.concat(), already.concat())
    };
    assert_eq!(turn(Task::Pivot), ("edfba".into(), "c".into()));
    assert_eq!(turn(Task::Rollback), ("ecf".into(), "abd".into()));
    assert_eq!(turn(Task::Resume), ("ef".into(), "abcd".into()));
    let own = [node("a", unfinished(), true, true), node("b", NodeIs::Static, false, false)];
    assert_eq!(order(Task::Pivot, &own).todo, ["a", "b"], "its run has the lock");
}

#[test]
fn a_node_is_what_its_label_its_pods_and_the_lock_say() {
    for (holder, labelled, ready, expected) in [
        (None, false, 0, NodeIs::Static),
        (Some("cp2/r"), false, 0, NodeIs::Static),
        (None, true, 3, NodeIs::SelfHosted),
        (None, true, 1, NodeIs::NotReady { components: 2 }),
        (Some("cp1/r"), false, 0, unfinished()),
        (Some("cp1/r"), true, 3, unfinished()),
    ] {
        assert_eq!(NodeIs::of("cp1", holder, labelled, ready), expected, "{holder:?} {labelled} {ready}");
    }
}

#[test]
fn the_own_node_is_found_by_its_machine() {
    let node = |name: &str, id: &str| -> Node {
        let info = json!({
            "machineID": id, "architecture": "", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "",
            "kubeProxyVersion": "", "kubeletVersion": "", "operatingSystem": "", "osImage": "", "systemUUID": "",
        });
        serde_json::from_value(json!({ "metadata": { "name": name }, "status": { "nodeInfo": info } }))
            .unwrap()
    };
    let own = |id: &str, name: &str| Own { machine_id: id.into(), hostname: name.into() };
    let nodes = [node("cp1", "1"), node("cp2", "2"), node("cp3", "2")];
    for (own, expected) in [
        (own("1", "laptop"), Some("cp1")),
        (own("2", "cp3"), Some("cp3")),
        (own("2", "laptop"), None),
        (own("9", "cp1"), None),
        (own("", "cp1"), None),
    ] {
        assert_eq!(own_node(&nodes, &own).as_deref(), expected, "{own:?}");
    }
}

#[test]
fn a_pivot_goes_on_with_a_run_and_never_turns_one_around() {
    use LastRun::{Back, Forward, Over};
    use Task::{Pivot, Resume, Rollback};
    for (task, last, expected) in [
        (Pivot, Over, Some(Pivot)),
        (Pivot, Forward, Some(Resume)),
        (Pivot, Back, None),
        (Rollback, Forward, Some(Rollback)),
        (Rollback, Over, Some(Rollback)),
        (Resume, Back, Some(Resume)),
    ] {
        assert_eq!(task.on_node(last).ok(), expected, "{task} {last:?}");
    }
}

#[test]
fn a_pod_says_why_it_does_not_run_and_how_it_ended() {
    let state = |status: Value| {
        let pod: Pod =
            serde_json::from_value(json!({ "metadata": { "name": "p" }, "status": status })).unwrap();
        PodState::of(&pod)
    };
    let container = |state: Value| {
        json!({ "phase": "Pending", "containerStatuses": [
            { "name": "fulcrum", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state }
        ] })
    };
    for (reason, image) in
        [("ErrImageNeverPull", true), ("ImagePullBackOff", true), ("RunContainerError", false)]
    {
        let waiting = json!({ "waiting": { "reason": reason, "message": "no" } });
        let why = format!("{reason}, image i: no");
        assert_eq!(state(container(waiting)), PodState::Stuck { why, image });
    }
    let creating = state(container(json!({ "waiting": { "reason": "ContainerCreating" } })));
    assert!(matches!(creating, PodState::Pending(why) if why.contains("ContainerCreating")));
    assert!(matches!(state(json!({})), PodState::Pending(_)));
    assert_eq!(state(container(json!({ "running": {} }))), PodState::Running);
    let ended = |code: i32, reason: &str| {
        state(container(
            json!({ "terminated": { "exitCode": code, "reason": reason, "message": "it said so" } }),
        ))
    };
    let said = "it said so".to_owned();
    assert_eq!(ended(3, "Error"), PodState::Ended { code: Some(3), said: said.clone() });
    assert_eq!(ended(137, "ContainerStatusUnknown"), PodState::Ended { code: None, said });
    // The image has no such program, say: nothing was begun on the node.
    let failed =
        json!({ "terminated": { "exitCode": 128, "reason": "StartError", "message": "no /fulcrum" } });
    let why = "StartError, image i: no /fulcrum".to_owned();
    assert_eq!(state(container(failed)), PodState::Stuck { why, image: false });
    let late = state(json!({ "phase": "Failed", "reason": "DeadlineExceeded" }));
    assert_eq!(late, PodState::Ended { code: None, said: "DeadlineExceeded".to_owned() });
}

/// What a person reads before is what is sent.
#[test]
fn the_manifest_for_people_is_the_pod_that_is_sent() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = std::fs::read_to_string(root.join("packaging/all-nodes.yaml")).unwrap();
    let written: Value = serde_saphyr::from_str(&text).unwrap();
    let image = concat!("docker.io/library/fulcrum:", env!("CARGO_PKG_VERSION"));
    let sent = pod(&PodOf { task: Task::Pivot, node: "NODE", image, options: &["--yes".to_owned()] });
    assert_eq!(written, sent, "packaging/all-nodes.yaml");
    serde_json::from_value::<Pod>(sent).unwrap();
}

#[test]
fn an_api_servers_port_is_what_its_pod_says() {
    let pod = |node: &str, command: &[&str]| -> Pod {
        let container = json!({ "name": "c", "command": command });
        serde_json::from_value(json!({ "spec": { "nodeName": node, "containers": [container] } })).unwrap()
    };
    let pods = [
        pod("cp1", &["etcd"]),
        pod("cp1", &["kube-apiserver", "--secure-port=7443"]),
        pod("cp2", &["kube-apiserver"]),
    ];
    assert_eq!(["cp1", "cp2", "cp3"].map(|node| api_port(node, &pods)), [7443, 6443, 6443]);
}

/// Nodes whose pods follow a script.
#[derive(Default)]
struct Script {
    nodes: Vec<NodeSeen>,
    /// For each pod that is made on a node, what it is at each look; the last one stays.
    pods: BTreeMap<String, VecDeque<Vec<PodState>>>,
    /// What servers are not ready, at each look; then none.
    unready: VecDeque<Vec<String>>,
    /// Calls to come that the API does not answer.
    silent: usize,
    there: BTreeMap<String, (String, Vec<PodState>)>,
    made: usize,
    log: Vec<String>,
    record: Option<Record>,
}

struct Scripted(Mutex<Script>);

impl Scripted {
    fn of(nodes: &[&str], pods: &[(&str, &[PodState])]) -> Self {
        let seen_nodes = nodes.iter().map(|name| seen(name, NodeIs::Static)).collect();
        let mut script = Script { nodes: seen_nodes, ..Script::default() };
        for (node, states) in pods {
            script.pods.entry((*node).to_owned()).or_default().push_back(states.to_vec());
        }
        Self(Mutex::new(script))
    }

    fn with<T>(&self, with: impl FnOnce(&mut Script) -> T) -> T {
        with(&mut self.0.lock().unwrap())
    }

    fn answer<T>(&self, with: impl FnOnce(&mut Script) -> T) -> Result<T, ClusterError> {
        self.with(|script| match script.silent.checked_sub(1) {
            Some(left) => {
                script.silent = left;
                Err(ClusterError { attempt: "ask".into(), cause: Cause::Unreachable("gone".into()) })
            }
            None => Ok(with(script)),
        })
    }

    async fn drive(&self, task: Task) -> Result<(), Stop> {
        let limits = Limits {
            poll: Duration::from_millis(1),
            api: Duration::from_secs(5),
            pod: Duration::from_millis(200),
            run: Duration::from_secs(5),
            ready: Duration::from_millis(200),
            settle: Duration::from_millis(1),
        };
        let say = |what: Happened<'_>| {
            if let Happened::Adopted(node) = what {
                self.with(|script| script.log.push(format!("adopted {node}")));
            }
        };
        Driver { nodes: self, task, program: "fulcrum", image: "i", limits, say: &say }.drive().await
    }

    fn log(&self) -> String {
        self.with(|script| std::mem::take(&mut script.log).join(", "))
    }

    fn progress(&self, node: &str) -> Progress {
        self.with(|script| script.record.as_ref().unwrap().nodes[node].state)
    }
}

#[async_trait]
impl Nodes for Scripted {
    async fn look(&self) -> Result<Vec<NodeSeen>, ClusterError> {
        self.answer(|script| script.nodes.clone())
    }

    async fn unready(&self) -> Result<Vec<String>, ClusterError> {
        self.answer(|script| script.unready.pop_front().unwrap_or_default())
    }

    async fn pod(&self, node: &str) -> Result<Option<PodSeen>, ClusterError> {
        self.answer(|script| {
            let (uid, states) = script.there.get_mut(node)?;
            let state = if states.len() > 1 { states.remove(0) } else { states[0].clone() };
            if matches!(state, PodState::Ended { code: Some(0), .. }) {
                let node = script.nodes.iter_mut().find(|seen| seen.name == node)?;
                node.is = NodeIs::SelfHosted;
            }
            Some(PodSeen { uid: uid.clone(), same: true, state })
        })
    }

    async fn create(&self, node: &str) -> Result<(), ClusterError> {
        self.answer(|script| {
            script.made += 1;
            let states =
                script.pods.get_mut(node).and_then(VecDeque::pop_front).expect("a pod in the script");
            script.there.insert(node.to_owned(), (format!("uid-{}", script.made), states));
            script.log.push(format!("made {node}"));
        })
    }

    async fn delete(&self, node: &str, uid: &str) -> Result<(), ClusterError> {
        self.answer(|script| {
            if script.there.get(node).is_some_and(|(there, _)| there == uid) {
                script.there.remove(node);
                script.log.push(format!("deleted {node}"));
            }
        })
    }

    async fn keep(&self, record: &Record) -> Result<(), ClusterError> {
        self.answer(|script| script.record = Some(record.clone()))
    }
}

fn ended(code: i32) -> PodState {
    PodState::Ended { code: Some(code), said: format!("said {code}") }
}

#[tokio::test]
async fn nodes_are_taken_in_turn_and_the_first_failure_stops_and_the_same_command_goes_on() {
    let good = [PodState::Pending("p".into()), PodState::Running, ended(0)];
    let nodes =
        Scripted::of(&["a", "b", "c"], &[("a", &good), ("b", &[ended(4)]), ("b", &good), ("c", &good)]);
    let stop = nodes.drive(Task::Pivot).await.unwrap_err();
    assert_eq!(stop.code(), Some(4));
    assert!(stop.to_string().contains("b ended with exit code 4; it said:\nsaid 4"), "{stop}");
    assert_eq!(nodes.log(), "made a, deleted a, made b", "b's pod stays, for its log");
    let now = ["a", "b", "c"].map(|node| nodes.progress(node));
    assert_eq!(now, [Progress::Done, Progress::Stopped, Progress::Waiting]);
    nodes.drive(Task::Pivot).await.unwrap();
    assert_eq!(nodes.log(), "deleted b, made b, deleted b, made c, deleted c");
    let now = ["a", "b", "c"].map(|node| nodes.progress(node));
    assert_eq!(now, [Progress::Already, Progress::Done, Progress::Done]);
    nodes.drive(Task::Pivot).await.unwrap();
    assert_eq!(nodes.log(), "", "nothing is left to do");
}

#[tokio::test]
async fn a_command_that_was_killed_watches_on_when_it_is_run_again() {
    let nodes = Scripted::of(&["a"], &[("a", &[PodState::Running])]);
    let killed = tokio::time::timeout(Duration::from_millis(50), nodes.drive(Task::Pivot)).await;
    assert!(killed.is_err(), "its run goes on");
    nodes.with(|script| script.there.get_mut("a").unwrap().1 = vec![PodState::Running, ended(0)]);
    nodes.drive(Task::Pivot).await.unwrap();
    assert_eq!(nodes.log(), "made a, adopted a, deleted a");
}

#[tokio::test]
async fn an_image_that_is_not_there_is_named_at_once_and_leaves_no_pod() {
    let stuck = PodState::Stuck { why: "ErrImagePull, image i".into(), image: true };
    let nodes = Scripted::of(&["a"], &[("a", &[PodState::Pending("p".into()), stuck])]);
    let stop = nodes.drive(Task::Pivot).await.unwrap_err().to_string();
    assert!(
        stop.contains("the pod on a did not start")
            && stop.contains("load the image")
            && stop.contains("--image"),
        "{stop}"
    );
    assert_eq!(nodes.log(), "made a, deleted a");
    let waits = Scripted::of(&["a"], &[("a", &[PodState::Pending("no kubelet".into())])]);
    let stop = waits.drive(Task::Pivot).await.unwrap_err().to_string();
    assert!(stop.contains("no kubelet"), "{stop}");
    assert_eq!(waits.log(), "made a, deleted a", "it would start later, when nobody expects it");
}

#[tokio::test]
async fn a_pod_that_is_gone_or_was_ended_says_nothing_of_the_run() {
    for end in [ended(137), PodState::Ended { code: None, said: "DeadlineExceeded".into() }] {
        let nodes = Scripted::of(&["a", "b"], &[("a", &[PodState::Running, end])]);
        let stop = nodes.drive(Task::Pivot).await.unwrap_err();
        assert!(matches!(stop, Stop::Lost { .. }), "{stop}");
    }
    let nodes = Scripted::of(&["a"], &[("a", &[PodState::Running])]);
    let (ended, ()) = tokio::join!(nodes.drive(Task::Pivot), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        nodes.with(|script| script.there.clear());
    });
    assert!(matches!(ended, Err(Stop::Lost { .. })), "{ended:?}");
}

/// Its guard has ended the run meanwhile, so that the node is left out. A pod that runs there is another command's.
#[tokio::test]
async fn what_the_pod_of_a_dead_node_has_left_goes_with_the_next_command() {
    let nodes = Scripted::of(&["a", "b"], &[("a", &[PodState::Running, ended(255)]), ("b", &[ended(0)])]);
    let stop = nodes.drive(Task::Pivot).await.unwrap_err();
    assert!(matches!(stop, Stop::Lost { .. }), "{stop}");
    nodes.with(|script| script.nodes[0].is = NodeIs::SelfHosted);
    nodes.drive(Task::Pivot).await.unwrap();
    assert_eq!(nodes.log(), "made a, deleted a, made b, deleted b");
    nodes.with(|script| script.there.insert("a".into(), ("another".into(), vec![PodState::Running])));
    nodes.drive(Task::Pivot).await.unwrap();
    assert_eq!(nodes.log(), "");
}

#[tokio::test]
async fn the_next_node_waits_for_every_api_server() {
    let good = [ended(0)];
    let nodes = Scripted::of(&["a", "b"], &[("a", &good), ("b", &good)]);
    nodes.with(|script| script.unready = [vec!["a: starts".to_owned()], Vec::new()].into());
    nodes.with(|script| script.silent = 3);
    nodes.drive(Task::Pivot).await.unwrap();
    let nodes = Scripted::of(&["a", "b"], &[("a", &good), ("b", &good)]);
    nodes.with(|script| script.unready = vec![vec!["a: down".to_owned()]; 1000].into());
    let stop = nodes.drive(Task::Pivot).await.unwrap_err().to_string();
    assert!(stop.contains("b was not begun") && stop.contains("a: down"), "{stop}");
    assert_eq!(nodes.log(), "made a, deleted a");
}
