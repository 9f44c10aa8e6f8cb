//! `--all-nodes` of `pivot`, `rollback` and `resume`. `fulcrum_steps::all_nodes` drives; this asks, prints and says.

use super::carry_on::signals;
use super::preflight::ignored;
use crate::args::{AllNodes, Global, Output, Pivot, Resume, Rollback};
use crate::env::{PROGRAM, access};
use crate::exit::{Exit, Failure};
use crate::render::{NODE_PLAN_VERSION, happened, node_commands};
use crate::shell::Shell;
use fulcrum_steps::all_nodes::{
    Driver, Happened, InCluster, Limits, NodeSeen, Nodes, Order, Own, POD_DEADLINE, Stop, Task, order,
};
use fulcrum_steps::check::Check;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the driver looks again: a pod's end is not urgent.
const POLL: Duration = Duration::from_secs(1);
/// How long API, pods and servers are given, each.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the guard of a node may take that has just booted: the pods of its DaemonSets take minutes at worst.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(300);
/// How long the last look may take, which only says what each node is.
const LAST_LOOK: Duration = Duration::from_secs(20);

/// What is asked.
struct Asked<'a> {
    task: Task,
    options: Vec<String>,
    all: &'a AllNodes,
    kubeconfig: PathBuf,
    yes: bool,
    /// Whether the check `api-servers` is ignored.
    without_down: bool,
}

pub(super) async fn pivot(global: &Global, args: &Pivot, shell: &Shell) -> Result<Exit, Failure> {
    let (options, kubeconfig) = (args.on_each_node(&global.state_dir), args.wishes.place.kubeconfig.clone());
    let (task, all, yes) = (Task::Pivot, &args.all, args.consent.yes);
    let without_down = ignored(&args.wishes)?.has(Check::ApiServers);
    all_nodes(&Asked { task, options, all, kubeconfig, yes, without_down }, shell).await
}

pub(super) async fn rollback(global: &Global, args: &Rollback, shell: &Shell) -> Result<Exit, Failure> {
    let (options, kubeconfig) = (args.on_each_node(&global.state_dir), usual(args.kubeconfig.as_deref()));
    let (task, all, yes) = (Task::Rollback, &args.all, args.consent.yes);
    all_nodes(&Asked { task, options, all, kubeconfig, yes, without_down: false }, shell).await
}

pub(super) async fn resume(global: &Global, args: &Resume, shell: &Shell) -> Result<Exit, Failure> {
    let (options, kubeconfig) = (Resume::on_each_node(&global.state_dir), usual(args.kubeconfig.as_deref()));
    let (task, all, yes) = (Task::Resume, &args.all, args.consent.yes);
    all_nodes(&Asked { task, options, all, kubeconfig, yes, without_down: false }, shell).await
}

/// No run is meant whose kubeconfig could be taken.
fn usual(said: Option<&Path>) -> PathBuf {
    let named = said.map(Path::to_owned).or_else(|| std::env::var_os("KUBECONFIG").map(PathBuf::from));
    named.unwrap_or_else(|| "/etc/kubernetes/admin.conf".into())
}

async fn all_nodes(asked: &Asked<'_>, shell: &Shell) -> Result<Exit, Failure> {
    let (access, host) = access(&asked.kubeconfig).await?;
    let nodes = InCluster {
        cluster: access.cluster,
        host,
        own: own(),
        task: asked.task,
        image: asked.all.image.clone(),
        options: asked.options.clone(),
    };
    let seen = nodes.look().await.map_err(|error| Failure::new(Exit::Refused, error))?;
    let order = order(asked.task, &seen);
    if seen.is_empty() {
        return Err(Failure::new(Exit::Refused, Stop::NoNodes));
    }
    if asked.all.print {
        print(asked, &nodes, &seen, &order, shell)?;
        return Ok(Exit::Done);
    }
    if !asked.yes && !order.todo.is_empty() {
        happened(Happened::Ordered(&order), shell);
        shell.confirm(&format!("`fulcrum {}` on {}, in turn?", asked.task, order.todo.join(", ")))?;
    }
    let limits = Limits {
        poll: POLL,
        api: PATIENCE,
        pod: PATIENCE,
        run: POD_DEADLINE + PATIENCE,
        guard: COMES_BACK_WITHIN,
        ready: PATIENCE,
        settle: asked.all.settle,
    };
    let say = |what: Happened<'_>| happened(what, shell);
    let driver = Driver {
        nodes: &nodes,
        task: asked.task,
        program: PROGRAM,
        image: &asked.all.image,
        without_down: asked.without_down,
        limits,
        say: &say,
    };
    let [mut interrupt, mut terminate, _] = signals()?;
    let stopped = tokio::select! {
        ended = driver.drive() => ended.err(),
        _ = interrupt.recv() => return Ok(interrupted(asked.task, shell)),
        _ = terminate.recv() => return Ok(interrupted(asked.task, shell)),
    };
    conclude(asked.task, stopped, &nodes, shell).await
}

