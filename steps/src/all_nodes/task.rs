//! What all nodes are to do, and what that is on a node with a journal.

use super::look::NodeIs;
use serde::{Deserialize, Serialize};

/// What all nodes are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Every node is to be self-hosted.
    Pivot,
    /// Every node is to be as it was before.
    Rollback,
    /// Unfinished runs are to end, in their direction.
    Resume,
}

/// How the last run in a node's journal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastRun {
    /// It is over, or there is none.
    Over,
    /// It is unfinished and goes forward.
    Forward,
    /// It is unfinished and is being undone.
    Back,
}

impl Task {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pivot, Self::Rollback, Self::Resume];

    /// The name of the command.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pivot => "pivot",
            Self::Rollback => "rollback",
            Self::Resume => "resume",
        }
    }

    /// Whether nothing is left to do on a node that is this.
    pub(super) fn is_done_on(self, is: &NodeIs) -> bool {
        match self {
            Self::Pivot => *is == NodeIs::SelfHosted,
            Self::Rollback => *is == NodeIs::Static,
            Self::Resume => matches!(is, NodeIs::SelfHosted | NodeIs::Static),
        }
    }

    /// The command that does this on a node with such a last run.
    ///
    /// # Errors
    /// When the node goes the other way: a person has to say which way is right.
    pub fn on_node(self, last: LastRun) -> Result<Self, &'static str> {
        match (self, last) {
            (Self::Pivot, LastRun::Forward) => Ok(Self::Resume),
            (Self::Pivot, LastRun::Back) => {
                Err("the last run of this node is being undone; let it end with \
                 `fulcrum resume --all-nodes`, and pivot then")
            }
            (task, _) => Ok(task),
        }
    }
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
