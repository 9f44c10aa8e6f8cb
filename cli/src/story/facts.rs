//! What a run's paragraph says: how it stands, by whom, from what to what, how long.

use super::{Moment, Story};
use fulcrum_engine::Outcome;
use fulcrum_engine::history::{AttemptResult, Direction};
use fulcrum_engine::run::Phase;
use fulcrum_steps::plan::{
    ADOPT, EDIT, FALL_BACK, FINALIZE, HAND_OVER, PIVOT, RENEW_CERTS, RENEW_STANDBY, ROLL_CERTS, UPGRADE,
    UPGRADE_ETCD,
};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Standing {
    Completed,
    RolledBack,
    NeedsOperator,
    Paused,
    /// A process is at work on it, or died at work.
    Unfinished,
    /// Not even its plan could be read.
    Unreadable,
}

/// How the control plane of the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ControlPlane {
    StaticPods,
    DaemonSets,
}

/// Attempts, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Counts {
    pub(crate) done: usize,
    pub(crate) undone: usize,
    pub(crate) failed: usize,
    /// Stopped, or taken down with their process.
    pub(crate) cut: usize,
}

impl Story {
    pub(crate) fn standing(&self) -> Standing {
        match self.run.as_ref().map(|run| run.phase()) {
            None => Standing::Unreadable,
            Some(Phase::Ended(Outcome::Completed, _)) => Standing::Completed,
            Some(Phase::Ended(Outcome::RolledBack, _)) => Standing::RolledBack,
            // `fulcrum` ends no run in yet another way.
            Some(Phase::Ended(..)) => Standing::NeedsOperator,
            Some(Phase::Paused { .. }) => Standing::Paused,
            Some(_) => Standing::Unfinished,
        }
    }

    /// Whether the run did not do what it was for: it needs a person, or went back without having been
    /// completed before.
    pub(crate) fn failed(&self) -> bool {
        self.standing() == Standing::NeedsOperator || (self.rollback.is_some() && self.completed.is_none())
    }

    /// How the control plane ran before the run, and at each of its turning points since. The last one is
    /// what the run has left. Empty for a run that moves nothing.
    pub(crate) fn path(&self) -> Vec<ControlPlane> {
        let (from, to) = match self.header.kind.as_str() {
            PIVOT | HAND_OVER => (ControlPlane::StaticPods, ControlPlane::DaemonSets),
            FALL_BACK | ADOPT => (ControlPlane::DaemonSets, ControlPlane::StaticPods),
            _ => return Vec::new(),
        };
        let mut path = vec![from];
        path.extend(self.completed.map(|_| to));
        path.extend((self.standing() == Standing::RolledBack).then_some(from));
        path
    }

    /// Whether the control plane is between the two, as far as this run says.
    pub(crate) fn is_between(&self) -> bool {
        matches!(self.standing(), Standing::Paused | Standing::Unfinished | Standing::NeedsOperator)
    }

    /// The purpose of the run, in a few words.
    pub(crate) fn purpose(&self) -> &'static str {
        match self.header.kind.as_str() {
            RENEW_STANDBY => "the standby renewed from what the DaemonSets run",
            EDIT => "another command line for a component",
            UPGRADE => "another release of Kubernetes",
            UPGRADE_ETCD => "another image for this node's etcd",
            FINALIZE => "the release without the emulation of the one before",
            RENEW_CERTS => "certificates renewed by kubeadm",
            ROLL_CERTS => "pods started for certificates that were renewed by hand",
            PIVOT | HAND_OVER => "static pods to DaemonSets",
            FALL_BACK => "DaemonSets to static pods",
            ADOPT => "DaemonSets that were found to static pods",
            _ => "",
        }
    }

    /// How long the way there took. Pauses count.
    pub(crate) fn forward(&self) -> Duration {
        let end = self.completed.or(self.rollback).unwrap_or(self.last);
        end.since(self.header.created)
    }

    /// How long the way back took so far, if there was one. Pauses count.
    pub(crate) fn back(&self) -> Option<Duration> {
        self.rollback.map(|began| self.last.since(began))
    }

    /// The steps that are done and undone, and the attempts that came to nothing.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for attempt in self.attempts() {
            match (attempt.result, attempt.direction) {
                (AttemptResult::Done, Direction::Run) => counts.done += 1,
                (AttemptResult::Done, Direction::Undo) => counts.undone += 1,
                (AttemptResult::Failed, _) => counts.failed += 1,
                (AttemptResult::Stopped | AttemptResult::Interrupted, _) => counts.cut += 1,
                _ => {}
            }
        }
        counts
    }

    /// The last reason that the journal has: of the end, a pause, or a rollback.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.moments.iter().rev().find_map(|moment| match moment {
            Moment::Ended { reason, .. }
            | Moment::Paused { reason, .. }
            | Moment::RollbackStarted { reason, .. } => Some(reason.as_str()),
            Moment::Session { .. } | Moment::Attempt(_) => None,
        })
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Completed => "completed",
            Self::RolledBack => "rolled-back",
            Self::NeedsOperator => "needs-operator",
            Self::Paused => "paused",
            Self::Unfinished => "unfinished",
            Self::Unreadable => "unreadable",
        })
    }
}

impl fmt::Display for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::StaticPods => "static pods",
            Self::DaemonSets => "DaemonSets",
        })
    }
}
