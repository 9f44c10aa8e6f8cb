//! The order, and what pods and nodes are.

mod driver;

use super::in_cluster::api_port;
use super::look::{NodeIs, NodeSeen, Own, Pods, own_node};
use super::order::order;
use super::pod::{PodOf, pod};
use super::pod_state::PodState;
use super::task::{LastRun, Task};
use crate::cluster::{NodeEntry, RunPhase};
use crate::component::Component;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

fn seen(name: &str, is: NodeIs) -> NodeSeen {
    NodeSeen { name: name.to_owned(), address: None, is, up: true, leads: false, own: false }
}

fn unfinished(locked: bool) -> NodeIs {
    NodeIs::Unfinished { run: "r".to_owned(), locked }
}

#[test]
fn who_has_the_lock_is_first_then_those_that_do_not_lead_and_the_own_one_is_last() {
    let node = |name, is, leads, own| NodeSeen { leads, own, ..seen(name, is) };
    let nodes = [
        node("a", NodeIs::Static, false, true),
        node("b", NodeIs::Static, true, false),
        node("c", NodeIs::SelfHosted, false, false),
        node("d", NodeIs::Static, false, false),
        node("e", unfinished(true), true, false),
        node("f", NodeIs::NotReady { components: 1 }, false, false),
        node("g", unfinished(false), true, false),
    ];
    let turn = |task| {
        let order = order(task, &nodes);
        let already: Vec<String> = order.already.into_iter().map(|(name, _)| name).collect();
        (order.todo.concat(), already.concat())
    };
    assert_eq!(turn(Task::Pivot), ("edfbga".into(), "c".into()));
    assert_eq!(turn(Task::Rollback), ("ecfg".into(), "abd".into()));
    assert_eq!(turn(Task::Resume), ("efg".into(), "abcd".into()));
    let own = [node("a", unfinished(true), true, true), node("b", NodeIs::Static, false, false)];
    assert_eq!(order(Task::Pivot, &own).todo, ["a", "b"], "its run has the lock");
    let down = |name, own| NodeSeen { up: false, ..node(name, NodeIs::SelfHosted, false, own) };
    let nodes = [
        down("a", false),
        node("b", NodeIs::FallenBack, true, false),
        node("c", NodeIs::SelfHosted, false, true),
    ];
    assert_eq!(order(Task::Rollback, &nodes).todo, ["b", "c", "a"], "it starts no pod");
}

/// Of so many components.
fn pods(ready: usize, in_static: usize) -> Pods {
    let first = |count| Component::ALL.into_iter().take(count).collect();
    Pods { ready: first(ready), in_static: first(in_static) }
}

#[test]
fn a_node_is_what_its_label_its_pods_the_lock_and_the_roll_call_say() {
    use RunPhase::{Abandoned, Completed, Cutting, NeedsOperator, Paused, Running, Unknown};
    let recovering = || NodeIs::Recovering { run: "r".to_owned() };
    for (holder, kind, phase, labelled, ready, expected) in [
        (None, "", Unknown, false, 0, NodeIs::Static),
        (Some("cp2/r"), "", Unknown, false, 0, NodeIs::Static),
        (None, "pivot", Completed, true, 3, NodeIs::SelfHosted),
        (None, "pivot", Completed, true, 1, NodeIs::NotReady { components: 2 }),
        (None, "pivot", Abandoned, false, 0, NodeIs::Static),
        (Some("cp1/r"), "", Unknown, false, 0, unfinished(true)),
        (Some("cp1/r"), "pivot", Cutting, true, 3, unfinished(true)),
        // It waits for the lock, was cut short before, or was robbed.
        (None, "pivot", Running, false, 0, unfinished(false)),
        (Some("cp2/other"), "pivot", Paused, false, 0, unfinished(false)),
        (Some("cp2/other"), "edit", NeedsOperator, true, 3, unfinished(false)),
        (Some("cp1/r"), "hand-over", Running, true, 3, recovering()),
        (None, "fall-back", Cutting, true, 1, recovering()),
        (Some("cp1/r"), "hand-over", NeedsOperator, true, 1, unfinished(true)),
        (None, "renew-standby", Running, true, 3, NodeIs::SelfHosted),
    ] {
        let entry = NodeEntry { run: "r".into(), kind: kind.into(), phase, ..NodeEntry::default() };
        let is = NodeIs::of("cp1", holder, Some(&entry), labelled, &pods(ready, 0));
        assert_eq!(is, expected, "{holder:?} {kind} {phase:?} {labelled} {ready}");
    }
    let is = |labelled, ready, in_static| NodeIs::of("cp1", None, None, labelled, &pods(ready, in_static));
    assert_eq!(is(false, 0, 0), NodeIs::Static, "nothing was ever said of it");
    // The standby shares its ports: the DaemonSets' pods are Ready beside it.
    assert_eq!(is(true, 3, 3), NodeIs::FallenBack);
    assert_eq!(is(true, 3, 1), NodeIs::FallenBack);
    assert_eq!(is(true, 2, 3), NodeIs::NotReady { components: 1 });
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
