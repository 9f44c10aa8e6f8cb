//! The driver: one node after the other, until the last or the first that fails.

use super::look::{NodeIs, NodeSeen};
use super::order::{Order, order};
use super::pod_state::PodState;
use super::record::{Progress, Record};
use super::stop::Stop;
use super::task::Task;
use crate::cluster::ClusterError;
use async_trait::async_trait;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The nodes, for the driver.
#[async_trait]
pub trait Nodes: Send + Sync {
    /// What each of them is.
    async fn look(&self) -> Result<Vec<NodeSeen>, ClusterError>;

    /// The API servers that are not ready, each asked directly.
    async fn unready(&self) -> Result<Vec<Unready>, ClusterError>;

    /// The node's pod, if it has one.
    async fn pod(&self, node: &str) -> Result<Option<PodSeen>, ClusterError>;

    /// Makes the node's pod. No error if there is one.
    async fn create(&self, node: &str) -> Result<(), ClusterError>;

    /// Deletes the node's pod with this uid. No error if it is gone.
    async fn delete(&self, node: &str, uid: &str) -> Result<(), ClusterError>;

    /// Keeps the record in the cluster.
    async fn keep(&self, record: &Record) -> Result<(), ClusterError>;
}

/// An API server that is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unready {
    /// Its node.
    pub node: String,
    /// Whether the node is up ([`NodeSeen::up`]).
    pub up: bool,
    /// What was seen.
    pub why: String,
}

/// A node's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSeen {
    /// Its uid.
    pub uid: String,
    /// Whether it is for what is asked now, and not on its way out.
    pub same: bool,
    /// How it stands.
    pub state: PodState,
}

/// How long things are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How often the driver looks again.
    pub poll: Duration,
    /// How long the API may give no answer: its servers change hands.
    pub api: Duration,
    /// How long a pod may take until it runs, and until it is gone.
    pub pod: Duration,
    /// How long a run may take. The pod ends before that.
    pub run: Duration,
    /// How long a guard may take until its node has come back.
    pub guard: Duration,
    /// How long API servers may take until all of them are ready.
    pub ready: Duration,
    /// The pause after that. A balancer notices meanwhile.
    pub settle: Duration,
}

