//! The options of a command for all nodes, and what each node is told of the others.

use super::{Args, Command, HandoverArg, OnRebootArg, Pivot, Resume, Rollback, duration};
use fulcrum_steps::all_nodes::Task;
use std::path::Path;
use std::time::Duration;

/// The image that `packaging/build` makes of this version.
pub(crate) const IMAGE: &str = concat!("docker.io/library/fulcrum:", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "All nodes")]
pub(crate) struct AllNodes {
    /// Do this on every control-plane node, one after the other.
    ///
    /// A pod on each starts the node's own run and watches it. Stops at the first node that fails; the same command
    /// goes on.
    #[arg(long)]
    pub(crate) all_nodes: bool,
    /// Print what would be done on each node, and change nothing.
    ///
    /// As commands; with -o yaml, the pods.
    #[arg(long, requires = "all_nodes")]
    pub(crate) print: bool,
    /// The pause between two nodes, after every API server is ready: a balancer notices meanwhile.
    #[arg(long, requires = "all_nodes", default_value = "10s", value_parser = duration, value_name = "TIME",
        hide_short_help = true)]
    pub(crate) settle: Duration,
    /// The image of the pods: the static program alone, which `packaging/build` makes. Each node must have it, or get
    /// it from a registry.
    #[arg(long, requires = "all_nodes", default_value = IMAGE, value_name = "REF", hide_short_help = true)]
    pub(crate) image: String,
}

impl AllNodes {
    /// This node alone.
    pub(crate) fn none() -> Self {
        Self { all_nodes: false, print: false, settle: Duration::ZERO, image: String::new() }
    }
}

/// What the pod of such a command runs: starts the run on the pod's host, and watches it.
#[derive(Debug, clap::Args)]
pub(crate) struct OnHost {
    #[arg(value_parser = task)]
    pub(crate) task: Task,
    /// The options of the command on the host.
    #[arg(last = true)]
    pub(crate) options: Vec<String>,
}

fn task(text: &str) -> Result<Task, String> {
    let found = Task::ALL.into_iter().find(|task| task.name() == text);
    found.ok_or_else(|| format!("one of {}", Task::ALL.map(Task::name).join(", ")))
}

/// Options for the command on each node. Left out is what it does anyway.
struct Options(Vec<String>);

impl Options {
    /// Every node answers for itself that nobody is asked.
    fn new(state_dir: &Path) -> Self {
        let mut options = Self(vec!["--yes".to_owned()]);
        options.value("--state-dir", &state_dir.display().to_string(), "/var/lib/fulcrum");
        options
    }

    fn flag(&mut self, name: &str, is_set: bool) {
        self.0.extend(is_set.then(|| name.to_owned()));
    }

    fn value(&mut self, name: &str, value: &str, default: &str) {
        if value != default {
            self.0.extend([name.to_owned(), value.to_owned()]);
        }
    }

    fn time(&mut self, name: &str, value: Duration, default: Duration) {
        if value != default {
            self.0.extend([name.to_owned(), format!("{}ms", value.as_millis())]);
        }
    }
}

impl Args {
    /// The option that means one node, if it is given with --all-nodes.
    pub(super) fn for_one_node(&self) -> Option<&'static str> {
        match &self.command {
            Command::Pivot(pivot) => pivot.for_one_node(),
            Command::Resume(resume) => resume.for_one_node(),
            Command::Rollback(rollback) => rollback.for_one_node(),
            _ => None,
        }
    }
}

impl Command {
    /// The options about all nodes, of a command that has them.
    pub(super) fn all_nodes(&self) -> Option<&AllNodes> {
        match self {
            Self::Pivot(pivot) => Some(&pivot.all),
            Self::Resume(resume) => Some(&resume.all),
            Self::Rollback(rollback) => Some(&rollback.all),
            _ => None,
        }
    }
}

impl Pivot {
    /// What each node is told.
    pub(crate) fn on_each_node(&self, state_dir: &Path) -> Vec<String> {
        let (wishes, mut options) = (&self.wishes, Options::new(state_dir));
        let manifests = wishes.place.manifests_dir.display().to_string();
        options.value("--manifests-dir", &manifests, "/etc/kubernetes/manifests");
        let handover = match wishes.handover {
            HandoverArg::Auto => "auto",
            HandoverArg::Steer => "steer",
            HandoverArg::Bridge => "bridge",
            HandoverArg::Restart => "restart",
        };
        options.value("--handover", handover, "auto");
        options.time("--soak", wishes.soak, Duration::from_secs(2));
        options.time("--max-latency", wishes.max_latency.unwrap_or_default(), Duration::ZERO);
        options.flag("--no-guard", wishes.no_guard);
        options.flag("--on-reboot=rollback", wishes.on_reboot == OnRebootArg::Rollback);
        options.value("--ignore-preflight-errors", &wishes.ignore_preflight_errors.join(","), "");
        options.time("--timeout", self.timeout, Duration::from_secs(600));
        options.0
    }

