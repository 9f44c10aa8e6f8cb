//! Watches a control plane that runs by itself, and acts when it stops running.

use super::GuardError;
use super::boot::{Carried, Start, boot, carry_on, open_when_free};
use super::decide::{Decision, Next};
use super::env::GuardEnv;
use super::expiry::Teller;
use super::idle::JournalEye;
use super::intervals::Intervals;
use super::journal_view::JournalView;
use super::pause::Pause;
use super::reports::Reports;
use crate::cluster::DaemonsetVersion;
use crate::component::Component;
use crate::handover::line::Line;
use crate::handover::roll_out;
use crate::handover::stand_still::StandStill;
use crate::host::give_back_memory;
use crate::run_info::{LockPurpose, LockUse, RunInfo};
use crate::site::Site;
use crate::unit::UNIT;
use fulcrum_engine::Plan;
use fulcrum_engine::state::{Journal, OpenError};
use fulcrum_evidence::actor::REASON;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The guard.
pub struct Guard<'a> {
    /// The guard's environment.
    pub env: &'a dyn GuardEnv,
    /// Its waiting times.
    pub intervals: Intervals,
    /// Whether the guard rolls out what goes on with a certificate that somebody has renewed by hand.
    pub roll_certificates: bool,
    /// Ends the guard.
    pub stop: CancellationToken,
}

/// Why the guard has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The guard was told to stop.
    Stopped,
    /// The pivot is rolled back, and its unit is gone.
    NothingToGuard,
    /// A run of the guard is over. A process that begins anew takes less memory than one that has carried out
    /// a run.
    RunIsOver,
}

impl Guard<'_> {
    /// Guards until it is told to stop, nothing is left to guard, or it has carried out a run. Calls `ready`
    /// once what the kubelet needs is in place, or cannot be put there: a node whose kubelet never starts is
    /// no better.
    pub async fn run(&self, ready: impl FnOnce()) -> Ended {
        let mut ready = Some(ready);
        let mut eye = JournalEye::new(&self.env.state_dir());
        let mut pause = Pause::new(self.intervals.tick);
        loop {
            let began = Instant::now();
            let start = boot(self.env, self.intervals.hold_off).await;
            eye.seen();
            if let Some(ready) = ready.take_if(|_| !someone_reads(&start)) {
                ready();
            }
            let again = match start {
                Ok(start) => {
                    self.env.say("");
                    self.go_on(start, &mut eye).await
                }
                Err(GuardError::Open(OpenError::Locked { .. })) => {
                    tokio::select! {
                        () = eye.until_free(self.intervals.tick) => Ok(None),
                        () = self.stop.cancelled() => return Ended::Stopped,
                    }
                }
                Err(error) => Err(error),
            };
            let pause = match again {
                Ok(Some(ended)) => return ended,
                Ok(None) => pause.after_success(),
                Err(error) => {
                    tracing::error!(%error, "the guard tries again");
                    self.env.say(&error.to_string());
                    pause.after_failure(began.elapsed())
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return Ended::Stopped,
            }
        }
    }

    /// Does what follows the decision, until the journal says something new.
    async fn go_on(&self, start: Start, eye: &mut JournalEye) -> Result<Option<Ended>, GuardError> {
        let Decision { next, put_back, put_back_later, why } = &start.decision;
        tracing::info!(?next, ?put_back, ?put_back_later, "{why}");
        let carried = carry_on(self.env, &start, &self.intervals, &self.stop).await?;
        if self.stop.is_cancelled() {
            return Ok(Some(Ended::Stopped));
        }
        match (&carried, start.decision.next) {
            (Carried::Ended(ending), _) => {
                tracing::info!(run = %ending.run, "{}", ending.phase);
                return Ok(Some(Ended::RunIsOver));
            }
            (Carried::StaysStatic(why), _) => tracing::warn!("the static pods stay: {why}; {HOW_TO_GO_ON}"),
            (Carried::Silent, _) => {
                tracing::warn!(
                    "the API gave no answer for {:?}: the static pods stay until it does",
                    self.intervals.patience
                );
            }
            (Carried::Nothing, Next::Watch) => {}
            (Carried::Nothing, Next::Rest) => return Ok(self.rest(&start, eye).await),
            (Carried::Nothing, _) => return Ok(None),
        }
        let Some(told) = &start.told else { return Ok(None) };
        let site = self.env.site(told.settings.clone()).await?;
        let mut watch = Watch::new(self, told, site);
        watch.decides_when_answered = matches!(carried, Carried::Silent);
        watch.stays = match carried {
            Carried::StaysStatic(why) => Some(why),
            _ => None,
        };
        watch.until_something_happens(eye).await
    }

    /// Waits while there is nothing to guard, or while a person is at work.
    async fn rest(&self, start: &Start, eye: &mut JournalEye) -> Option<Ended> {
        use super::decide::Standing;
        let over = start.told.as_ref().is_none_or(|told| told.pivot_facts().standing == Standing::RolledBack);
        if over && self.env.unit_is_gone(UNIT) {
            return Some(Ended::NothingToGuard);
        }
        tokio::select! {
            () = eye.until_touched(self.intervals.tick) => None,
            () = self.stop.cancelled() => Some(Ended::Stopped),
        }
    }
}