fn interrupted(task: Task, shell: &Shell) -> Exit {
    shell.talk(format_args!(
        "the run that was started on a node goes on there; `fulcrum {task} --all-nodes` watches it, and goes on"
    ));
    Exit::Interrupted
}

/// Says how the command ended, and if it stopped, which node is what and how to go on.
async fn conclude(
    task: Task,
    stopped: Option<Stop>,
    nodes: &InCluster,
    shell: &Shell,
) -> Result<Exit, Failure> {
    let exit = stopped.as_ref().map_or(Exit::Done, exit_of);
    let Some(stop) = stopped else {
        if shell.json() {
            shell.data_json(&json!({ "event": "finished", "outcome": "completed", "exit": exit as u8 }));
        }
        shell.talk(format_args!("`fulcrum {task}`: done on all nodes"));
        return Ok(exit);
    };
    shell.talk(&stop);
    let mut now = serde_json::Map::new();
    match tokio::time::timeout(LAST_LOOK, nodes.look()).await {
        Ok(Ok(seen)) => {
            for node in seen {
                shell.talk(format_args!("{}: {}", node.name, node.is));
                now.insert(node.name, node.is.to_string().into());
            }
        }
        Ok(Err(error)) => shell.talk(format_args!("what each node is could not be seen: {error}")),
        Err(_) => shell.talk(format_args!("what each node is could not be seen within {LAST_LOOK:?}")),
    }
    let back = match task {
        Task::Pivot => "; `fulcrum rollback --all-nodes` takes back what was done",
        Task::Rollback | Task::Resume => "",
    };
    shell.talk(format_args!(
        "settle what the message names; then `fulcrum {task} --all-nodes` goes on with the nodes that are left{back}"
    ));
    if shell.json() {
        let (exit, why) = (exit as u8, stop.to_string());
        shell.data_json(&json!({
            "event": "finished", "outcome": "stopped", "exit": exit, "reason": why, "nodes": now
        }));
    }
    Ok(exit)
}

/// The exit code: that of the run at which the command stopped.
fn exit_of(stop: &Stop) -> Exit {
    match stop {
        Stop::NoNodes => Exit::Refused,
        Stop::Busy { .. } | Stop::Lost { .. } => Exit::Unfinished,
        Stop::Ended { code, .. } => Exit::of(*code).unwrap_or(Exit::Other),
        Stop::Api(_)
        | Stop::NotStarted { .. }
        | Stop::NotThere { .. }
        | Stop::NotBack { .. }
        | Stop::NotReady { .. } => Exit::Other,
    }
}

/// What would be done, as commands, as data, or as pods.
fn print(
    asked: &Asked<'_>,
    nodes: &InCluster,
    seen: &[NodeSeen],
    order: &Order,
    shell: &Shell,
) -> Result<(), Failure> {
    let commands = node_commands(asked.task, &asked.options, seen, order);
    match shell.output {
        Output::Yaml => {
            for node in &order.todo {
                let yaml = serde_saphyr::to_string(&nodes.manifest(node));
                let yaml = yaml.map_err(|error| Failure::new(Exit::Other, error))?;
                shell.data(format_args!("---\n{}", yaml.trim_end()));
            }
        }
        Output::Json | Output::Jsonl => shell.data_json(&json!({
            "format_version": NODE_PLAN_VERSION,
            "command": asked.task,
            "settle_seconds": asked.all.settle.as_secs_f64(),
            "already": order.already.iter().map(|(node, _)| node).collect::<Vec<_>>(),
            "nodes": commands,
        })),
        Output::Text => {
            shell.data(format_args!(
                "# `fulcrum {} --all-nodes`, for sh: ends at the first that fails.",
                asked.task
            ));
            for (node, is) in &order.already {
                shell.data(format_args!("# {node}: nothing to do, it is {is}"));
            }
            shell.data("set -e");
            for (number, command) in commands.iter().enumerate() {
                if number > 0 {
                    shell.data(format_args!("sleep {}", asked.all.settle.as_secs_f64()));
                }
                shell.data(command.ssh());
            }
        }
    }
    Ok(())
}

/// What tells the node on which this process runs. Elsewhere neither is a node's.
fn own() -> Own {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    Own { machine_id: read("/etc/machine-id"), hostname: read("/proc/sys/kernel/hostname") }
}
