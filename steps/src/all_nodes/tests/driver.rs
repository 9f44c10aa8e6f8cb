//! The driver against nodes that follow a script.

use super::{seen, unfinished};
use crate::all_nodes::drive::{Driver, Happened, Limits, Nodes, PodSeen, Unready};
use crate::all_nodes::look::{NodeIs, NodeSeen};
use crate::all_nodes::pod_state::PodState;
use crate::all_nodes::record::{Progress, Record};
use crate::all_nodes::stop::Stop;
use crate::all_nodes::task::Task;
use crate::cluster::{Cause, ClusterError};
use async_trait::async_trait;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

/// Nodes whose pods follow a script.
#[derive(Default)]
struct Script {
    nodes: Vec<NodeSeen>,
    /// For each pod that is made on a node, what it is at each look; the last one stays.
    pods: BTreeMap<String, VecDeque<Vec<PodState>>>,
    /// What servers are not ready, at each look; then none.
    unready: VecDeque<Vec<Unready>>,
    /// What a node is when its pod has ended with 0; `SelfHosted`, where nothing is said.
    after: BTreeMap<String, NodeIs>,
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
        self.drive_without_down(task, false).await
    }

    async fn drive_without_down(&self, task: Task, without_down: bool) -> Result<(), Stop> {
        let limits = Limits {
            poll: Duration::from_millis(1),
            api: Duration::from_secs(5),
            pod: Duration::from_millis(200),
            run: Duration::from_secs(5),
            guard: Duration::from_millis(200),
            ready: Duration::from_millis(200),
            settle: Duration::from_millis(1),
        };
        let say = |what: Happened<'_>| {
            if let Happened::Adopted(node) = what {
                self.with(|script| script.log.push(format!("adopted {node}")));
            }
        };
        let (program, image) = ("fulcrum", "i");
        Driver { nodes: self, task, program, image, without_down, limits, say: &say }.drive().await
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

    async fn unready(&self) -> Result<Vec<Unready>, ClusterError> {
        self.answer(|script| script.unready.pop_front().unwrap_or_default())
    }

    async fn pod(&self, node: &str) -> Result<Option<PodSeen>, ClusterError> {
        self.answer(|script| {
            let (uid, states) = script.there.get_mut(node)?;
            let state = if states.len() > 1 { states.remove(0) } else { states[0].clone() };
            if matches!(state, PodState::Ended { code: Some(0), .. }) {
                let node = script.nodes.iter_mut().find(|seen| seen.name == node)?;
                node.is = script.after.get(&node.name).cloned().unwrap_or(NodeIs::SelfHosted);
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
    nodes.with(|script| script.unready = [vec![unready("a", "starts")], Vec::new()].into());
    nodes.with(|script| script.silent = 3);
    nodes.drive(Task::Pivot).await.unwrap();
    let nodes = Scripted::of(&["a", "b"], &[("a", &good), ("b", &good)]);
    nodes.with(|script| script.unready = vec![vec![unready("a", "down")]; 1000].into());
    let stop = nodes.drive(Task::Pivot).await.unwrap_err().to_string();
    assert!(stop.contains("b was not begun") && stop.contains("a: down"), "{stop}");
    assert_eq!(nodes.log(), "made a, deleted a");
}

/// As after a power cut of a node that is done: the static pods serve until its guard has handed over.
#[tokio::test]
async fn a_node_that_comes_back_by_itself_is_waited_for() {
    for is in [NodeIs::NotReady { components: 2 }, NodeIs::FallenBack, NodeIs::Recovering { run: "r".into() }]
    {
        let nodes = Scripted::of(&["a", "b"], &[("b", &[ended(0)])]);
        nodes.with(|script| script.nodes[0].is = is);
        let (ended, ()) = tokio::join!(nodes.drive(Task::Pivot), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            nodes.with(|script| script.nodes[0].is = NodeIs::SelfHosted);
        });
        ended.unwrap();
        assert_eq!(nodes.log(), "made b, deleted b");
    }
    let nodes = Scripted::of(&["a", "b"], &[]);
    nodes.with(|script| script.nodes[0].is = NodeIs::NotReady { components: 2 });
    let stop = nodes.drive(Task::Pivot).await.unwrap_err().to_string();
    assert!(stop.contains("a has not come back") && stop.contains("2 of 3 components"), "{stop}");
    assert_eq!(nodes.log(), "");
}

#[tokio::test]
async fn the_first_node_waits_for_those_that_are_done() {
    let nodes = Scripted::of(&["a", "b"], &[]);
    nodes.with(|script| (script.nodes[0].is, script.unready) = (NodeIs::SelfHosted, boots()));
    let stop = nodes.drive(Task::Pivot).await.unwrap_err().to_string();
    assert!(stop.contains("b was not begun") && stop.contains("a: boots"), "{stop}");
}

/// What a guard or a server that is not ready needs may be this very command.
#[tokio::test]
async fn neither_the_way_back_nor_a_run_that_has_the_lock_waits_for_other_nodes() {
    for (task, a, b) in [
        (Task::Rollback, NodeIs::Static, NodeIs::NotReady { components: 3 }),
        (Task::Rollback, NodeIs::Static, NodeIs::Recovering { run: "r".into() }),
        (Task::Resume, NodeIs::Recovering { run: "r".into() }, unfinished(true)),
        (Task::Pivot, NodeIs::SelfHosted, unfinished(true)),
    ] {
        let nodes = Scripted::of(&["a", "b"], &[("b", &[ended(4)])]);
        nodes.with(|script| (script.nodes[0].is, script.nodes[1].is) = (a, b));
        nodes.with(|script| script.unready = boots());
        let stop = nodes.drive(task).await.unwrap_err();
        assert_eq!(stop.code(), Some(4), "{task}: {stop}");
        assert_eq!(nodes.log(), "made b", "{task}");
    }
}

/// A server that is not ready, for longer than anybody waits.
fn boots() -> VecDeque<Vec<Unready>> {
    vec![vec![unready("a", "boots")]; 1000].into()
}

fn unready(node: &str, why: &str) -> Unready {
    Unready { node: node.to_owned(), up: true, why: why.to_owned() }
}

/// Its journal is in another directory, say: it has found nothing to do.
#[tokio::test]
async fn a_command_that_has_changed_nothing_is_not_done() {
    let nodes = Scripted::of(&["a", "b"], &[("a", &[ended(0)]), ("b", &[ended(0)])]);
    nodes.with(|script| script.nodes.iter_mut().for_each(|node| node.is = NodeIs::SelfHosted));
    let stop = nodes.drive(Task::Rollback).await.unwrap_err().to_string();
    assert!(stop.contains("the command on a ended with 0") && stop.contains("a: self-hosted"), "{stop}");
    assert!(stop.contains("said 0"), "{stop}");
    assert_eq!((nodes.log().as_str(), nodes.progress("a")), ("made a", Progress::Stopped), "its pod stays");
}

#[tokio::test]
async fn the_end_of_a_command_waits_until_the_cluster_tells_of_it() {
    for later in [NodeIs::Static, NodeIs::NotReady { components: 1 }, NodeIs::FallenBack] {
        let nodes = Scripted::of(&["a"], &[("a", &[PodState::Running, ended(0)])]);
        nodes.with(|script| script.after.insert("a".into(), later));
        let (ended, ()) = tokio::join!(nodes.drive(Task::Pivot), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            nodes.with(|script| script.nodes[0].is = NodeIs::SelfHosted);
        });
        ended.unwrap();
        assert_eq!(nodes.log(), "made a, deleted a");
    }
}

/// The way back is possible while a node is down, and a pivot if a person says so.
#[tokio::test]
async fn the_server_of_a_node_that_is_down_holds_up_no_way_back() {
    for (task, without_down, goes) in
        [(Task::Rollback, false, true), (Task::Pivot, true, true), (Task::Pivot, false, false)]
    {
        let nodes = Scripted::of(&["a", "b", "c"], &[("a", &[ended(0)]), ("b", &[ended(0)])]);
        let done = if task == Task::Rollback { NodeIs::Static } else { NodeIs::SelfHosted };
        let before = if task == Task::Rollback { NodeIs::SelfHosted } else { NodeIs::Static };
        nodes.with(|script| {
            script.nodes.iter_mut().for_each(|node| node.is = before.clone());
            script.nodes[2] = NodeSeen { up: false, is: done.clone(), ..script.nodes[2].clone() };
            script.after = ["a", "b"].map(|node| (node.to_owned(), done.clone())).into();
            script.unready = vec![vec![Unready { up: false, ..unready("c", "gone") }]; 1000].into();
        });
        let ended = nodes.drive_without_down(task, without_down).await;
        assert_eq!(ended.is_ok(), goes, "{task} {without_down}: {ended:?}");
        assert!(nodes.log().contains("made b") == goes, "{task} {without_down}");
    }
}