/// The advice where the static pods stay.
pub const HOW_TO_GO_ON: &str =
    "mend the DaemonSets and say `fulcrum guard hand-over`, or go back with `fulcrum rollback`";

/// Whether a process that is not at work on a run has the journal open. At boot that is soon over, and the
/// guard must not miss the decision for it.
fn someone_reads(start: &Result<Start, GuardError>) -> bool {
    let Err(GuardError::Open(OpenError::Locked { holder, .. })) = start else { return false };
    holder.as_ref().is_some_and(|holder| LockPurpose::use_of(&holder.purpose) == LockUse::Reading)
}

/// A stretch of watching.
pub(super) struct Watch<'a> {
    pub(super) guard: &'a Guard<'a>,
    pub(super) told: &'a JournalView,
    pub(super) site: Arc<Site>,
    pub(super) signs: BTreeMap<Component, Sign>,
    /// The sockets that listen, as port and inode.
    sockets: Vec<(u16, u64)>,
    line: Line,
    attending: Option<(JoinHandle<()>, Instant)>,
    /// A decision waits for the API's first answer.
    decides_when_answered: bool,
    /// The generation of each DaemonSet, and since when it has served.
    pub(super) proving: BTreeMap<Component, (Value, Instant)>,
    /// The object and the generation that were found to be the proven ones.
    pub(super) proven: BTreeMap<Component, Option<DaemonsetVersion>>,
    /// What was told of certificates.
    pub(super) teller: Teller,
    /// The components whose DaemonSets run something else than the standby, and have not proven that yet.
    pub(super) behind: BTreeSet<Component>,
    /// What was seen of their roll-outs, where one does not go on.
    pub(super) still: BTreeMap<Component, StandStill>,
    /// Why the static pods stay, if so.
    pub(super) stays: Option<String>,
    pub(super) reports: Reports,
    /// When the guard had read the journal.
    pub(super) since: Timestamp,
    /// The nodes that run on the DaemonSets, as the API said last.
    pub(super) users: Vec<String>,
}

/// The last sign of life of a component.
pub(super) struct Sign {
    pub(super) last: Instant,
    pub(super) renewed: Option<String>,
}

impl<'a> Watch<'a> {
    fn new(guard: &'a Guard<'a>, told: &'a JournalView, site: Arc<Site>) -> Self {
        let sign = |component| (component, Sign { last: Instant::now(), renewed: None });
        Self {
            guard,
            told,
            site,
            signs: Component::ALL.into_iter().map(sign).collect(),
            sockets: Vec::new(),
            line: Line::default(),
            attending: None,
            decides_when_answered: false,
            proving: BTreeMap::new(),
            proven: BTreeMap::new(),
            teller: Teller::default(),
            behind: BTreeSet::new(),
            still: BTreeMap::new(),
            stays: None,
            reports: Reports::default(),
            since: Timestamp::now(),
            users: Vec::new(),
        }
    }

    async fn until_something_happens(mut self, eye: &mut JournalEye) -> Result<Option<Ended>, GuardError> {
        let standby = self.told.standby(&self.guard.env.state_dir());
        standby.begin(&self.told.retired).map_err(GuardError::disk("keep the standby"))?;
        let [mut asked, mut studied, mut tidied, mut laid_by, mut told] = [None; 5];
        loop {
            // Memory from reading the journal, and from a roll-out.
            if due(&mut tidied, TIDY) {
                give_back_memory();
            }
            tokio::select! {
                () = tokio::time::sleep(self.guard.intervals.tick) => {}
                () = self.guard.stop.cancelled() => return Ok(Some(Ended::Stopped)),
            }
            if eye.is_touched() {
                if eye.sees_a_command() {
                    // An edit attends its own roll-out. Two would undo each other's steering.
                    self.attend_no_more();
                }
                tokio::select! {
                    () = eye.until_free(self.guard.intervals.tick) => {}
                    // A rollback that has the journal open ends the guard, and waits for its end.
                    () = self.guard.stop.cancelled() => return Ok(Some(Ended::Stopped)),
                }
                if !self.is_still_true(eye)? {
                    return Ok(None);
                }
            }
            if due(&mut laid_by, TIDY) {
                self.lay_by(eye);
                if self.kubeconfig_has_changed() {
                    return Ok(None);
                }
            }
            self.look().await?;
            if due(&mut asked, self.guard.intervals.ask) && self.site.is_ready_here().await {
                if self.decides_when_answered {
                    return Ok(None);
                }
                self.alive(Component::ApiServer);
            }
            let answers = self.silent(Component::ApiServer) < self.guard.intervals.ask * 2;
            if answers && due(&mut studied, self.guard.intervals.study) {
                self.study().await;
                if let Some((plan, components)) = self.renewal().await? {
                    tracing::info!(?components, "the standby is renewed");
                    return self.start(plan).await;
                }
            }
            if let Some(plan) = self.see_to_certificates(answers, &mut told).await? {
                return self.start(plan).await;
            }
            if answers {
                self.report();
            }
            if let Some(plan) = self.fallback(answers).await? {
                return self.start(plan).await;
            }
        }
    }

