//! Takes up the runs that are due, on as many machines as there are workers.

use super::Postgres;
use super::shared::{Due, PgLease};
use crate::calls::Carried;
use crate::control::Control;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::PauseCause;
use crate::run::Phase;
use fulcrum_state::{StoreError, Timestamp};
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{Id, JoinSet};

/// How soon a run is tried again that this worker could not carry on: by another worker, or when the journal can be
/// written again.
const AGAIN: Duration = Duration::from_secs(2);

/// How often a run that waits for another run is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Carries out the runs of a journal in PostgreSQL, together with the workers of other processes and machines.
///
/// A worker takes up each run that was handed in ([`Engine::submit`]), whose wait is over, whose worker has died or
/// was asked to stop. It leaves alone what a person has paused, what needs a person, and child runs: the run above
/// takes them up.
///
/// A step that is bound to a machine ([`StepSpec::bound_to`](crate::StepSpec::bound_to)) is carried out by a worker whose
/// session is on that machine ([`Session::with_machine`](crate::Session::with_machine)). Another worker takes the run as
/// far as it can, and releases it. [`Postgres::elsewhere`] lists the runs that wait for a machine.
///
/// Workers are notified of new runs. They also look by themselves, in case that a notification was lost.
pub struct Worker {
    store: Postgres,
    engine: Engine,
    at_once: usize,
    every: Duration,
    workflows: Option<Vec<String>>,
}

/// A run at work.
struct AtWork {
    lease: Arc<PgLease>,
    control: Control,
}

impl Drop for AtWork {
    /// A call that ended early has not taken its claim.
    fn drop(&mut self) {
        self.lease.not_handed();
    }
}

impl Worker {
    /// A worker of up to four runs at once. The journal of `engine` must be that of `store`.
    pub fn new(store: Postgres, engine: Engine) -> Self {
        Self { store, engine, at_once: 4, every: Duration::from_secs(1), workflows: None }
    }

    /// How many runs may be at work at once; at least one.
    #[must_use]
    pub fn at_once(mut self, runs: usize) -> Self {
        self.at_once = runs.max(1);
        self
    }

    /// How often it looks for runs without being notified. 1 s if it is not set.
    #[must_use]
    pub fn look_every(mut self, pause: Duration) -> Self {
        self.every = pause;
        self
    }

    /// Takes up runs of these workflows only. All if it is not set.
    #[must_use]
    pub fn workflows(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.workflows = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Works until `stop` is done. Then it pauses its runs at their next safe point, and releases them: another worker
    /// takes them up.
    ///
    /// A server that is gone does not end this: runs at work end when their claims do, and are taken up again later.
    pub async fn serve(&self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut woken = self.store.core().woken.subscribe();
        let (mut tasks, mut at_work) = (JoinSet::new(), HashMap::new());
        loop {
            woken.mark_unchanged();
            let mut is_stopped = false;
            while tasks.len() < self.at_once {
                let claimed = tokio::select! {
                    biased;
                    () = &mut stop => { is_stopped = true; break }
                    claimed = self.claim_next() => claimed,
                };
                match claimed {
                    Ok(Some(lease)) => self.begin(lease, &mut tasks, &mut at_work),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, "looking for runs again");
                        break;
                    }
                }
            }
            if is_stopped {
                break;
            }
            let has_room = tasks.len() < self.at_once;
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(ended) = tasks.join_next_with_id() => end(ended, &mut at_work),
                _ = woken.changed(), if has_room => {}
                () = tokio::time::sleep(self.every), if has_room => {}
            }
        }
        for worked in at_work.values() {
            worked.control.pause("the worker stops", PauseCause::Signal);
        }
        while let Some(ended) = tasks.join_next_with_id().await {
            end(ended, &mut at_work);
        }
    }

    async fn claim_next(&self) -> Result<Option<Arc<PgLease>>, StoreError> {
        self.store.claim_next(self.workflows.clone(), self.engine.session.machine.clone()).await
    }

    fn begin(&self, lease: Arc<PgLease>, tasks: &mut JoinSet<Worked>, at_work: &mut HashMap<Id, AtWork>) {
        let engine = Engine { control: Control::default(), ..self.engine.clone() };
        let (control, run) = (engine.control(), lease.hold.run);
        lease.hand();
        let task = tasks.spawn(async move { engine.carry_on(run).await });
        at_work.insert(task.id(), AtWork { lease, control });
    }
}

type Worked = Result<Carried, EngineError>;

/// Says when the run is due again, and releases it.
fn end(ended: Result<(Id, Worked), tokio::task::JoinError>, at_work: &mut HashMap<Id, AtWork>) {
    let id = match &ended {
        Ok((id, _)) => *id,
        Err(error) => error.id(),
    };
    let Some(worked) = at_work.remove(&id) else { return };
    let lease = &worked.lease;
    let run = lease.hold.run;
    let due = match ended {
        Ok((_, Ok(carried))) => due(carried),
        Ok((_, Err(error))) => {
            tracing::warn!(%run, error = &error as &dyn std::error::Error, "the run was not carried on");
            Some(Due::after(AGAIN))
        }
        Err(error) => {
            tracing::error!(%run, %error, "the engine panicked");
            Some(Due::after(AGAIN))
        }
    };
    if let Some(due) = due {
        lease.set_due(due);
    }
}

/// When a run that was carried on is due. `None`: at once.
fn due(carried: Carried) -> Option<Due> {
    let Carried { phase, waits_for_a_run, machines } = carried;
    match phase {
        Phase::Waiting { until } => {
            let left = until.map(|until| until.since(Timestamp::now()));
            let look = waits_for_a_run.then_some(LOOK);
            Some(Due { after: left.into_iter().chain(look).min(), machines })
        }
        Phase::Paused { cause: PauseCause::Signal, .. } => None,
        Phase::Paused { .. } | Phase::Ended(..) => Some(Due::default()),
        Phase::New | Phase::Active => Some(Due::after(AGAIN)),
    }
}
