//! Which node comes when. Pure.

use super::look::{NodeIs, NodeSeen};
use super::task::Task;

/// The nodes, in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Those that there is something to do on.
    pub todo: Vec<String>,
    /// Those that are what is wanted, by name.
    pub already: Vec<(String, NodeIs)>,
}

/// A node whose run has the lock is first: the others wait for it. Then those that do not lead: a leader that is moved once,
/// from the last nodes to one that is done, is not moved again. The node on which the command runs is last of those that
/// are up. One that is not starts no pod: the others do not wait for it.
pub fn order(task: Task, nodes: &[NodeSeen]) -> Order {
    let is_already = |node: &&NodeSeen| task.is_done_on(&node.is);
    let (mut already, mut todo): (Vec<&NodeSeen>, Vec<&NodeSeen>) = nodes.iter().partition(is_already);
    already.sort_by_key(|node| &node.name);
    todo.sort_by_key(|node| {
        let waits = !node.has_the_lock();
        (waits, waits && !node.up, waits && node.own, node.leads, &node.name)
    });
    Order {
        todo: todo.into_iter().map(|node| node.name.clone()).collect(),
        already: already.into_iter().map(|node| (node.name.clone(), node.is.clone())).collect(),
    }
}