    /// Whether the process that had the journal open has only read it. If so, the guard must not forget what
    /// it has seen.
    fn is_still_true(&self, eye: &mut JournalEye) -> Result<bool, GuardError> {
        let journal = match Journal::open(self.guard.env.state_dir(), LockPurpose::Guard.text()) {
            Err(OpenError::Locked { .. }) => return Ok(true), // The guard looks again.
            opened => opened?,
        };
        let told = JournalView::read(&journal)?;
        drop(journal);
        eye.seen();
        Ok(told.is_some_and(|told| told.runs == self.told.runs))
    }

    /// Starts a run of the guard's own, unless another process has begun one.
    async fn start(&self, plan: Plan) -> Result<Option<Ended>, GuardError> {
        let Guard { env, intervals, stop, .. } = self.guard;
        let Some(journal) = open_when_free(*env, intervals.tick, stop).await? else {
            return Ok(Some(Ended::Stopped));
        };
        if JournalView::read(&journal)?.is_none_or(|told| told.runs != self.told.runs) {
            return Ok(None);
        }
        let RunInfo { settings, why } = RunInfo::of(&plan)?;
        let site = self.guard.env.site(settings).await?;
        let engine = self.guard.env.engine(journal, &site).await?;
        let ending = engine.actor(REASON, why.unwrap_or_default()).start(plan).await?;
        tracing::info!(run = %ending.run, "{}", ending.phase);
        Ok(Some(if self.guard.stop.is_cancelled() { Ended::Stopped } else { Ended::RunIsOver }))
    }

    /// Looks which servers listen on the API server's port. Only what has changed is looked at closely.
    async fn look(&mut self) -> Result<(), GuardError> {
        let port = self.site.port(Component::ApiServer);
        let ports = Component::ALL.map(|component| self.site.port(component));
        let sockets = self.site.node.host.listening(&ports).await?;
        let of_api: Vec<u64> =
            sockets.iter().filter(|(at, _)| *at == port).map(|(_, inode)| *inode).collect();
        let several = of_api.len() > 1;
        self.line.keep(&self.site, of_api).await?;
        self.sockets = sockets;
        let now = Instant::now();
        match &mut self.attending {
            Some((_, until)) if several => *until = now + HOLD_FOR,
            Some((_, until)) if *until < now => self.attend_no_more(),
            None if several => self.attend(now + HOLD_FOR),
            _ => {}
        }
        Ok(())
    }

    /// Attends a roll-out while a pod of it comes and goes.
    fn attend(&mut self, until: Instant) {
        let (site, tick) = (Arc::clone(&self.site), self.guard.intervals.tick);
        let task = tokio::spawn(async move { match roll_out::attend(&site, tick, None).await {} });
        self.attending = Some((task, until));
    }

    fn attend_no_more(&mut self) {
        if let Some((task, _)) = self.attending.take() {
            task.abort();
        }
    }

    /// Whether a process listens on the component's port.
    pub(super) fn listens(&self, component: Component) -> bool {
        let port = self.site.port(component);
        self.sockets.iter().any(|(at, _)| *at == port)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.attend_no_more();
    }
}

/// How long the endpoints are held after only one API server is left. The server that left takes its address
/// out when it ends.
const HOLD_FOR: Duration = Duration::from_secs(45);

/// How often memory is given back, and the spare manifests are compared with the standby.
const TIDY: Duration = Duration::from_secs(30);

/// Whether this is due again. If so, it counts as done now.
pub(super) fn due(last: &mut Option<Instant>, every: Duration) -> bool {
    let is_due = last.is_none_or(|last| last.elapsed() >= every);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}
