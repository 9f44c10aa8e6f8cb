//! What `--all-nodes` shows: the commands for each node, and what happens.

use crate::shell::Shell;
use fulcrum_steps::all_nodes::{Happened, NodeIs, NodeSeen, Order, Task};
use serde::Serialize;
use serde_json::json;
use std::net::IpAddr;

/// The version of what `--print -o json` writes. New fields do not change it.
pub(crate) const NODE_PLAN_VERSION: u32 = 1;

/// What one node is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NodeCommand {
    node: String,
    address: Option<IpAddr>,
    is: String,
    command: Vec<String>,
}

/// The commands, in turn. Where a run is said to be unfinished without the lock, it may be over: so a pivot follows.
pub(crate) fn node_commands(
    task: Task,
    options: &[String],
    seen: &[NodeSeen],
    order: &Order,
) -> Vec<NodeCommand> {
    let seen = order.todo.iter().filter_map(|node| seen.iter().find(|seen| seen.name == *node));
    let of = |seen: &NodeSeen| {
        let tasks: &[Task] = match (task, &seen.is) {
            (Task::Pivot, NodeIs::Unfinished { locked: true, .. }) => &[Task::Resume],
            (Task::Pivot, NodeIs::Unfinished { locked: false, .. }) => &[Task::Resume, Task::Pivot],
            _ => &[task],
        };
        let command = |verb: &Task| {
            let options = if *verb == task { options.to_vec() } else { for_resume(options) };
            NodeCommand {
                node: seen.name.clone(),
                address: seen.address,
                is: seen.is.to_string(),
                command: ["fulcrum", verb.name()].map(str::to_owned).into_iter().chain(options).collect(),
            }
        };
        tasks.iter().map(command).collect::<Vec<_>>()
    };
    seen.flat_map(of).collect()
}

/// Of the options of a pivot, those that its resumption has, too.
pub(crate) fn for_resume(options: &[String]) -> Vec<String> {
    let at = options.iter().position(|word| word == "--state-dir");
    let state_dir = at.map(|at| options[at..].iter().take(2).cloned().collect::<Vec<_>>());
    std::iter::once("--yes".to_owned()).chain(state_dir.into_iter().flatten()).collect()
}

impl NodeCommand {
    /// A line for a shell.
    pub(crate) fn ssh(&self) -> String {
        let words: Vec<String> = self.command.iter().map(|word| quoted(word)).collect();
        format!("ssh {} {}", quoted(&self.node), quoted(&format!("sudo {}", words.join(" "))))
    }
}

/// One word of a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Says what happens, in words and to programs.
pub(crate) fn happened(what: Happened<'_>, shell: &Shell) {
    if shell.json()
        && let Some(data) = data(what)
    {
        shell.data_json(&data);
    }
    match what {
        Happened::Ordered(order) => {
            for (node, is) in &order.already {
                shell.talk(format_args!("{node}: nothing to do, it is {is}"));
            }
            if !order.todo.is_empty() {
                shell.talk(format_args!("in turn: {}", order.todo.join(", ")));
            }
        }
        Happened::NotKept(error) => {
            shell.talk(format_args!("the cluster does not keep how far this has come: {error}"));
        }
        Happened::WaitsForGuard(node, is) => {
            shell.talk(format_args!("waits for the guard of {node} to bring the node back: {is}"));
        }
        Happened::WaitsForServers(unready) => {
            shell.talk(format_args!("waits for every API server to be ready: {}", unready.join("; ")));
        }
        Happened::Settles(time) => {
            shell.talk(format_args!("every API server is ready; waits {time:?}, for balancers to notice"));
        }
        Happened::Begun(node) => shell.talk(format_args!("{node}: begins")),
        Happened::Adopted(node) => {
            shell.talk(format_args!("{node}: the pod of an earlier command is at work, and is watched"));
        }
        Happened::Pending(node, why) => shell.talk(format_args!("{node}: waits for its pod: {why}")),
        Happened::NotThereYet(node, is) => {
            shell.talk(format_args!(
                "{node}: its command has ended; waits until the cluster tells of it ({is})"
            ));
        }
        Happened::Done(node, took) => {
            shell.talk(format_args!("{node}: done after {:.1} s", took.as_secs_f64()));
        }
    }
}

fn data(what: Happened<'_>) -> Option<serde_json::Value> {
    Some(match what {
        Happened::Ordered(order) => {
            let already: Vec<&String> = order.already.iter().map(|(node, _)| node).collect();
            json!({ "event": "order", "nodes": order.todo, "already": already })
        }
        Happened::Begun(node) => json!({ "event": "node", "node": node, "state": "running" }),
        Happened::Done(node, took) => {
            json!({ "event": "node", "node": node, "state": "done", "seconds": took.as_secs_f64() })
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_gets_a_line_for_a_shell() {
        let seen = |name: &str, is| NodeSeen {
            name: name.into(),
            address: None,
            is,
            up: true,
            leads: false,
            own: false,
        };
        let unfinished = |locked| NodeIs::Unfinished { run: "r".into(), locked };
        let nodes = [seen("cp1", unfinished(false)), seen("cp2", unfinished(true))];
        let order = Order { todo: vec!["cp2".into(), "cp1".into()], already: Vec::new() };
        let options = ["--yes", "--state-dir", "/srv/a b", "--handover", "steer"].map(str::to_owned);
        let commands = node_commands(Task::Pivot, &options, &nodes, &order);
        let lines: Vec<String> = commands.iter().map(NodeCommand::ssh).collect();
        assert_eq!(
            lines,
            [
                r"ssh cp2 'sudo fulcrum resume --yes --state-dir '\''/srv/a b'\'''",
                r"ssh cp1 'sudo fulcrum resume --yes --state-dir '\''/srv/a b'\'''",
                r"ssh cp1 'sudo fulcrum pivot --yes --state-dir '\''/srv/a b'\'' --handover steer'",
            ]
        );
    }
}
