//! A run says in the cluster's roll call what its node is and how the run stands: when it begins, at the cut, when it
//! goes back, and at its end. No run fails of that, and only the end waits for it, for a moment: the API may be down.

use crate::cluster::{
    Cluster, ClusterError, EndOfRun, GuardEntry, GuardState, NodeEntry, NodeMode, ROLL_CALL_VERSION, RunPhase,
};
use crate::component::Component;
use crate::host::ManifestsDir;
use crate::run_info::shown;
use crate::settings::HandoverMode;
use crate::site::Site;
use crate::step_name::{StepKind, StepName};
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::RunId;
use fulcrum_engine::{Actor, Event, Outcome, StepId};
use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The longest that the API may take for what is said in the midst of a run. The next change says it again.
const SAID_WITHIN: Duration = Duration::from_secs(5);
/// The most characters of a reason. All of it is in the journal.
const REASON_CHARS_MAX: usize = 300;

/// What a run says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) run: RunId,
    /// `None` if the entry has it, from when the run began.
    pub(crate) kind: Option<String>,
    pub(crate) phase: RunPhase,
    pub(crate) reason: Option<String>,
    /// The program, and the SHA-256 of its file.
    pub(crate) program: Option<(String, Option<String>)>,
    /// What was signed.
    pub(crate) checkpoint: Option<String>,
    /// The public half of the key that has signed.
    pub(crate) key: Option<String>,
}

impl Said {
    /// A run that stands so.
    pub(crate) fn of(run: RunId, phase: RunPhase) -> Self {
        Self { run, kind: None, phase, reason: None, program: None, checkpoint: None, key: None }
    }

    /// What follows for the roll call from an event of a run of which `before` was said. `None`: nothing new.
    fn after(before: Option<&Self>, run: RunId, event: &Event) -> Option<Self> {
        let earlier = before.filter(|said| said.run == run);
        let turned = |phase, reason: Option<&String>| {
            let earlier = earlier.cloned().unwrap_or_else(|| Self::of(run, phase));
            (earlier.phase != phase || before.is_none_or(|said| said.run != run)).then(|| Self {
                phase,
                reason: reason.cloned(),
                ..earlier
            })
        };
        match event {
            Event::Begun { workflow, session, .. } => Some(Self {
                kind: Some(shown(workflow).to_owned()),
                program: Some((session.program.to_string(), digest(&session.actor))),
                ..Self::of(run, RunPhase::Running)
            }),
            Event::Resumed { session, .. } => Some(Self {
                program: Some((session.program.to_string(), digest(&session.actor))),
                ..Self::of(run, RunPhase::Running)
            }),
            Event::AttemptStarted { step, .. } if cuts(step) => turned(RunPhase::Cutting, None),
            Event::RollbackStarted { reason, .. } => turned(RunPhase::RollingBack, Some(reason)),
            Event::UndoStarted { .. } => turned(RunPhase::RollingBack, None),
            _ => None,
        }
    }

    /// Writes this into the node's entry.
    fn enter(&self, entry: &mut NodeEntry, at: Timestamp, mode: NodeMode, handover: HandoverMode) {
        let run = self.run.to_string();
        if let Some(kind) = &self.kind {
            entry.kind.clone_from(kind);
        } else if entry.run != run {
            entry.kind.clear();
        }
        if let Some((program, sha256)) = &self.program {
            entry.program.clone_from(program);
            entry.program_sha256.clone_from(sha256);
        }
        if let Some(checkpoint) = &self.checkpoint {
            entry.checkpoint = Some(checkpoint.clone());
        }
        if let Some(key) = &self.key {
            entry.key = Some(key.clone());
        }
        entry.format_version = ROLL_CALL_VERSION;
        entry.written = Some(at);
        entry.mode = mode;
        entry.run = run;
        entry.phase = self.phase;
        entry.reason = self.reason.as_ref().map(|reason| reason.chars().take(REASON_CHARS_MAX).collect());
        entry.handover = Some(handover.to_string());
    }
}

/// Says how the runs of a site stand.
pub(crate) struct RollCall {
    site: Arc<Site>,
    /// What was said last, and the task that writes it down.
    teller: Mutex<Option<(watch::Sender<Said>, JoinHandle<()>)>>,
}

