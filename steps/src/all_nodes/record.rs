//! What the cluster keeps of a command for all nodes: key `all_nodes` of ConfigMap `kube-system/fulcrum`.

use super::order::Order;
use super::task::Task;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of this form. New fields do not change it.
pub(super) const FORMAT_VERSION: u32 = 1;

/// How far a command for all nodes has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version of this form.
    pub format_version: u32,
    /// What was asked.
    pub command: Task,
    /// The program that drives.
    pub program: String,
    /// The image of the pods.
    pub image: String,
    /// When the command was begun.
    pub began: Timestamp,
    /// The nodes in turn, without those that were what is wanted already.
    pub order: Vec<String>,
    /// Every node.
    pub nodes: BTreeMap<String, NodeRecord>,
}

/// How far one node has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// In a word.
    pub state: Progress,
    /// Since when.
    pub since: Timestamp,
    /// The exit code of its run, if it has stopped the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
}

/// How far one node has come, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// It was what is wanted before.
    Already,
    /// Its turn has not come.
    Waiting,
    /// Its turn has come.
    Running,
    /// It is what is wanted.
    Done,
    /// The command stopped at it.
    Stopped,
}

impl Record {
    /// The record at the beginning.
    pub(super) fn begun(command: Task, program: &str, image: &str, order: &Order) -> Self {
        let began = Timestamp::now();
        let node = |state| NodeRecord { state, since: began, exit: None };
        let already = order.already.iter().map(|(name, _)| (name.clone(), node(Progress::Already)));
        let waiting = order.todo.iter().map(|name| (name.clone(), node(Progress::Waiting)));
        Self {
            format_version: FORMAT_VERSION,
            command,
            program: program.to_owned(),
            image: image.to_owned(),
            began,
            order: order.todo.clone(),
            nodes: already.chain(waiting).collect(),
        }
    }

    /// Notes how far a node has come.
    pub(super) fn note(&mut self, node: &str, state: Progress, exit: Option<i32>) {
        self.nodes.insert(node.to_owned(), NodeRecord { state, since: Timestamp::now(), exit });
    }
}