    /// The option that means one node, if it is given with --all-nodes.
    pub(crate) fn for_one_node(&self) -> Option<&'static str> {
        let wishes = &self.wishes;
        [
            (wishes.node_name.is_some(), "--node-name"),
            (wishes.store_certs_in_secrets, "--store-certs-in-secrets"),
            (wishes.lock.take_lock, "--take-lock"),
            (self.dry_run, "--dry-run (see --print)"),
            (self.plan.is_some(), "--plan"),
            (!self.pause_after.is_empty(), "--pause-after"),
            (self.step_by_step, "--step-by-step"),
        ]
        .into_iter()
        .find_map(|(given, name)| (self.all.all_nodes && given).then_some(name))
    }
}

impl Rollback {
    /// What each node is told.
    pub(crate) fn on_each_node(&self, state_dir: &Path) -> Vec<String> {
        let mut options = Options::new(state_dir);
        options.flag("--keep-port-sharing", self.keep_port_sharing);
        options.flag("--allow-downgrade", self.allow_downgrade);
        options.time("--timeout", self.timeout.unwrap_or_default(), Duration::ZERO);
        options.0
    }

    /// The option that means one node, if it is given with --all-nodes.
    pub(crate) fn for_one_node(&self) -> Option<&'static str> {
        [(self.run.is_some(), "a run's id"), (self.lock.take_lock, "--take-lock")]
            .into_iter()
            .find_map(|(given, name)| (self.all.all_nodes && given).then_some(name))
    }
}

impl Resume {
    /// What each node is told.
    pub(crate) fn on_each_node(state_dir: &Path) -> Vec<String> {
        Options::new(state_dir).0
    }

    /// The option that means one node, if it is given with --all-nodes.
    pub(crate) fn for_one_node(&self) -> Option<&'static str> {
        [
            (self.run.is_some(), "a run's id"),
            (self.lock.take_lock, "--take-lock"),
            (!self.pause_after.is_empty(), "--pause-after"),
            (self.step_by_step, "--step-by-step"),
        ]
        .into_iter()
        .find_map(|(given, name)| (self.all.all_nodes && given).then_some(name))
    }
}

#[cfg(test)]
mod tests {
    use crate::args::{Args, Command};
    use clap::Parser;

    fn parsed(line: &str) -> Args {
        Args::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn told(args: &Args) -> Vec<String> {
        match &args.command {
            Command::Pivot(pivot) => pivot.on_each_node(&args.global.state_dir),
            Command::Rollback(rollback) => rollback.on_each_node(&args.global.state_dir),
            other => panic!("{other:?}"),
        }
    }

    /// What a node is told means there what it meant here.
    #[test]
    fn each_node_is_told_what_was_asked() {
        for (line, expected) in [
            ("fulcrum pivot --all-nodes", "--yes"),
            ("fulcrum pivot --all-nodes --settle 30s --image here/fulcrum:1 --kubeconfig mine", "--yes"),
            (
                "fulcrum pivot --all-nodes --state-dir /srv/f --handover bridge --soak 2500ms --max-latency 1s \
                 --on-reboot rollback --ignore-preflight-errors taint,fit --timeout 20m --manifests-dir /m",
                "--yes --state-dir /srv/f --manifests-dir /m --handover bridge --soak 2500ms --max-latency 1000ms \
                 --on-reboot=rollback --ignore-preflight-errors taint,fit --timeout 1200000ms",
            ),
            ("fulcrum pivot --all-nodes --no-guard", "--yes --no-guard"),
            (
                "fulcrum rollback --all-nodes --keep-port-sharing --allow-downgrade --timeout 90s",
                "--yes --keep-port-sharing --allow-downgrade --timeout 90000ms",
            ),
        ] {
            let args = parsed(line);
            let options = told(&args);
            assert_eq!(options.join(" "), expected, "{line}");
            let verb = line.split(' ').nth(1).unwrap();
            let there = parsed(&format!("fulcrum {verb} {}", options.join(" ")));
            assert_eq!(told(&there), options, "{line}: told on, it is the same");
        }
    }

    #[test]
    fn what_means_one_node_does_not_go_with_all() {
        for (line, expected) in [
            ("fulcrum pivot --all-nodes --node-name a", Some("--node-name")),
            ("fulcrum pivot --all-nodes --take-lock", Some("--take-lock")),
            ("fulcrum pivot --all-nodes --plan f", Some("--plan")),
            ("fulcrum pivot --take-lock", None),
            ("fulcrum rollback --all-nodes 0a1b", Some("a run's id")),
            ("fulcrum resume --all-nodes --pause-after switch", Some("--pause-after")),
            ("fulcrum pivot --all-nodes --step-by-step", Some("--step-by-step")),
            ("fulcrum resume --all-nodes --step-by-step", Some("--step-by-step")),
            ("fulcrum resume --all-nodes", None),
        ] {
            assert_eq!(parsed(line).for_one_node(), expected, "{line}");
        }
        for line in ["fulcrum pivot --print", "fulcrum rollback --settle 1s", "fulcrum resume --image x"] {
            assert!(Args::try_parse_from(line.split(' ')).is_err(), "{line} is about all nodes");
        }
    }
}
