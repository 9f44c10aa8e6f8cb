//! How each command is used: the end of its help. The lines stand as they are written, so each fits 80 columns.

/// Of the program: what it ends with, too.
pub(super) fn program(end: &str) -> String {
    format!("{PROGRAM}\n\n{end}")
}

/// The end of the short help.
pub(super) const WHERE_THE_REST_IS: &str =
    "Exit codes, and all options: `fulcrum help`, `fulcrum help pivot`";

const PROGRAM: &str = "\
Examples:
  fulcrum rehearse       a simulated cluster: safe everywhere
  fulcrum preflight      may this node be pivoted?
  fulcrum pivot          asks, then does it
  fulcrum rollback       the static pods come back";

pub(super) const PIVOT: &str = "\
Examples:
  fulcrum pivot --dry-run
  fulcrum pivot                         shows what comes, asks, then does it
  fulcrum pivot --step-by-step          asks again before each cut
  fulcrum pivot --all-nodes --print     what would be done, node by node
  fulcrum pivot --all-nodes             from anywhere; run again, it goes on";

pub(super) const RESUME: &str = "\
Examples:
  fulcrum resume
  fulcrum resume --all-nodes";

pub(super) const ROLLBACK: &str = "\
Examples:
  fulcrum rollback                   the pivot: the static pods come back
  fulcrum rollback 019f8a            a run of `fulcrum history`, as an edit
  fulcrum rollback --all-nodes";

pub(super) const GUARD: &str = "\
Examples:
  fulcrum guard status
  fulcrum guard install --patience 60s
  journalctl -u fulcrum-guard";

pub(super) const GUARD_INSTALL: &str = "\
Examples:
  fulcrum guard install
  fulcrum guard install --patience 60s --roll-certificates";

pub(super) const GUARD_UNINSTALL: &str = "\
Examples:
  fulcrum guard uninstall";

pub(super) const GUARD_STATUS: &str = "\
Examples:
  fulcrum guard status
  fulcrum guard status -o json";

pub(super) const GUARD_HAND_OVER: &str = "\
Examples:
  fulcrum guard hand-over";

pub(super) const CERTS: &str = "\
Examples:
  fulcrum certs check
  fulcrum certs renew --dry-run";

pub(super) const COMPLETIONS: &str = "\
Examples:
  fulcrum completions bash > /usr/share/bash-completion/completions/fulcrum";

pub(super) const PRUNE: &str = "\
Examples:
  fulcrum history prune --keep 20";

pub(super) const CHECKPOINT: &str = "\
Examples:
  fulcrum history checkpoint > cp1.checkpoint
  fulcrum history --verify --checkpoint cp1.checkpoint";

pub(super) const EXPORT: &str = "\
Examples:
  fulcrum history export evidence/
  fulcrum history export evidence/ 019f8a";

pub(super) const IMPORT_CHECK: &str = "\
Examples:
  fulcrum history import-check evidence/
  fulcrum history import-check evidence/ --checkpoint cp1.checkpoint";

pub(super) const ROTATE_KEY: &str = "\
Examples:
  fulcrum history rotate-key";

pub(super) const UPGRADE_PLAN: &str = "\
Examples:
  fulcrum upgrade plan --kubeadm ./kubeadm-1.36";

pub(super) const UPGRADE_APPLY: &str = "\
Examples:
  fulcrum upgrade apply --kubeadm ./kubeadm-1.36 --dry-run
  fulcrum upgrade apply --kubeadm ./kubeadm-1.36";

pub(super) const UPGRADE_FINALIZE: &str = "\
Examples:
  fulcrum upgrade finalize";

pub(super) const UPGRADE_ETCD: &str = "\
A snapshot is written to the state directory first. A person restores it: etcd
does not go back to an earlier minor release by itself.

Examples:
  fulcrum upgrade etcd --kubeadm ./kubeadm-1.36 --dry-run
  fulcrum upgrade etcd --kubeadm ./kubeadm-1.36";

pub(super) const UPGRADE_ROLLBACK: &str = "\
Examples:
  fulcrum upgrade rollback";
