//! What was typed. No look at the world.

mod adopt;
mod all_nodes;
mod certs;
mod change;
mod convert;
mod edit;
mod examples;
mod guard;
mod history;
mod look;
#[cfg(test)]
mod pages;
mod rehearse;
mod upgrade;

pub(crate) use adopt::Adopt;
pub(crate) use all_nodes::{AllNodes, OnHost};
pub(crate) use certs::{Certs, CertsCommand, Renew};
pub(crate) use change::Pace;
pub(crate) use edit::Edit;
pub(crate) use guard::{Guard, GuardCommand, GuardPace};
pub(crate) use history::{Export, History, HistoryCommand, ImportCheck, Prune};
pub(crate) use look::{Doctor, Graph, Plan, Preflight, Status};
pub(crate) use upgrade::{EtcdRelease, Release, Upgrade, UpgradeCommand};

pub(crate) use rehearse::Rehearse;

use crate::exit::EXIT_CODES;
use crate::story;
use clap::{Parser, Subcommand, ValueEnum};
use fulcrum_engine::state::Timestamp;
use std::path::PathBuf;
use std::time::Duration;

/// Pivots a Kubernetes control plane from static pods to self-hosted DaemonSets, and back.
///
/// After a kill, a power cut or an API server that is down, `fulcrum resume` goes on with the run, and
/// `fulcrum rollback` undoes it.
#[derive(Debug, Parser)]
#[command(
    version,
    disable_help_flag = true,
    max_term_width = 100,
    after_help = examples::program(examples::WHERE_THE_REST_IS),
    after_long_help = examples::program(EXIT_CODES)
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The directory of the journal and of the archived manifests.
    #[arg(
        long,
        env = "FULCRUM_STATE_DIR",
        default_value = "/var/lib/fulcrum",
        global = true,
        value_name = "DIR"
    )]
    pub(crate) state_dir: PathBuf,
    /// What stdout has: words, JSON, a JSON object a line, or YAML.
    ///
    /// YAML is for `plan` and `--print`. JSON is one object a line while a run goes on. jsonl is that also for `history`.
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub(crate) output: Output,
    /// How the log on stderr is written.
    #[arg(long, value_enum, default_value_t, global = true, hide_short_help = true)]
    pub(crate) log_format: LogFormat,
    /// Say more on stderr: -v what steps wait for, -vv API calls, -vvv all.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// Print this page; `fulcrum help COMMAND` has everything.
    #[arg(short, long, action = clap::ArgAction::HelpShort, global = true)]
    pub(crate) help: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Output {
    #[default]
    Text,
    Json,
    Jsonl,
    Yaml,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Move the control plane from static pods to DaemonSets.
    ///
    /// This node's; with --all-nodes, every node's.
    #[command(after_help = examples::PIVOT)]
    Pivot(Pivot),
    /// Say what a pivot would do, how it is undone, what it costs.
    ///
    /// Changes nothing.
    Plan(Plan),
    /// Make every check that a pivot begins with.
    ///
    /// Says what each has found. Changes nothing.
    Preflight(Preflight),
    /// Go on with an unfinished run.
    ///
    /// It goes on in the direction in which it was going.
    #[command(after_help = examples::RESUME)]
    Resume(Resume),
    /// Undo a run, finished or not, with the API up or down.
    ///
    /// Of a pivot: bring back the static pods, byte for byte.
    #[command(after_help = examples::ROLLBACK)]
    Rollback(Rollback),
    /// Take over a control plane that others have self-hosted.
    ///
    /// Or one whose journal was lost.
    Adopt(Adopt),
    /// Give a self-hosted component other flags.
    ///
    /// The roll-out is watched, and taken back if the component does not serve.
    Edit(Edit),
    /// Give a self-hosted control plane another release.
    ///
    /// It is taken back if it does not serve.
    Upgrade(Upgrade),
    /// Watch the control plane, and bring it back after a boot.
    ///
    /// systemd runs this as a daemon.
    #[command(after_help = examples::GUARD)]
    Guard(Guard),
    /// Say how the control plane runs, and how the last run stands.
    Status(Status),
    /// Say what is wrong, and which command puts it right.
    ///
    /// Changes nothing.
    Doctor(Doctor),
    /// Say when certificates end and who uses them; renew them.
    #[command(after_help = examples::CERTS)]
    Certs(Certs),
    /// Show, and prove, what was done.
    ///
    /// A run a paragraph, one run's steps, its changes; as a page, a trace or JSON.
    History(History),
    /// Pivot a simulated cluster and roll back, in seconds.
    ///
    /// Without root and without network. The steps are the real ones. They work on copies of this node's manifests, or
    /// on what kubeadm writes. The rehearsal touches nothing real and leaves nothing behind.
    Rehearse(Rehearse),
    /// Write the completions for a shell to stdout.
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell.
        #[arg(value_name = "SHELL")]
        for_shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory: for packages.
    #[command(hide = true)]
    ManPages {
        /// The directory, which must be there.
        dir: PathBuf,
    },
    /// What the pods of --all-nodes run.
    #[command(hide = true)]
    OnHost(OnHost),
    /// What `rehearse --crash` breaks: works on its parent's simulated cluster.
    #[command(hide = true)]
    RehearsalChild { orders: String },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Pivot {
    #[command(flatten)]
    pub(crate) wishes: Wishes,
    /// The longest that the pivot may take before it is undone.
    ///
    /// E.g. 10m. Undoing has no limit.
    #[arg(long, default_value = "10m", value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Duration,
    /// Make every check, show plan and DaemonSets, change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Carry out the plan that `fulcrum plan --out` has written.
    ///
    /// With its options; it is refused if anything has changed since.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["manifests_dir", "node_name", "handover", "soak", "max_latency", "no_guard",
            "on_reboot", "store_certs_in_secrets", "ignore_preflight_errors", "timeout", "dry_run"]
    )]
    pub(crate) plan: Option<PathBuf>,
    /// Pause after this step is done.
    ///
    /// Can be given several times.
    #[arg(long, value_name = "STEP", hide_short_help = true)]
    pub(crate) pause_after: Vec<String>,
    /// Ask before each cut. A no pauses the run there.
    #[arg(long, conflicts_with = "pause_after")]
    pub(crate) step_by_step: bool,
    #[command(flatten)]
    pub(crate) consent: Consent,
    #[command(flatten)]
    pub(crate) all: AllNodes,
}

