//! The hosts of a simulated cluster's nodes, for a command for all nodes. Each node's kubelet starts the pod; a task
//! stands for what the pod starts on its host: the node's own run.

use super::error::RehearsalError;
use super::pace::POLL;
use super::simulated_site::SimulatedSite;
use super::tour::{outcome, reason};
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{Ending, Outcome, Silent};
use fulcrum_steps::all_nodes::{LastRun, Task, pod_name};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinHandle;

/// The exit codes of the command, as `fulcrum` has them.
const REFUSED: i32 = 3;
const UNDONE: i32 = 4;
const UNFINISHED: i32 = 7;

/// The hosts. Their work ends when this is dropped.
#[derive(Debug)]
pub struct Hosts {
    tasks: Vec<JoinHandle<()>>,
    said: Said,
}

/// Why a node's last run did not end well, by the node's name.
type Said = Arc<Mutex<BTreeMap<String, String>>>;

impl Hosts {
    /// Starts the work of each node's host.
    pub fn start(sites: &Arc<Vec<SimulatedSite>>) -> Self {
        let said = Said::default();
        let work = |number| tokio::spawn(work(Arc::clone(sites), number, Arc::clone(&said)));
        let tasks = (0..sites.len()).map(work).collect();
        Self { tasks, said }
    }

    /// Why the last run on this node did not end well.
    pub fn said(&self, node: &str) -> Option<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// While the node's pod runs, what that asks for is run, and the pod ends with its exit code. A pod that is killed ends
/// nothing here.
async fn work(sites: Arc<Vec<SimulatedSite>>, number: usize, said: Said) {
    let site = &sites[number];
    let name = site.machine().name();
    let pods = Api::<Pod>::namespaced(site.machine().client(), "kube-system");
    let pod_name = pod_name(name);
    loop {
        tokio::time::sleep(POLL).await;
        let Ok(Some(pod)) = pods.get_opt(&pod_name).await else { continue };
        let runs = pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
        let Some(task) = asked(&pod).filter(|_| runs) else { continue };
        let (code, why) = match run(site, task).await {
            Ok(ended) => ended,
            Err(error) => (REFUSED, error.to_string()),
        };
        if code != 0 {
            said.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), why);
        }
        site.machine().end(&format!("kube-system/{pod_name}"), code);
    }
}

/// What the pod's command asks for.
fn asked(pod: &Pod) -> Option<Task> {
    let command = pod.spec.as_ref()?.containers.first()?.command.as_ref()?;
    Task::ALL.into_iter().find(|task| command.get(2).is_some_and(|word| word == task.name()))
}

/// Does what the command would do on this node. Returns its exit code, and why the run ended so.
async fn run(site: &SimulatedSite, task: Task) -> Result<(i32, String), RehearsalError> {
    let journal = site.journal()?;
    let last: Option<RunId> = journal.reader().runs()?.last().map(|header| header.run);
    let state = last.map(|run| load(&journal.reader(), run)).transpose()?;
    let stands = match &state {
        Some(state) if !state.is_over() && state.rollback().is_some() => LastRun::Back,
        Some(state) if !state.is_over() => LastRun::Forward,
        _ => LastRun::Over,
    };
    let is_pivoted = state.as_ref().is_some_and(|state| state.is_over() && !state.is_rolled_back());
    match (task.on_node(stands), last) {
        (Ok(Task::Pivot), _) if is_pivoted => Ok((0, String::new())),
        (Ok(meant), last) => carry_out(site, &journal, meant, last).await.map(|ended| match ended {
            Some(ending) => (exit_code(meant, &ending), reason(&ending)),
            None => (0, String::new()),
        }),
        (Err(why), _) => Ok((UNFINISHED, why.to_owned())),
    }
}

/// `None` if there is nothing to take up.
async fn carry_out(
    site: &SimulatedSite,
    journal: &Journal,
    task: Task,
    last: Option<RunId>,
) -> Result<Option<Ending>, RehearsalError> {
    Ok(match (task, last) {
        (Task::Pivot, _) => Some(site.pivot(journal, Arc::new(Silent)).await?),
        (Task::Rollback, Some(run)) => Some(site.rollback(journal, run, Arc::new(Silent)).await?),
        (Task::Resume, Some(run)) => Some(site.resume(journal, run).await?),
        (Task::Rollback | Task::Resume, None) => None,
    })
}

fn exit_code(task: Task, ending: &Ending) -> i32 {
    match (task, outcome(ending)) {
        (_, Some(Outcome::Completed)) | (Task::Rollback, Some(Outcome::RolledBack)) => 0,
        _ => UNDONE,
    }
}
