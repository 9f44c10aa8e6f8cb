//! Decides what to do at boot. Values in, a value out: no disk, no API, no clock.
//!
//! The journal says how far each run came, and on which boot. The disk says which manifests are there. The
//! API cannot be asked: this decision is about bringing it back.

use crate::component::Component;
use crate::settings::OnReboot;
use fulcrum_engine::state::{RunId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the guard knows when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BootFacts {
    /// The runs from the last pivot on, oldest first. Empty if there never was one.
    pub runs: Vec<RunFacts>,
    /// What the last pivot's settings say.
    pub on_reboot: OnReboot,
    /// The components whose manifests are in the kubelet's directory.
    pub manifests: BTreeSet<Component>,
    /// This boot.
    pub boot_id: String,
    /// A second failure within this time of a first one is left to a person.
    pub hold_off: Duration,
}

/// What the guard knows of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFacts {
    /// The run's id.
    pub run: RunId,
    /// The purpose of the run.
    pub workflow: Workflow,
    /// The state of the run.
    pub standing: Standing,
    /// When it was begun.
    pub begun: Timestamp,
    /// The boot on which a process last worked on the run.
    pub boot_id: String,
    /// Whether that process was the guard.
    pub by_guard: bool,
    /// The components whose static manifests the run has begun to take away and can restore.
    pub retired: BTreeSet<Component>,
}

impl RunFacts {
    /// Whether the run can do nothing before the API answers. A fallback while the API is down must not wait for
    /// the API, and a rollback may be what brings the API back. An edit writes to the API and nowhere else, also
    /// on its way back.
    pub(super) fn needs_the_api(&self) -> bool {
        match self.workflow {
            // A renewal does its part on the disk also if the API stays silent. But it rolls DaemonSets out.
            Workflow::Edit | Workflow::Upgrade | Workflow::RenewCerts | Workflow::RollCerts => true,
            // etcd may be why the API does not answer, and this run looks after it on the node alone.
            Workflow::FallBack | Workflow::UpgradeEtcd => false,
            Workflow::Pivot | Workflow::HandOver | Workflow::RenewStandby => {
                self.standing != Standing::Unfinished { rolling_back: true }
            }
        }
    }
}

/// The purpose of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workflow {
    /// From static pods to DaemonSets.
    Pivot,
    /// From static pods that were restored to the DaemonSets, which exist.
    HandOver,
    /// The static pods are restored while the DaemonSets do not serve.
    FallBack,
    /// The standby manifests become what runs now.
    RenewStandby,
    /// A DaemonSet gets another command line.
    Edit,
    /// The DaemonSets get another release of Kubernetes, or end its emulation of the one before.
    Upgrade,
    /// This node's member of etcd gets another image.
    UpgradeEtcd,
    /// kubeadm renews certificates, and the processes get them.
    RenewCerts,
    /// The guard starts the pods that go on with older certificates.
    RollCerts,
}

impl Workflow {
    /// Whether a run of this kind decides which pods serve: those of the static manifests, or the
    /// DaemonSets'.
    pub(super) const fn decides_who_serves(self) -> bool {
        !matches!(self, Self::RenewStandby) && !self.is_a_change()
    }

    /// Whether it is a change of a control plane that is self-hosted and stays so: it rolls DaemonSets out, or starts
    /// etcd again. All but the last one are asked for by a person.
    pub(super) const fn is_a_change(self) -> bool {
        matches!(self, Self::Edit | Self::Upgrade | Self::UpgradeEtcd | Self::RenewCerts | Self::RollCerts)
    }

    /// The name that people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pivot => "pivot",
            Self::HandOver => "hand-over",
            Self::FallBack => "fall-back",
            Self::RenewStandby => "renew-standby",
            Self::Edit => "edit",
            Self::Upgrade => "upgrade",
            Self::UpgradeEtcd => "upgrade-etcd",
            Self::RenewCerts => "renew-certs",
            Self::RollCerts => "roll-certs",
        }
    }
}

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Every step is done.
    Completed,
    /// Undone to the end.
    RolledBack,
    /// Not at an end; `rolling_back` if it is being undone.
    Unfinished {
        /// It is being undone.
        rolling_back: bool,
    },
    /// Not at an end: a person paused it.
    Paused,
    /// Not at an end, and only a person can go on.
    NeedsOperator,
}

/// What is done before the kubelet starts, and what follows once the API answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The manifests to restore at once.
    pub put_back: Vec<(Component, ManifestCopy)>,
    /// The manifests to restore when the API answers, before what follows. Without the API these components
    /// do no work, and slow down those that bring it back.
    pub put_back_later: Vec<(Component, ManifestCopy)>,
    /// What follows.
    pub next: Next,
    /// The reason, in words.
    pub why: String,
}

