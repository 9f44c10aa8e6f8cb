//! What was typed after `fulcrum rehearse`.

use super::HandoverArg;
use clap::ValueEnum;
use fulcrum_simulator::rehearsal::{Story, Version};
use std::path::PathBuf;

/// How `rehearse` is used.
const REHEARSE_HELP: &str = "\
Examples:
  fulcrum rehearse
  fulcrum rehearse --crash everywhere
  fulcrum rehearse --crash switch@effect:kill
  fulcrum rehearse --nodes 3
  fulcrum rehearse --story upgrade";

/// The values of `--crash`.
const CRASH_HELP: &str = "\
WHERE of --crash is `everywhere`, STEP, STEP@WHEN, STEP@WHEN:FAULT or
STEP@WHEN:FAULT:THEN. A part that is left out stands for all its values.
  STEP   a name from the plan, such as `switch` or `await-ready/kube-apiserver`;
         or `signing`, which follows the end of the run
  WHEN   started       the intent is on the disk, the effect has not begun
         effect        the effect is there, its result is not in the journal
         done          the result is on the disk
         undo-started, undo-effect, undo-done: the same points on the way back
         Of `signing`: unsigned, key-made, key-known, signed, and after the way
         back undo-unsigned, undo-signed
  FAULT  kill          SIGKILL of a real process
         reboot        the simulated machine loses its power and boots again
         api           the API server goes away for a while
         partition     with --nodes, in the place of `api`: the machine does not
                       reach the others for a while
  THEN   resume        the run goes on in its direction
         rollback      the run is rolled back
On the way back, after kill and reboot, both values of THEN mean one thing. Only
one is tried then, and only `resume` of `signing`. After a reboot the guard does
THEN, if the run has armed it. A run that completes is rolled back at last.
Every case must end exactly as before. After one of `signing`, the next run's
end must sign everything.
With --nodes, the run on the second node is broken. The first is self-hosted,
the others are static. Clients ask through the balancer and at each node. Only
what the lost node alone could answer may fail, and is counted apart.
With --story upgrade and certs the run after the pivot is broken, with secrets
the pivot itself, and `signing` with none of them. What completes there goes
through a power cut and a rotation before its way back.";

#[derive(Debug, clap::Args)]
#[command(after_help = REHEARSE_HELP, after_long_help = format!("{REHEARSE_HELP}\n\n{CRASH_HELP}"))]
pub(crate) struct Rehearse {
    /// The manifests to copy [default: this node's, else kubeadm's].
    ///
    /// Those in /etc/kubernetes/manifests if they are there and can be read, else what kubeadm writes.
    #[arg(long, value_name = "DIR")]
    pub(crate) manifests_dir: Option<PathBuf>,
    /// Which Kubernetes is simulated, 1.20 to 1.37.
    ///
    /// Without it, what the API server's image says, else 1.35.
    #[arg(long, value_name = "VERSION")]
    pub(crate) kubernetes: Option<Version>,
    /// How the control plane changes hands; the simulated node allows all ways.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) handover: HandoverArg,
    /// How many control-plane nodes are simulated, 1 to 5.
    ///
    /// They are pivoted in turn, as by `pivot --all-nodes`, and brought back.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub(crate) nodes: u8,
    /// What is rehearsed.
    #[arg(long, value_enum, default_value_t)]
    story: StoryArg,
    /// Keep the simulated node's files and the journal.
    ///
    /// Their directory is named.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Break runs at these points, and check how each ends.
    ///
    /// Each run in a simulated cluster of its own.
    #[arg(long, value_name = "WHERE")]
    pub(crate) crash: Option<String>,
    /// How many runs are broken side by side [default: six for each processor, four with --nodes].
    #[arg(long, value_name = "N", requires = "crash", hide_short_help = true)]
    pub(crate) side_by_side: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum StoryArg {
    /// The pivot and the way back.
    #[default]
    Pivot,
    /// After a pivot, another release of Kubernetes, and the way back.
    Upgrade,
    /// After a pivot, kubeadm renews every certificate, and the way back.
    Certs,
    /// A pivot with certificates in Secrets, a power cut, a rotation, and the way back.
    Secrets,
}

impl Rehearse {
    /// What is rehearsed.
    pub(crate) fn story(&self) -> Story {
        match self.story {
            StoryArg::Pivot => Story::Pivot,
            StoryArg::Upgrade => Story::Upgrade,
            StoryArg::Certs => Story::Certs,
            StoryArg::Secrets => Story::Secrets,
        }
    }
}
