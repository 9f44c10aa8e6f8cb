//! The journal's data on a run, apart from its steps, and the one place where each part is decoded.

use crate::settings::Settings;
use fulcrum_engine::state::RunId;
use fulcrum_engine::{Plan, Role, Rollback, Session};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The workflow of a pivot.
pub const PIVOT: &str = "pivot";
/// The workflow in which the DaemonSets get another release of Kubernetes.
pub const UPGRADE: &str = "upgrade";
/// The workflow in which the static pods are restored while the DaemonSets do not serve.
pub const FALL_BACK: &str = "stand-in";

/// The name that people read for a stored workflow.
pub fn shown(kind: &str) -> &str {
    if kind == FALL_BACK { "fall-back" } else { kind }
}

/// The settings of a run's plan, and the reason for the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// The settings.
    #[serde(flatten)]
    pub settings: Settings,
    /// The reason, for a run of the guard's; the changes, for an edit. A pivot has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl RunInfo {
    /// The data that is stored with `plan`.
    ///
    /// # Errors
    /// When a version wrote it that this one does not understand.
    pub fn of(plan: &Plan) -> Result<Self, serde_json::Error> {
        serde_json::from_value(plan.shared().clone())
    }

    /// A run that belongs to `pivot`: one of the guard's, or a person's edit.
    pub fn of_pivot(settings: &Settings, pivot: RunId, why: &str) -> Self {
        let settings = Settings { of_pivot: Some(pivot), ..settings.clone() };
        Self { settings, why: Some(why.to_owned()) }
    }

    /// The data to store with a plan.
    pub fn shared(&self) -> Value {
        json!(self)
    }
}

/// The mode of a pivot's rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RollbackMode {
    /// Everything becomes exactly what it was before.
    #[default]
    Exact,
    /// The static pods are restored with shared ports. The kernel can steer to them, and no bridge is needed.
    KeepPortSharing,
}

/// The mode's text in the journal.
const KEEP_PORT_SHARING: &str = "keep-port-sharing";
/// The reason that stands for the mode in journals without modes.
const OLD_REASON: &str = "rollback with --keep-port-sharing was asked for";

impl RollbackMode {
    /// The mode of a rollback that has begun.
    pub fn of(rollback: Option<&Rollback>) -> Self {
        let keeps = |rollback: &Rollback| match rollback.mode.as_deref() {
            Some(mode) => mode == KEEP_PORT_SHARING,
            None => rollback.reason == OLD_REASON,
        };
        if rollback.is_some_and(keeps) { Self::KeepPortSharing } else { Self::Exact }
    }

    /// The rollback that a person asks for.
    pub fn asked_for(self) -> Rollback {
        match self {
            Self::Exact => Rollback::new("rollback was asked for"),
            Self::KeepPortSharing => Rollback::new(OLD_REASON).with_mode(KEEP_PORT_SHARING),
        }
    }
}

/// The worker of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionRole {
    /// A command that a person has given.
    Command,
    /// The guard.
    Guard,
}

/// The guard's role in the journal.
const GUARD: &str = "guard";

impl SessionRole {
    /// The worker of this session. Journals without roles name the guard at the end of the program's name.
    pub fn of(session: &Session) -> Self {
        let guard = session.role.as_str() == GUARD
            || (session.role.as_str().is_empty() && session.program.ends_with(GUARD));
        if guard { Self::Guard } else { Self::Command }
    }

    /// The role that the journal stores.
    pub fn role(self) -> Role {
        match self {
            Self::Command => Role::default(),
            Self::Guard => Role::new(GUARD),
        }
    }
}

/// The purpose of a process that has the journal open. The lock file has its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the command of its name")]
pub enum LockPurpose {
    Pivot,
    Resume,
    Rollback,
    HandOver,
    Guard,
    Rehearse,
    RehearsalChild,
    Status,
    History,
    Prune,
    Edit,
    Upgrade,
    RenewCerts,
    Adopt,
}

/// The process's work, as far as others must know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockUse {
    /// A person's command works on a run.
    Command,
    /// The guard works on a run.
    Guard,
    /// The process reads or prunes the journal.
    Reading,
}

impl LockPurpose {
    const ALL: [(Self, &str, LockUse); 14] = [
        (Self::Pivot, "pivot", LockUse::Command),
        (Self::Resume, "resume", LockUse::Command),
        (Self::Rollback, "rollback", LockUse::Command),
        (Self::HandOver, "guard hand-over", LockUse::Command),
        (Self::Guard, "guard", LockUse::Guard),
        (Self::Rehearse, "rehearse", LockUse::Command),
        (Self::RehearsalChild, "rehearsal-child", LockUse::Reading),
        (Self::Status, "status", LockUse::Reading),
        (Self::History, "history", LockUse::Reading),
        (Self::Prune, "history prune", LockUse::Reading),
        (Self::Edit, "edit", LockUse::Command),
        (Self::Upgrade, "upgrade", LockUse::Command),
        (Self::RenewCerts, "certs renew", LockUse::Command),
        (Self::Adopt, "adopt", LockUse::Command),
    ];

    /// The text for the lock file: the command that the process carries out.
    pub fn text(self) -> &'static str {
        Self::ALL.iter().find(|(purpose, ..)| *purpose == self).map_or("", |(_, text, _)| text)
    }

    /// The work of a process with this text in the lock file. A text of a newer version counts as reading.
    pub fn use_of(text: &str) -> LockUse {
        Self::ALL.iter().find(|(_, known, _)| *known == text).map_or(LockUse::Reading, |(.., works)| *works)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Journals from before modes and roles say both in free text.
    #[test]
    fn old_journals_are_read_as_they_were_meant() {
        let old = Rollback::new("rollback with --keep-port-sharing was asked for");
        assert_eq!(RollbackMode::of(Some(&old)), RollbackMode::KeepPortSharing);
        assert_eq!(RollbackMode::of(Some(&Rollback::new("a step failed"))), RollbackMode::Exact);
        for mode in [RollbackMode::Exact, RollbackMode::KeepPortSharing] {
            assert_eq!(RollbackMode::of(Some(&mode.asked_for())), mode);
        }
        let session = |program: &str, role| Session::new(String::new(), 1, program).with_role(role);
        assert_eq!(SessionRole::of(&session("fulcrum 0.1.0 guard", Role::default())), SessionRole::Guard);
        assert_eq!(SessionRole::of(&session("fulcrum 0.1.0", Role::default())), SessionRole::Command);
        for role in [SessionRole::Command, SessionRole::Guard] {
            assert_eq!(SessionRole::of(&session("fulcrum 0.2.0", role.role())), role);
        }
    }
}