/// What is to be pivoted, and how.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Wishes {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The node's name in the cluster [default: the cluster is asked].
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub(crate) node_name: Option<String>,
    /// How the control plane changes hands.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) handover: HandoverArg,
    /// How long the new API server is watched after the switch (steer), while the old one could still take
    /// over; never less than 2s.
    #[arg(long, default_value = "2s", value_parser = duration, value_name = "TIME", hide_short_help = true)]
    pub(crate) soak: Duration,
    /// Undo the pivot if an answer of the new API server is slower.
    ///
    /// While it is watched after the switch (steer).
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) max_latency: Option<Duration>,
    /// Do not install the guard. After a reboot nothing then brings the control plane back: roll back before each
    /// reboot.
    #[arg(long, hide_short_help = true)]
    pub(crate) no_guard: bool,
    /// What the guard does with this run if a reboot cuts it in half.
    #[arg(long, value_enum, default_value = "resume", conflicts_with = "no_guard", hide_short_help = true)]
    pub(crate) on_reboot: OnRebootArg,
    /// Keep certificates and kubeconfigs in Secrets.
    ///
    /// The DaemonSets get them from there, not from files of this host. For a cluster with one control-plane node.
    #[arg(short, long)]
    pub(crate) store_certs_in_secrets: bool,
    /// Checks whose refusals become warnings, e.g. taint,fit.
    ///
    /// Or all. Those that protect data or the cluster cannot be ignored: `fulcrum preflight` says which can.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(crate) ignore_preflight_errors: Vec<String>,
    #[command(flatten)]
    pub(crate) lock: LockArg,
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct LockArg {
    /// Take the lock on the cluster's control plane from the run of another node: nobody will ever go on with that
    /// run. Without this, the run waits for the other one to end.
    #[arg(long, hide_short_help = true)]
    pub(crate) take_lock: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Resume {
    /// The run's id, or the beginning of its id [default: the last run].
    pub(crate) run: Option<String>,
    /// Pause after this step is done.
    ///
    /// Can be given several times.
    #[arg(long, value_name = "STEP", hide_short_help = true)]
    pub(crate) pause_after: Vec<String>,
    /// Ask before each cut. A no pauses the run there.
    #[arg(long, conflicts_with = "pause_after")]
    pub(crate) step_by_step: bool,
    /// The kubeconfig [default: the one that the run was started with].
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) lock: LockArg,
    #[command(flatten)]
    pub(crate) consent: Consent,
    #[command(flatten)]
    pub(crate) all: AllNodes,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Rollback {
    /// The run's id, or its beginning [default: the last pivot].
    ///
    /// Without it the static pods come back, and what came after the pivot goes with it. An edit, an upgrade or a renewal
    /// alone is taken back by its id, which `fulcrum history` has.
    pub(crate) run: Option<String>,
    /// The kubeconfig [default: the one that the run was started with].
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Add --permit-port-sharing=true to the manifests that come back.
    ///
    /// Such static pods share their ports, so that connections are steered to them, without a bridge. The files are
    /// then not exactly what was there. For a rollback that has begun this cannot be chosen.
    #[arg(long)]
    pub(crate) keep_port_sharing: bool,
    /// Bring the release from before an upgrade back although the upgrade is finalized, or kubelets are newer. An older
    /// API server may not be able to read what the newer one has stored.
    #[arg(long, hide_short_help = true)]
    pub(crate) allow_downgrade: bool,
    /// Pause the rollback if it takes longer than this [default: no limit].
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) lock: LockArg,
    #[command(flatten)]
    pub(crate) consent: Consent,
    #[command(flatten)]
    pub(crate) all: AllNodes,
}

