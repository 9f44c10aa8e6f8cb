//! Why a command for all nodes stops before the last of them.

use super::look::NodeIs;
use crate::cluster::ClusterError;
use std::time::Duration;

/// Why the command stops.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The API refused, or did not answer for so long that nothing could be decided.
    #[error("{0}")]
    Api(#[from] ClusterError),
    /// The cluster has no control-plane node that bears a role label.
    #[error(
        "no node bears the label node-role.kubernetes.io/control-plane: which nodes are the control plane cannot be told"
    )]
    NoNodes,
    /// A node's pod did not start, and was deleted.
    #[error("the pod on {node} did not start: {why}")]
    NotStarted {
        /// The node.
        node: String,
        /// What was seen, and what to do.
        why: String,
    },
    /// A pod of another command works on the node.
    #[error(
        "the pod on {node} runs another command than this one; wait for its end, or delete the pod: what it has started \
         goes on on the node"
    )]
    Busy {
        /// The node.
        node: String,
    },
    /// The run on a node did not end with 0.
    #[error("the command on {node} ended with exit code {code}{}", quoted(.said))]
    Ended {
        /// The node.
        node: String,
        /// The exit code.
        code: i32,
        /// What was said last.
        said: String,
    },
    /// The pod is gone, or was ended from outside. What it has started goes on.
    #[error("nothing watches the run on {node} any more: {why}; the run itself goes on there")]
    Lost {
        /// The node.
        node: String,
        /// What was seen.
        why: String,
    },
    /// The command on a node has ended with 0, and the node is not what is wanted.
    #[error(
        "the command on {node} ended with 0, and {waited:?} later the cluster tells of {node}: {is}; `fulcrum status` on \
         {node}, with the --state-dir of its pivot, says how its last run stands{}", quoted(.said)
    )]
    NotThere {
        /// The node.
        node: String,
        /// What it is.
        is: NodeIs,
        /// How long was waited.
        waited: Duration,
        /// What was said last.
        said: String,
    },
    /// A node is no static one, and its DaemonSets' pods do not serve. Its guard has not brought it back.
    #[error(
        "nothing was begun: {node} has not come back within {waited:?}: {is}; see `fulcrum status --cluster`, and \
         `fulcrum guard status` on {node}"
    )]
    NotBack {
        /// The node.
        node: String,
        /// What it is.
        is: NodeIs,
        /// How long was waited.
        waited: Duration,
    },
    /// Not every API server is ready, and the next node must wait for that.
    #[error(
        "{node} was not begun, for not every API server is ready after {waited:?}: {}", why.join("; ")
    )]
    NotReady {
        /// The node whose turn it is.
        node: String,
        /// How long was waited.
        waited: Duration,
        /// What was seen.
        why: Vec<String>,
    },
}

fn quoted(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!("; it said:\n{text}") }
}

impl Stop {
    /// The exit code of the run, if one has ended.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Ended { code, .. } => Some(*code),
            _ => None,
        }
    }
}
