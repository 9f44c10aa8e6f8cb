//! A run as a person reads it: pure values, made from the entries of the journal. No I/O.

mod actor;
mod facts;
mod filter;

#[cfg(test)]
pub(crate) mod testing;

pub(crate) use actor::Actor;
pub(crate) use facts::{Counts, Standing};
pub(crate) use filter::{Filter, since};

use fulcrum_engine::history::{Attempt, AttemptResult, History};
use fulcrum_engine::load::decode;
use fulcrum_engine::state::{Digest, Entry, ReadError, RunHeader, RunId, Timestamp};
use fulcrum_engine::{Event, LoadError, Outcome, Plan, Run, Session};
use fulcrum_steps::run_info::RunInfo;
use fulcrum_steps::step_name::reworded;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One run, as far as the journal could be read.
pub(crate) struct Story {
    pub(crate) header: RunHeader,
    /// The state of the run. `None` if not even its plan can be read.
    pub(crate) run: Option<Run>,
    pub(crate) history: History,
    /// Everything that is worth a line of its own, in the order of the journal.
    pub(crate) moments: Vec<Moment>,
    /// When the last entry was written.
    pub(crate) last: Timestamp,
    /// For attempts that were cut short with their process, by the entry of their intent: the last sign of
    /// life of that process.
    cut: BTreeMap<u64, Timestamp>,
    /// Whether the run was completed at any time, and when first.
    pub(crate) completed: Option<Timestamp>,
    /// When the way back began.
    pub(crate) rollback: Option<Timestamp>,
}

/// Something that happened to the run.
#[derive(Debug, Clone)]
pub(crate) enum Moment {
    /// A process took the run up, or began it.
    Session { time: Timestamp, session: Session, change: Change },
    /// The attempt at this place in [`History::attempts`] was started.
    Attempt(usize),
    /// From here on the run was undone.
    RollbackStarted { time: Timestamp, reason: String },
    /// The process stopped at a safe point.
    Paused { time: Timestamp, reason: String },
    /// The run ended, for now.
    Ended { time: Timestamp, outcome: Outcome, reason: String },
}

/// How a session comes to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It began the run.
    Begun,
    /// It took the run up.
    Resumed,
    /// It took the run up on another boot than the session before.
    Rebooted,
}

impl Story {
    /// A run of which nothing has been read yet.
    pub(crate) fn new(header: &RunHeader) -> Self {
        Self {
            header: header.clone(),
            run: None,
            history: History::default(),
            moments: Vec::new(),
            last: header.created,
            cut: BTreeMap::new(),
            completed: None,
            rollback: None,
        }
    }

    /// Takes in the next entry. `blob` reads the blob with the plan.
    ///
    /// # Errors
    /// When this version does not know the entry, or the entry cannot follow.
    pub(crate) fn push(
        &mut self,
        entry: &Entry,
        blob: impl FnOnce(&Digest) -> Result<Vec<u8>, ReadError>,
    ) -> Result<(), LoadError> {
        let event = decode(entry)?;
        let run = entry.run;
        if let (None, Event::Begun { plan, .. }) = (&self.run, &event) {
            self.run = Some(Run::new(Arc::new(plan_of(run, blob(plan))?)));
            self.apply(entry, &event, None)?;
        } else if let Event::Adopted { plan, .. } = &event {
            let plan = plan_of(run, blob(plan))?;
            self.apply(entry, &event, Some(plan))?;
        } else {
            self.apply(entry, &event, None)?;
        }
        if matches!(event, Event::Resumed { .. }) {
            let open = self.history.attempts.iter().filter(|attempt| attempt.result == AttemptResult::Open);
            self.cut.extend(open.map(|attempt| (attempt.seq, self.last)));
        }
        self.history.push(entry)?;
        self.last = entry.time;
        self.moment(entry.time, event);
        Ok(())
    }

    /// Takes in the event; an adoption with its plan.
    fn apply(&mut self, entry: &Entry, event: &Event, plan: Option<Plan>) -> Result<(), LoadError> {
        let Some(state) = &mut self.run else { return Ok(()) };
        let applied = match plan {
            Some(plan) => state.adopt(event, Arc::new(plan)),
            None => state.apply(event),
        };
        applied.map_err(|source| LoadError::Illegal { run: entry.run, seq: entry.seq, source })
    }

    fn moment(&mut self, time: Timestamp, event: Event) {
        let moment = match event {
            Event::Begun { session, .. } => Moment::Session { time, session, change: Change::Begun },
            Event::Resumed { session, .. } => {
                let other = |before: &Session| before.boot_id != session.boot_id;
                let rebooted = self.sessions().last().is_some_and(other);
                let change = if rebooted { Change::Rebooted } else { Change::Resumed };
                Moment::Session { time, session, change }
            }
            Event::AttemptStarted { .. } | Event::UndoStarted { .. } => {
                match self.history.attempts.len().checked_sub(1) {
                    Some(place) => Moment::Attempt(place),
                    None => return,
                }
            }
            Event::RollbackStarted { reason, .. } => {
                self.rollback.get_or_insert(time);
                Moment::RollbackStarted { time, reason: reworded(&reason) }
            }
            Event::Paused { reason, .. } => Moment::Paused { time, reason: reworded(&reason) },
            Event::Ended { outcome, reason } => {
                if outcome == Outcome::Completed {
                    self.completed.get_or_insert(time);
                }
                Moment::Ended { time, outcome, reason: reworded(&reason) }
            }
            Event::Abandoned { reason, .. } => {
                Moment::Ended { time, outcome: Outcome::Abandoned, reason: reworded(&reason) }
            }
            // What comes of an attempt is told with its beginning.
            _ => return,
        };
        self.moments.push(moment);
    }

    /// The processes that worked on the run, in order.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.moments.iter().filter_map(|moment| match moment {
            Moment::Session { session, .. } => Some(session),
            _ => None,
        })
    }

    /// The attempts, in the order in which they were started.
    pub(crate) fn attempts(&self) -> &[Attempt] {
        &self.history.attempts
    }

    /// When the attempt was over, as far as the journal tells: with its result, else with the last sign of
    /// life of its process.
    pub(crate) fn end(&self, attempt: &Attempt) -> Timestamp {
        attempt.ended.or_else(|| self.cut.get(&attempt.seq).copied()).unwrap_or(self.last)
    }

    /// The plan, if it could be read.
    pub(crate) fn plan(&self) -> Option<&Plan> {
        self.run.as_ref().map(|run| run.plan().as_ref())
    }

    /// The settings and the reason of the run, if this version understands them.
    pub(crate) fn info(&self) -> Option<RunInfo> {
        RunInfo::of(self.plan()?).ok()
    }
}

fn plan_of(run: RunId, bytes: Result<Vec<u8>, ReadError>) -> Result<Plan, LoadError> {
    let bytes = bytes.map_err(|source| LoadError::Read { run, source })?;
    serde_json::from_slice(&bytes).map_err(|cause| LoadError::Plan { run, cause: cause.to_string() })
}