/// Which cluster and which directory.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Place {
    /// The kubeconfig of a cluster administrator.
    #[arg(long, env = "KUBECONFIG", default_value = "/etc/kubernetes/admin.conf", value_name = "FILE")]
    pub(crate) kubeconfig: PathBuf,
    /// Where the kubelet looks for static pods (its staticPodPath).
    #[arg(long, default_value = "/etc/kubernetes/manifests", value_name = "DIR", hide_short_help = true)]
    pub(crate) manifests_dir: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Consent {
    /// Do not ask.
    #[arg(short, long, visible_short_alias = 'f', visible_alias = "force")]
    pub(crate) yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum HandoverArg {
    /// The first of the following that the node allows; the plan says which, and why.
    #[default]
    Auto,
    /// Both servers share the live port, and the kernel steers new connections. No restart.
    Steer,
    /// As restart, while a third API server on another port takes new connections.
    Bridge,
    /// Each static pod is restarted once, to share its port. Works on every node.
    Restart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnRebootArg {
    /// The run goes on in the direction in which it was going.
    Resume,
    /// The run is undone.
    Rollback,
}

impl Args {
    /// Ends the program, as clap does, if an option does not fit the command.
    pub(crate) fn refuse_what_does_not_fit(&self) {
        let words = match (&self.command, self.global.output) {
            (Command::Plan(_), Output::Yaml) => None,
            (command, Output::Yaml) if command.all_nodes().is_some_and(|all| all.print) => None,
            (_, Output::Yaml) => {
                Some("only `fulcrum plan`, and --all-nodes with --print, write YAML".to_owned())
            }
            _ => self.for_one_node().map(|name| format!("{name} is about one node; leave --all-nodes away")),
        };
        if let Some(words) = words {
            let mut command = <Self as clap::CommandFactory>::command();
            command.error(clap::error::ErrorKind::ArgumentConflict, words).exit();
        }
    }
}

/// The command and those below it that people see.
pub(crate) fn visible(command: &clap::Command) -> Vec<clap::Command> {
    let below = command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help");
    std::iter::once(command.clone()).chain(below.flat_map(visible)).collect()
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration =
        text.parse().map_err(|error| format!("{error}; write e.g. 90s or 10m"))?;
    Duration::try_from(parsed).map_err(|error| error.to_string())
}

fn since(text: &str) -> Result<Timestamp, String> {
    story::since(text, &jiff::Zoned::now())
}

#[cfg(test)]
mod tests;