/// Which copy of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestCopy {
    /// The manifest that the run took away. An undo of the run restores this copy.
    Retired,
    /// The standby: the manifest that was taken away, or the one that has proven itself since.
    Standby,
}

/// What follows once the API answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the guard has nothing to guard, or only a person can go on.
    Rest,
    /// The guard watches the control plane, as far as it is self-hosted.
    Watch,
    /// The run goes on in its direction.
    Resume(RunId),
    /// The run is undone.
    RollBack(RunId),
    /// The machine has booted: the DaemonSets get the control plane again.
    HandOver,
    /// The static pods serve after the first failure in a while. The DaemonSets get the control plane again,
    /// but only if they exist and are the proven ones.
    HandOverIfProven,
}

/// Decides what to do when the guard starts: at a boot, or because it was started (again) later.
pub fn at_boot(facts: &BootFacts) -> Decision {
    let rest = |why: &str| Decision {
        put_back: Vec::new(),
        put_back_later: Vec::new(),
        next: Next::Rest,
        why: why.to_owned(),
    };
    let Some(pivot) = facts.runs.iter().rfind(|run| run.workflow == Workflow::Pivot) else {
        return rest("no pivot was ever begun here");
    };
    match pivot.standing {
        Standing::RolledBack => rest("the last pivot is rolled back: the control plane is static"),
        Standing::Completed => after_pivot(facts, pivot),
        _ => amid_pivot(facts, pivot),
    }
}

/// The pivot itself is not at an end.
fn amid_pivot(facts: &BootFacts, pivot: &RunFacts) -> Decision {
    let rebooted = pivot.boot_id != facts.boot_id;
    let gone = missing(facts).filter(|component| rebooted && pivot.retired.contains(component));
    let put_back = gone.map(|component| (component, ManifestCopy::Retired)).collect();
    let run = pivot.run;
    let (next, why) = match pivot.standing {
        Standing::Paused => (Next::Rest, format!("run {run} was paused by a person, who goes on with it")),
        Standing::NeedsOperator => (Next::Rest, format!("run {run} needs a person")),
        _ if !rebooted && !pivot.by_guard => (Next::Rest, format!("run {run} is another process's")),
        Standing::Unfinished { rolling_back: false } if facts.on_reboot == OnReboot::Rollback => {
            (Next::RollBack(run), format!("run {run} was cut in half by a reboot, and is undone"))
        }
        Standing::Unfinished { rolling_back } => {
            let direction = if rolling_back { "being undone" } else { "resumed" };
            (Next::Resume(run), format!("run {run} was cut in half, and goes on {direction}"))
        }
        Standing::Completed | Standing::RolledBack => (Next::Rest, format!("run {run} is over")),
    };
    Decision { put_back, put_back_later: Vec::new(), next, why }
}

/// The pivot has completed; runs of the guard may have followed.
fn after_pivot(facts: &BootFacts, pivot: &RunFacts) -> Decision {
    let mut later = facts.runs.iter().filter(|run| run.run > pivot.run);
    // A renewal or an edit does not say which pods serve, nor on which boot. But one that was cut short is
    // finished first.
    let newest = later.clone().next_back().unwrap_or(pivot);
    let last = later.rfind(|run| run.workflow.decides_who_serves()).unwrap_or(pivot);
    let rebooted = last.boot_id != facts.boot_id;
    let run = newest.run;
    let (next, why) = match newest.standing {
        Standing::Unfinished { .. } if newest.boot_id != facts.boot_id || newest.by_guard => {
            (Next::Resume(run), format!("run {run} was cut in half, and goes on"))
        }
        // The command that was at work has died: the journal is free. Half a roll-out must not wait for a person.
        Standing::Unfinished { .. } if newest.workflow.is_a_change() => {
            (Next::Resume(run), format!("run {run} has lost its command, and goes on"))
        }
        // It holds the lock, which a hand-over needs.
        Standing::Paused | Standing::NeedsOperator if newest.workflow.is_a_change() && rebooted => {
            let what = newest.workflow.name();
            (Next::Watch, format!("the static pods serve until a person has settled run {run}, {what}"))
        }
        // Both pods, the one from before and the one from after, are the DaemonSet's.
        Standing::Paused | Standing::NeedsOperator if newest.workflow.is_a_change() => {
            settled(facts, last, false)
        }
        Standing::Unfinished { .. } => (Next::Rest, format!("run {run} is another process's")),
        Standing::Paused => (Next::Rest, format!("run {run} was paused by a person, who goes on with it")),
        Standing::NeedsOperator => (Next::Rest, format!("run {run} needs a person")),
        Standing::Completed | Standing::RolledBack => settled(facts, last, rebooted),
    };
    // A run that goes on from the middle expects all of the manifests. Where no run follows, no process
    // restores them later.
    let at_once = |component: &Component| next != Next::HandOver || *component == Component::ApiServer;
    let gone = missing(facts).filter(|_| rebooted).map(|component| (component, ManifestCopy::Standby));
    let (put_back, put_back_later) = gone.partition(|(component, _)| at_once(component));
    Decision { put_back, put_back_later, next, why }
}

