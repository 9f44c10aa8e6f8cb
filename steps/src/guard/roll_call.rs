//! The guard says in the cluster's roll call that it is there, and what it sees of its node.

use super::decide::Standing;
use super::reports::Report;
use super::watch::Watch;
use crate::cluster::{DaemonsetVersion, EndOfRun, GuardEntry, GuardState, RunPhase, StandbyEntry};
use crate::component::Component;
use crate::roll_call::mode_of;
use jiff::Timestamp;

impl Watch<'_> {
    /// Says in the roll call what the guard does and sees, when it changes, and once in a while.
    pub(super) fn report(&self) {
        let state = if self.stays.is_some() { GuardState::StaysStatic } else { GuardState::Watching };
        let guard = GuardEntry { state, beat: None, standby: self.standby(), says: self.stays.clone() };
        let mode = mode_of(&self.site.node.manifests);
        let report = Report { guard, mode, end: self.end_of_the_last_run() };
        self.reports.say(&self.site, report, self.guard.intervals.ask);
    }

    /// The run itself says it when it ends. The API may give no answer then: its servers have just changed hands.
    fn end_of_the_last_run(&self) -> Option<EndOfRun> {
        let last = self.told.runs.last()?;
        let phase = match last.standing {
            Standing::Completed => RunPhase::Completed,
            Standing::RolledBack => RunPhase::RolledBack,
            Standing::Unfinished { .. } | Standing::Paused | Standing::NeedsOperator => return None,
        };
        Some(EndOfRun { run: last.run.to_string(), phase, known: self.since })
    }

    /// The standby, by the oldest of its manifests.
    fn standby(&self) -> Option<StandbyEntry> {
        let standby = self.told.standby(&self.guard.env.state_dir());
        let kept =
            Component::ALL.into_iter().filter_map(|component| standby.kept_at(component).ok().flatten());
        let since = Timestamp::try_from(kept.min()?).ok();
        // The seconds are what the form keeps.
        let since = since.and_then(|since| Timestamp::from_second(since.as_second()).ok());
        let version = |(component, version): (&Component, &Option<DaemonsetVersion>)| {
            Some((*component, version.clone()?))
        };
        let of = self.proven.iter().filter_map(version).collect();
        Some(StandbyEntry { since, behind: !self.behind.is_empty(), of })
    }
}
