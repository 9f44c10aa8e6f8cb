//! What was typed after the commands that look, and change nothing.

use super::{Place, Wishes, duration};
use clap::ValueEnum;
use fulcrum_steps::check::Check;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, clap::Args)]
#[command(after_help = PLAN_HELP)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) wishes: Wishes,
    /// The longest that the pivot may take before it is undone.
    ///
    /// E.g. 10m. Undoing has no limit.
    #[arg(long, default_value = "10m", value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Duration,
    /// Show static pod against DaemonSet's pod, field by field.
    #[arg(long, conflicts_with = "graph")]
    pub(crate) diff: bool,
    /// Show the steps as a graph instead.
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    pub(crate) graph: Option<Graph>,
    /// Keep the plan in a file, too.
    ///
    /// `fulcrum pivot --plan FILE` carries it out if nothing has changed.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Graph {
    /// For Mermaid: GitHub and others draw it in a block of Markdown.
    Mermaid,
    /// For Graphviz.
    Dot,
    /// A picture, as it is.
    Svg,
}

/// How `plan` is used, and what its exit codes are.
const PLAN_HELP: &str = "\
Exit code 0 if the node is pivoted already, 9 if a pivot would change it, 3 if a
check refuses.

Examples:
  fulcrum plan
  fulcrum plan --diff
  fulcrum plan -o yaml | kubectl diff -f -
  fulcrum plan --graph svg > plan.svg
  fulcrum plan --out p.json && fulcrum pivot --plan p.json";

#[derive(Debug, clap::Args)]
#[command(after_help = PREFLIGHT_HELP)]
pub(crate) struct Preflight {
    #[command(flatten)]
    pub(crate) wishes: Wishes,
    /// Say what a check looks at, why, and what to do; no look at the node.
    #[arg(long, value_name = "NAME")]
    pub(crate) explain: Option<Check>,
}

/// How `preflight` is used, and what its exit codes are.
const PREFLIGHT_HELP: &str = "\
Exit code 0 if a pivot may begin, 3 if a check refuses.

Examples:
  fulcrum preflight
  fulcrum preflight -v    what was seen by checks that passed, too
  fulcrum preflight --ignore-preflight-errors taint,fit
  fulcrum preflight --explain taint";

#[derive(Debug, clap::Args)]
#[command(after_help = STATUS_HELP)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Every control-plane node, as the cluster tells it.
    ///
    /// From nodes, pods, the lock and the roll call. Needs a kubeconfig, and neither root nor a node.
    #[arg(long)]
    pub(crate) cluster: bool,
    /// Look again every 2 s, until Ctrl-C.
    #[arg(short, long)]
    pub(crate) watch: bool,
}

/// How `status` is used.
const STATUS_HELP: &str = "\
Works with the API down, and then says what it could not see. With --cluster the
API must answer.

Examples:
  fulcrum status
  fulcrum status --watch
  fulcrum status --cluster --watch
  fulcrum status -o json | jq .next_certificate";

#[derive(Debug, clap::Args)]
#[command(after_help = DOCTOR_HELP)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) place: Place,
}

/// How `doctor` is used, and what its exit codes are.
const DOCTOR_HELP: &str = "\
Exit code 0 if nothing is broken, though there may be warnings; 10 if something
is. Every question has a time limit: less than 2 s in all with the API up, less
than 5 s with the API down.

Examples:
  fulcrum doctor
  fulcrum doctor -o json | jq '.findings[] | select(.health == \"bad\")'";