/// Every run is at an end. Who is to serve is what the last run that completed has decided. A run that is
/// rolled back has left things as they were: after a hand-over the static pods serve until the next boot.
fn settled(facts: &BootFacts, last: &RunFacts, rebooted: bool) -> (Next, String) {
    let decided = |run: &&RunFacts| run.standing == Standing::Completed && run.workflow.decides_who_serves();
    let decisive = facts.runs.iter().rfind(decided).unwrap_or(last);
    let hosted = matches!(decisive.workflow, Workflow::Pivot | Workflow::HandOver);
    let run = decisive.run;
    match (hosted, rebooted) {
        (false, _) if is_first_failure(facts, last) => (
            Next::HandOverIfProven,
            format!("the static pods serve since run {run}, after the first failure in a while"),
        ),
        (false, _) => (Next::Watch, format!("the static pods serve since run {run}, and stay")),
        (true, true) => (Next::HandOver, format!("self-hosted since run {run}, and the machine has booted")),
        (true, false) if facts.manifests.is_empty() => (Next::Watch, format!("self-hosted since run {run}")),
        (true, false) if last.standing == Standing::RolledBack => {
            (Next::Watch, format!("run {} is rolled back: static pods serve until the next boot", last.run))
        }
        (true, false) => (Next::Rest, "static manifests were put back by somebody else".to_owned()),
    }
}

/// The static pods serve, no hand-over was tried since, and the last failure was long ago.
fn is_first_failure(facts: &BootFacts, last: &RunFacts) -> bool {
    let mut failures =
        facts.runs.iter().filter(|run| run.workflow == Workflow::FallBack && run.run < last.run);
    last.workflow == Workflow::FallBack
        && last.standing == Standing::Completed
        && failures.next_back().is_none_or(|before| last.begun.since(before.begun) > facts.hold_off)
}

/// What the guard sees of a control plane that it watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// How long a control plane may be silent.
    pub patience: Duration,
    /// How much longer the API server may be, by [`stagger`].
    pub stagger: Duration,
    /// The state of each component that no static manifest starts.
    pub hosted: BTreeMap<Component, Pulse>,
}

/// The state of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    /// How long ago the component gave its last sign of life: a good answer of the API, or a renewal of the
    /// lease. While the API does not answer, nothing is known of leases, and this value stands still.
    pub silent: Duration,
    /// Whether a process listens on its port. The fallback starts only when no process holds the port.
    pub listens: bool,
}

/// A node waits for this many before it, at most.
const RANKS_MAX: u32 = 3;

/// How much longer than the others `node` waits before its API server falls back, where several nodes run on one
/// DaemonSet. If that is deleted, each guard falls back on its own. The nodes then come one after the other, in the
/// order of their names: not all API servers start at once, and each has the time to serve. No node waits more than
/// twice as long as it would alone.
pub fn stagger(node: &str, hosted: &[String], patience: Duration) -> Duration {
    let before = hosted.iter().filter(|other| other.as_str() < node).count();
    let rank = u32::try_from(before).unwrap_or(RANKS_MAX).min(RANKS_MAX);
    patience / RANKS_MAX * rank
}

/// The components that fall back to their static pods now, and why.
pub fn fall_back(seen: &Watched) -> Option<(Vec<Component>, String)> {
    let is_down = |component: &Component| {
        let stagger = if *component == Component::ApiServer { seen.stagger } else { Duration::ZERO };
        let patience = seen.patience + stagger;
        seen.hosted.get(component).is_some_and(|pulse| !pulse.listens && pulse.silent >= patience)
    };
    if !is_down(&Component::ApiServer) {
        // With the API down, the other components end by themselves. They are judged when the API is back.
        let down: Vec<Component> = Component::ALL.into_iter().filter(is_down).collect();
        let why = words(seen, &down, "no process listens on its port and its lease has not been renewed for");
        return (!down.is_empty()).then_some((down, why));
    }
    // Other components that do not run either would be missed next.
    let idle = |component: &Component| seen.hosted.get(component).is_some_and(|pulse| !pulse.listens);
    let down = Component::ALL.into_iter().filter(idle).collect();
    let why =
        words(seen, &[Component::ApiServer], "no process listens on its port and there was no answer for");
    Some((down, why))
}

fn words(seen: &Watched, down: &[Component], what: &str) -> String {
    let one = |component: &Component| {
        let silent = seen.hosted.get(component).map_or(0, |pulse| pulse.silent.as_secs());
        format!("{component}: {what} {silent} s")
    };
    down.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn missing(facts: &BootFacts) -> impl Iterator<Item = Component> + '_ {
    Component::ALL.into_iter().filter(|component| !facts.manifests.contains(component))
}