impl RollCall {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Self { site, teller: Mutex::default() }
    }

    /// Takes an event in. The writing goes on beside the run: only the newest state is written.
    pub(crate) fn event(&self, run: RunId, event: &Event) {
        let mut teller = self.teller.lock().unwrap_or_else(PoisonError::into_inner);
        let before = teller.as_ref().map(|(said, _)| said.borrow().clone());
        let Some(said) = Said::after(before.as_ref(), run, event) else { return };
        match teller.as_ref() {
            Some((sender, _)) => _ = sender.send_replace(said),
            None => {
                let (sender, mut news) = watch::channel(said);
                news.mark_changed();
                let site = Arc::clone(&self.site);
                *teller = Some((sender, tokio::spawn(async move { tell(&site, news).await })));
            }
        }
    }

    /// Says how the run has ended, after all that was said before.
    pub(crate) async fn ended(&self, mut said: Said, is_pivot: bool) -> Result<(), ClusterError> {
        let teller = self.teller.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((last, task)) = teller {
            task.abort();
            let _ = task.await;
            // It has the program's digest, from the run's session.
            let last = last.borrow().clone();
            said.program = last.program.filter(|_| last.run == said.run).or(said.program);
        }
        let armed = self.site.settings.guard && is_pivot;
        write(&self.site, &said, |entry| match said.phase {
            RunPhase::Completed if armed && entry.guard.is_none() => {
                let (beat, standby, says) = (None, None, None);
                entry.guard = Some(GuardEntry { state: GuardState::Armed, beat, standby, says });
            }
            RunPhase::RolledBack if is_pivot => entry.guard = None,
            _ => {}
        })
        .await
    }
}

/// Writes down what is said, the newest each time.
async fn tell(site: &Site, mut news: watch::Receiver<Said>) {
    while news.changed().await.is_ok() {
        let said = news.borrow_and_update().clone();
        match tokio::time::timeout(SAID_WITHIN, write(site, &said, |_| {})).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("the roll call does not have {}: {error}", said.phase.name()),
            Err(_) => tracing::debug!("the roll call does not have {}: no answer", said.phase.name()),
        }
    }
}

async fn write(site: &Site, said: &Said, more: impl Fn(&mut NodeEntry)) -> Result<(), ClusterError> {
    let mode = mode_of(&site.node.manifests);
    let update = |entry: &mut NodeEntry| {
        said.enter(entry, Timestamp::now(), mode, site.settings.handover);
        more(entry);
    };
    site.cluster.update_entry(&site.settings.node, update).await
}

/// What the node is, by its manifests.
pub(crate) fn mode_of(manifests: &ManifestsDir) -> NodeMode {
    let is_static = |component: &Component| manifests.file(component.manifest_file()).exists();
    match Component::ALL.iter().filter(|component| is_static(component)).count() {
        0 => NodeMode::SelfHosted,
        all if all == Component::ALL.len() => NodeMode::Static,
        _ => NodeMode::Half,
    }
}

/// Says how a run of this node has ended, if the node's entry has it as one that goes on. Nothing is said of a run that
/// is not over.
///
/// # Errors
/// When the API cannot be asked, or keeps an entry that cannot be read.
pub async fn tell_the_end(
    cluster: &Cluster,
    node: &str,
    run: RunId,
    phase: &Phase,
) -> Result<(), ClusterError> {
    let end = EndOfRun { run: run.to_string(), phase: phase_of(phase).0, known: Timestamp::now() };
    let Some(mut entry) = cluster.entry_of(node).await? else { return Ok(()) };
    let before = entry.clone();
    end.enter(&mut entry);
    if entry == before {
        return Ok(());
    }
    cluster.update_entry(node, |entry| end.enter(entry)).await
}

/// How a run stands that has ended or paused, and why.
pub(crate) fn phase_of(phase: &Phase) -> (RunPhase, Option<String>) {
    match phase {
        Phase::New | Phase::Active => (RunPhase::Running, None),
        Phase::Paused { reason, .. } => (RunPhase::Paused, Some(reason.clone())),
        Phase::Waiting { .. } => (RunPhase::Waiting, None),
        Phase::Ended(outcome, reason) => {
            let phase = match outcome {
                Outcome::Completed => RunPhase::Completed,
                Outcome::RolledBack => RunPhase::RolledBack,
                Outcome::NeedsOperator => RunPhase::NeedsOperator,
                Outcome::Abandoned => RunPhase::Abandoned,
                _ => RunPhase::Unknown,
            };
            (phase, Some(reason.clone()))
        }
        _ => (RunPhase::Unknown, None),
    }
}

