//! The calls in flight.

use crate::attempt::What;
use crate::observe::Watcher;
use crate::plan::StepId;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A method that still runs this long after its timeout blocks its thread. Otherwise it would have been
/// dropped.
const BLOCKED_AFTER: Duration = Duration::from_secs(1);

/// The calls in flight, at most one for each step.
#[derive(Default)]
pub(super) struct Flights(BTreeMap<StepId, Flight>);

struct Flight {
    what: What,
    stop: CancellationToken,
    /// From this time on the call must be blocking its thread. `None` until it starts, and once that was
    /// reported.
    overdue: Option<Instant>,
}

impl Flights {
    /// Adds a call that will start. Returns the token that stops it.
    pub(super) fn add(&mut self, step: &StepId, what: What) -> CancellationToken {
        let stop = CancellationToken::new();
        self.0.insert(step.clone(), Flight { what, stop: stop.clone(), overdue: None });
        stop
    }

    /// Notes that the call starts, and may take this long.
    pub(super) fn starts(&mut self, step: &StepId, timeout: Duration) {
        if let Some(flight) = self.0.get_mut(step).filter(|flight| flight.what != What::Rest) {
            let most = timeout.saturating_add(BLOCKED_AFTER);
            flight.overdue = Instant::now().checked_add(most);
        }
    }

    /// Notes that the call has ended. If it blocked its thread and no report was possible meanwhile, this
    /// reports it.
    pub(super) fn ended(&mut self, step: &StepId, watcher: &Watcher) {
        if let Some(flight) = self.0.remove(step)
            && flight.overdue.is_some_and(|overdue| overdue <= Instant::now())
        {
            report(step, "had blocked its thread", watcher);
        }
    }

    /// Forgets a call that never started.
    pub(super) fn forget(&mut self, step: &StepId) {
        self.0.remove(step);
    }

    pub(super) fn has(&self, step: &StepId) -> bool {
        self.0.contains_key(step)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn any(&self, what: What) -> bool {
        self.0.values().any(|flight| flight.what == what)
    }

    /// The number of steps at work.
    pub(super) fn busy(&self) -> usize {
        self.0.values().filter(|flight| flight.what != What::Rest).count()
    }

    pub(super) fn steps(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(StepId::as_str)
    }

    /// Asks all calls to stop.
    pub(super) fn stop(&self) {
        self.0.values().for_each(|flight| flight.stop.cancel());
    }

    /// When the next call is overdue.
    pub(super) fn next_overdue(&self) -> Option<Instant> {
        self.0.values().filter_map(|flight| flight.overdue).min()
    }

    /// Reports each overdue call, once: it blocks its thread.
    pub(super) fn report_overdue(&mut self, watcher: &Watcher) {
        let now = Instant::now();
        for (step, flight) in &mut self.0 {
            if flight.overdue.is_some_and(|overdue| overdue <= now) {
                flight.overdue = None;
                report(step, "blocks its thread", watcher);
            }
        }
    }
}

fn report(step: &StepId, verb: &str, watcher: &Watcher) {
    let text = format!("{step} {verb}: it went on after its timeout, and neither that nor a stop can end it");
    tracing::error!(%step, "{text}");
    watcher.note(step, &text);
}
