//! What the guard has said in the cluster's roll call, and when it says something again.

use crate::cluster::{
    ClusterError, EndOfRun, GUARD_BEATS_EVERY, GuardEntry, NodeEntry, NodeMode, ROLL_CALL_VERSION,
};
use crate::site::Site;
use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What the guard has said, and when it tried to say it.
#[derive(Debug, Default)]
pub(super) struct Reports(Arc<Mutex<State>>);

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// The guard, without the time.
    pub(super) guard: GuardEntry,
    /// What the node is.
    pub(super) mode: NodeMode,
    /// How the last run has ended.
    pub(super) end: Option<EndOfRun>,
}

#[derive(Debug, Default)]
struct State {
    said: Option<(Report, Instant)>,
    tried: Option<Instant>,
    busy: bool,
}

impl State {
    /// Whether this is to be said now. What failed is tried again after `pause`.
    fn is_due(&self, report: &Report, pause: Duration, now: Instant) -> bool {
        let since = |at: Instant| now.saturating_duration_since(at);
        let is_old = |(said, at): &(Report, Instant)| said != report || since(*at) >= GUARD_BEATS_EVERY;
        let news = self.said.as_ref().is_none_or(is_old);
        news && !self.busy && self.tried.is_none_or(|tried| since(tried) >= pause)
    }
}

impl Reports {
    /// Says this, if it is news or if it is time. The guard does not wait for that.
    pub(super) fn say(&self, site: &Arc<Site>, report: Report, pause: Duration) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.is_due(&report, pause, Instant::now()) {
            return;
        }
        (state.busy, state.tried) = (true, Some(Instant::now()));
        let (state, site) = (Arc::clone(&self.0), Arc::clone(site));
        tokio::spawn(async move {
            // A call has a deadline of its own.
            let written = write(&site, &report).await;
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.busy = false;
            match written {
                Ok(()) => state.said = Some((report, Instant::now())),
                Err(error) => tracing::debug!("the roll call does not have the guard: {error}"),
            }
        });
    }
}

async fn write(site: &Site, Report { guard, mode, end }: &Report) -> Result<(), ClusterError> {
    let update = |entry: &mut NodeEntry| {
        entry.format_version = ROLL_CALL_VERSION;
        entry.mode = *mode;
        if let Some(end) = end {
            end.enter(entry);
        }
        entry.guard = Some(GuardEntry { beat: Some(Timestamp::now()), ..guard.clone() });
    };
    site.cluster.update_entry(&site.settings.node, update).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::GuardState;

    #[test]
    fn news_are_said_at_once_a_beat_once_in_a_while_and_a_failure_after_a_pause() {
        let (pause, start) = (Duration::from_secs(5), Instant::now());
        let guard = GuardEntry { state: GuardState::Watching, beat: None, standby: None, says: None };
        let report = Report { guard, mode: NodeMode::SelfHosted, end: None };
        let mut state = State::default();
        assert!(state.is_due(&report, pause, start));
        state.tried = Some(start);
        assert!(!state.is_due(&report, pause, start), "it has just failed");
        let later = start + pause;
        assert!(state.is_due(&report, pause, later));
        state.said = Some((report.clone(), later));
        assert!(!state.is_due(&report, pause, later));
        assert!(state.is_due(&Report { mode: NodeMode::Half, ..report.clone() }, pause, later));
        assert!(state.is_due(&report, pause, later + GUARD_BEATS_EVERY));
        state.busy = true;
        assert!(!state.is_due(&report, pause, later + GUARD_BEATS_EVERY));
    }
}