fn cuts(step: &StepId) -> bool {
    StepName::parse(step.as_str()).is_some_and(|name| name.kind() == StepKind::RetireStatic)
}

fn digest(actor: &Actor) -> Option<String> {
    actor.get(fulcrum_evidence::actor::EXECUTABLE_SHA256).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_engine::Session;
    use fulcrum_engine::state::Digest;

    fn started(kind: StepKind) -> Event {
        let step = kind.of(Component::Scheduler).id();
        Event::AttemptStarted { step, attempt: 1, pre_image: None, deadline: None }
    }

    /// What each event adds to what was said before. `None`: nothing.
    fn said(run: RunId, events: &[Event]) -> Vec<Option<RunPhase>> {
        let mut last: Option<Said> = None;
        let step = |event| {
            let next = Said::after(last.as_ref(), run, event);
            last = next.clone().or(last.take());
            next.map(|said| said.phase)
        };
        events.iter().map(step).collect()
    }

    #[test]
    fn a_run_says_when_it_begins_at_the_cut_and_when_it_goes_back() {
        let session = Session::new("boot", 1, "fulcrum 1")
            .with_actor([("executable-sha256".to_owned(), "ab".to_owned())].into());
        let (plan, shape) = (Digest::of(b"plan"), None);
        let begun =
            Event::Begun { workflow: "stand-in".into(), plan, session: session.clone(), key: None, shape };
        let undo = Event::UndoStarted { step: StepKind::Lock.into(), attempt: 1 };
        let back = Event::RollbackStarted { reason: "a step failed".into(), mode: None };
        let run = RunId::new();
        let told = said(
            run,
            &[
                begun.clone(),
                started(StepKind::AwaitReady),
                started(StepKind::RetireStatic),
                started(StepKind::RetireStatic),
                back,
                undo.clone(),
            ],
        );
        let (running, cutting, back) = (RunPhase::Running, RunPhase::Cutting, RunPhase::RollingBack);
        assert_eq!(told, [Some(running), None, Some(cutting), None, Some(back), None]);
        let resumed = Event::Resumed { session, same_process: false };
        assert_eq!(said(run, &[resumed, undo]), [Some(running), Some(back)]);

        let first = Said::after(None, run, &begun).unwrap();
        assert_eq!(first.kind.as_deref(), Some("fall-back"));
        assert_eq!(first.program, Some(("fulcrum 1".to_owned(), Some("ab".to_owned()))));
        let cut = Said::after(Some(&first), run, &started(StepKind::RetireStatic)).unwrap();
        assert_eq!((cut.kind, cut.program), (first.kind, first.program), "they stay");
    }

    /// What the run does not know stays: the last signature, and what the guard has said.
    #[test]
    fn an_entry_keeps_what_others_have_written() {
        let guard = GuardEntry { state: GuardState::Watching, beat: None, standby: None, says: None };
        let mut entry = NodeEntry {
            run: "another".to_owned(),
            kind: "edit".to_owned(),
            checkpoint: Some("signed".to_owned()),
            guard: Some(guard.clone()),
            ..NodeEntry::default()
        };
        let run = RunId::new();
        let reason = Some("r".repeat(2 * REASON_CHARS_MAX));
        let said = Said { reason, ..Said::of(run, RunPhase::Running) };
        said.enter(&mut entry, Timestamp::UNIX_EPOCH, NodeMode::Half, HandoverMode::Steer);
        assert_eq!((entry.run, entry.kind.as_str()), (run.to_string(), ""), "the kind was another run's");
        assert_eq!((entry.checkpoint.as_deref(), entry.guard), (Some("signed"), Some(guard)));
        assert_eq!(entry.reason.unwrap().chars().count(), REASON_CHARS_MAX);
        assert_eq!((entry.mode, entry.handover.as_deref()), (NodeMode::Half, Some("steer")));
    }
}