/// What has happened, for a person who watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened<'a> {
    /// The order is known.
    Ordered(&'a Order),
    /// The record could not be kept. The command goes on without it.
    NotKept(&'a ClusterError),
    /// A node may come back by itself, and its turn waits for that.
    WaitsForGuard(&'a str, &'a NodeIs),
    /// API servers are not ready, and the next node waits.
    WaitsForServers(&'a [String]),
    /// All are ready. The next node waits until a balancer has noticed.
    Settles(Duration),
    /// A node's turn has come.
    Begun(&'a str),
    /// Its pod is that of an earlier command, which was the same, and is watched on.
    Adopted(&'a str),
    /// Its pod has not started yet; why.
    Pending(&'a str, &'a str),
    /// Its run has ended with 0, and the cluster does not tell yet that the node is what is wanted.
    NotThereYet(&'a str, &'a NodeIs),
    /// Its run has ended with 0, and the node is what is wanted, after so long.
    Done(&'a str, Duration),
}

/// Drives a command for all nodes.
pub struct Driver<'a> {
    /// The nodes.
    pub nodes: &'a dyn Nodes,
    /// What is asked.
    pub task: Task,
    /// This program.
    pub program: &'a str,
    /// The image of the pods.
    pub image: &'a str,
    /// Whether a person does without the API servers of nodes that are not up (check `api-servers`). The way back always
    /// does: it must be possible while another node is down.
    pub without_down: bool,
    /// How long things are given.
    pub limits: Limits,
    /// Hears what happens.
    pub say: &'a (dyn Fn(Happened<'_>) + Send + Sync),
}

impl Driver<'_> {
    /// Takes one node after the other. Ends at the first that fails.
    ///
    /// # Errors
    /// Why it has not come to the end.
    pub async fn drive(&self) -> Result<(), Stop> {
        let seen = self.settled().await?;
        if seen.is_empty() {
            return Err(Stop::NoNodes);
        }
        let order = order(self.task, &seen);
        (self.say)(Happened::Ordered(&order));
        for (node, _) in &order.already {
            self.clear(node).await?;
        }
        if order.todo.is_empty() {
            return Ok(());
        }
        let mut record = Record::begun(self.task, self.program, self.image, &order);
        // A node that is done may have come back a moment ago. An unfinished run, or the way back, may be what its server needs.
        let urgent = self.task != Task::Pivot || seen.iter().any(NodeSeen::has_the_lock);
        let mut is_first = urgent || order.already.is_empty();
        for node in &order.todo {
            if !std::mem::take(&mut is_first) {
                self.settle(node).await?;
            }
            record.note(node, Progress::Running, None);
            self.keep(&record).await;
            let began = Instant::now();
            (self.say)(Happened::Begun(node));
            let ended = self.run(node).await;
            match &ended {
                Ok(()) => record.note(node, Progress::Done, None),
                Err(stop) => record.note(node, Progress::Stopped, stop.code()),
            }
            self.keep(&record).await;
            ended?;
            (self.say)(Happened::Done(node, began.elapsed()));
        }
        Ok(())
    }

    /// What the nodes are, once those have come back whose guard is at work, or will be: after a boot the static pods serve
    /// until it hands over. A person who goes back does not wait, nor does one whose unfinished run has the lock: the guard
    /// waits for that one.
    async fn settled(&self) -> Result<Vec<NodeSeen>, Stop> {
        let began = Instant::now();
        let mut said = None;
        loop {
            let seen = self.patiently(|| self.nodes.look()).await?;
            if self.task == Task::Rollback || seen.iter().any(NodeSeen::has_the_lock) {
                return Ok(seen);
            }
            let Some(node) = seen.iter().find(|node| node.is.comes_back()) else { return Ok(seen) };
            if began.elapsed() >= self.limits.guard {
                let (node, is) = (node.name.clone(), node.is.clone());
                return Err(Stop::NotBack { node, is, waited: self.limits.guard });
            }
            if said.as_ref() != Some(&node.name) {
                (self.say)(Happened::WaitsForGuard(&node.name, &node.is));
                said = Some(node.name.clone());
            }
            sleep(self.limits.poll).await;
        }
    }

    /// Deletes what an earlier command has left on a node that is left out: its guard, or a person, has ended the run. A pod
    /// that has not ended may be another command's.
    async fn clear(&self, node: &str) -> Result<(), Stop> {
        match self.patiently(|| self.nodes.pod(node)).await? {
            Some(PodSeen { uid, state: PodState::Ended { .. }, .. }) => {
                Ok(self.patiently(|| self.nodes.delete(node, &uid)).await?)
            }
            _ => Ok(()),
        }
    }

    /// Waits until every API server is ready, then as long as a balancer needs, and for the servers once more.
    async fn settle(&self, next: &str) -> Result<(), Stop> {
        self.servers_ready(next).await?;
        (self.say)(Happened::Settles(self.limits.settle));
        sleep(self.limits.settle).await;
        self.servers_ready(next).await
    }

    async fn servers_ready(&self, next: &str) -> Result<(), Stop> {
        let began = Instant::now();
        let mut said = Vec::new();
        loop {
            let mut unready = self.patiently(|| self.nodes.unready()).await?;
            unready.retain(|server| server.up || !(self.without_down || self.task == Task::Rollback));
            let unready: Vec<String> =
                unready.iter().map(|Unready { node, why, .. }| format!("{node}: {why}")).collect();
            if unready.is_empty() {
                return Ok(());
            }
            if began.elapsed() >= self.limits.ready {
                return Err(Stop::NotReady {
                    node: next.to_owned(),
                    waited: self.limits.ready,
                    why: unready,
                });
            }
            if unready != said {
                (self.say)(Happened::WaitsForServers(&unready));
                said = unready;
            }
            sleep(self.limits.poll).await;
        }
    }

    /// Waits until the cluster tells that the node is what is wanted. A command that has ended with 0 may have found nothing
    /// to do there: in another journal than that of the pivot, say. A node that is gone is no longer asked for.
    async fn is_there(&self, node: &str, said: &str) -> Result<(), Stop> {
        let began = Instant::now();
        let mut told = false;
        loop {
            let seen = self.patiently(|| self.nodes.look()).await?.into_iter().find(|seen| seen.name == node);
            let Some(NodeSeen { is, .. }) = seen.filter(|seen| !self.task.is_done_on(&seen.is)) else {
                return Ok(());
            };
            let waited = if is.comes_back() { self.limits.guard } else { self.limits.ready };
            if began.elapsed() >= waited {
                let (node, said) = (node.to_owned(), said.to_owned());
                return Err(Stop::NotThere { node, is, waited, said });
            }
            if !std::mem::replace(&mut told, true) {
                (self.say)(Happened::NotThereYet(node, &is));
            }
            sleep(self.limits.poll).await;
        }
    }

    /// Has the node's run started, and watches it to its end.
    async fn run(&self, node: &str) -> Result<(), Stop> {
        let uid = self.started(node).await?;
        let began = Instant::now();
        while began.elapsed() < self.limits.run {
            let lost = |why: &str| Err(Stop::Lost { node: node.to_owned(), why: why.to_owned() });
            match self.patiently(|| self.nodes.pod(node)).await? {
                Some(pod) if pod.uid == uid => match pod.state {
                    PodState::Ended { code: Some(0), said } => {
                        self.is_there(node, &said).await?;
                        return Ok(self.patiently(|| self.nodes.delete(node, &uid)).await?);
                    }
                    PodState::Ended { code: Some(code), said } if is_of_the_command(code) => {
                        return Err(Stop::Ended { node: node.to_owned(), code, said });
                    }
                    PodState::Ended { said, .. } => return lost(&said),
                    PodState::Running if !pod.same => return lost("its pod is being deleted"),
                    _ => sleep(self.limits.poll).await,
                },
                _ => return lost("its pod was deleted"),
            }
        }
        Err(Stop::Lost { node: node.to_owned(), why: format!("no end within {:?}", self.limits.run) })
    }

    /// Sees to a pod that runs, and returns its uid. A pod of an earlier command is watched on if it runs and was for the
    /// same. One that has ended, or has not started, is replaced.
    async fn started(&self, node: &str) -> Result<String, Stop> {
        let began = Instant::now();
        let (mut own, mut told) = (None, String::new());
        loop {
            let is_late = began.elapsed() >= self.limits.pod;
            match Standing::of(self.patiently(|| self.nodes.pod(node)).await?, own.as_ref()) {
                Standing::Absent if is_late => {
                    let why = format!("it is deleted as soon as it is made, for {:?}", self.limits.pod);
                    return Err(Stop::NotStarted { node: node.to_owned(), why });
                }
                Standing::Absent => {
                    self.patiently(|| self.nodes.create(node)).await?;
                    // Another command may have been faster, with another pod.
                    let made = self.patiently(|| self.nodes.pod(node)).await?.filter(|pod| pod.same);
                    own = made.map(|pod| pod.uid);
                }
                Standing::Own(uid) => return Ok(uid),
                Standing::Adopted(uid) => {
                    (self.say)(Happened::Adopted(node));
                    return Ok(uid);
                }
                Standing::Busy if is_late => return Err(Stop::Busy { node: node.to_owned() }),
                Standing::Busy => {}
                Standing::Stuck(uid, why) => return self.give_up(node, &uid, why).await,
                Standing::Pending(uid, why) if is_late => {
                    let why = format!("it does not run after {:?}: {why}", self.limits.pod);
                    return self.give_up(node, &uid, why).await;
                }
                Standing::Pending(_, why) if why == told => {}
                Standing::Pending(_, why) => {
                    (self.say)(Happened::Pending(node, &why));
                    told = why;
                }
                Standing::Left(_) if is_late => {
                    let why =
                        format!("the pod of an earlier command is still there after {:?}", self.limits.pod);
                    return Err(Stop::NotStarted { node: node.to_owned(), why });
                }
                Standing::Left(uid) => self.patiently(|| self.nodes.delete(node, &uid)).await?,
            }
            sleep(self.limits.poll).await;
        }
    }

    /// A pod that was left would start later, when nobody expects it.
    async fn give_up(&self, node: &str, uid: &str, why: String) -> Result<String, Stop> {
        self.patiently(|| self.nodes.delete(node, uid)).await?;
        Err(Stop::NotStarted { node: node.to_owned(), why })
    }

    async fn keep(&self, record: &Record) {
        if let Err(error) = self.patiently(|| self.nodes.keep(record)).await {
            (self.say)(Happened::NotKept(&error));
        }
    }

    /// Asks again while the API server changes hands.
    async fn patiently<T, F>(&self, call: impl Fn() -> F) -> Result<T, ClusterError>
    where
        F: Future<Output = Result<T, ClusterError>>,
    {
        let began = Instant::now();
        loop {
            match call().await {
                Err(error) if error.is_passing() && began.elapsed() < self.limits.api => {
                    sleep(self.limits.poll).await;
                }
                other => return other,
            }
        }
    }
}

/// Whether the program ends with such a code. Others are of signals, or of a runtime.
fn is_of_the_command(code: i32) -> bool {
    (1..=12).contains(&code)
}

/// What a node's pod means to a command that wants one that runs.
enum Standing {
    /// There is none.
    Absent,
    /// This command has made it, and it has started.
    Own(String),
    /// An earlier command has made it, for the same, and it runs.
    Adopted(String),
    /// It runs for something else, or is on its way out.
    Busy,
    /// This command has made it, and it waits; why.
    Pending(String, String),
    /// This command has made it, and it will not start; why, and what to do.
    Stuck(String, String),
    /// An earlier command has left it. It has ended, or has not started.
    Left(String),
}

impl Standing {
    fn of(pod: Option<PodSeen>, own: Option<&String>) -> Self {
        let Some(PodSeen { uid, same, state }) = pod else { return Self::Absent };
        match (state, own == Some(&uid)) {
            // It may have ended already.
            (PodState::Running | PodState::Ended { .. }, true) => Self::Own(uid),
            (PodState::Running, false) if same => Self::Adopted(uid),
            (PodState::Running, false) => Self::Busy,
            (PodState::Pending(why), true) => Self::Pending(uid, why),
            (PodState::Stuck { why, image: false }, true) => Self::Stuck(uid, why),
            (PodState::Stuck { why, image: true }, true) => Self::Stuck(
                uid,
                format!(
                    "{why}; load the image on this node (`ctr -n k8s.io images import FILE`), or name another with --image"
                ),
            ),
            (_, false) => Self::Left(uid),
        }
    }
}
