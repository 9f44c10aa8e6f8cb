//! The differences between releases of Kubernetes, as far as a pivot meets them: one table, by minor release.

use std::fmt;
use std::ops::RangeInclusive;

/// The oldest minor release that fulcrum pivots: `--permit-port-sharing` came with it.
pub const OLDEST: u32 = 20;
/// The newest minor release on which a real cluster was pivoted. A newer one brings a warning.
pub const NEWEST_TRIED: u32 = 37;
/// No end is known.
const ON: u32 = u32::MAX;

/// A minor release of Kubernetes 1: 35 for 1.35.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u32);

/// A property of some releases and not of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trait {
    /// The controller manager and the scheduler open a second port without TLS unless told otherwise.
    InsecurePorts,
    /// Leaders may be elected by annotations of Endpoints and ConfigMaps.
    OtherLeaderLocks,
    /// kubeadm taints control-plane nodes with the old role.
    MasterTaint,
    /// A DaemonSet can start the new pod before the old one ends.
    SurgingDaemonSets,
    /// The kubelet does not run a static pod that refers to objects of the API.
    NoReferencesInStaticPods,
    /// A component can behave as the release before it (`--emulated-version`).
    EmulatedVersions,
    /// A leader gives its lease back when it ends.
    LeadersGiveBack,
}

impl Trait {
    /// All traits.
    pub const ALL: [Trait; 7] = [
        Trait::InsecurePorts,
        Trait::OtherLeaderLocks,
        Trait::MasterTaint,
        Trait::SurgingDaemonSets,
        Trait::NoReferencesInStaticPods,
        Trait::EmulatedVersions,
        Trait::LeadersGiveBack,
    ];

    /// The minor releases with the trait.
    pub const fn minors(self) -> RangeInclusive<u32> {
        match self {
            Trait::InsecurePorts => 0..=22,
            Trait::OtherLeaderLocks => 0..=23,
            Trait::MasterTaint => 0..=24,
            // Alpha in 1.21, on by default since 1.22. The pivot relies on it only since it is settled.
            Trait::SurgingDaemonSets => 25..=ON,
            Trait::NoReferencesInStaticPods => 34..=ON,
            // The API server since 1.31. With the release after it the other two can do so as well.
            Trait::EmulatedVersions => 31..=ON,
            Trait::LeadersGiveBack => 37..=ON,
        }
    }
}

impl fmt::Display for Trait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trait::InsecurePorts => "controller manager and scheduler may have insecure ports",
            Trait::OtherLeaderLocks => "leaders may be elected by Endpoints",
            Trait::MasterTaint => "nodes may bear the old role's taint",
            Trait::SurgingDaemonSets => "roll-outs start the new pod first",
            Trait::NoReferencesInStaticPods => "static pods refer to no object of the API",
            Trait::EmulatedVersions => "a release can be emulated",
            Trait::LeadersGiveBack => "leaders give their lease back",
        })
    }
}

/// The groups that a pivot asks for and that not every release serves, each with the minor releases that do.
const GROUPS: [(&str, &str, RangeInclusive<u32>); 4] = [
    ("apps", "v1", 9..=ON),
    ("coordination.k8s.io", "v1", 14..=ON),
    ("discovery.k8s.io", "v1", 21..=ON),
    ("discovery.k8s.io", "v1beta1", 17..=24),
];

impl Release {
    /// Whether this release has the trait.
    pub fn has(self, what: Trait) -> bool {
        what.minors().contains(&self.0)
    }

    /// Whether this release's API server serves the version of the group. The core group (`""`) has v1.
    pub fn serves(self, group: &str, version: &str) -> bool {
        match group {
            "" => version == "v1",
            _ => GROUPS.iter().any(|(g, v, minors)| (*g, *v) == (group, version) && minors.contains(&self.0)),
        }
    }

    /// Whether a real cluster of this release, or a newer one, was pivoted.
    pub fn is_tried(self) -> bool {
        (OLDEST..=NEWEST_TRIED).contains(&self.0)
    }

    /// The known facts about the release, for a person.
    pub fn known(self) -> String {
        let mut known: Vec<String> =
            Trait::ALL.iter().filter(|what| self.has(**what)).map(ToString::to_string).collect();
        if !self.serves("discovery.k8s.io", "v1") {
            known.push("no discovery.k8s.io/v1".to_owned());
        }
        known.join(", ")
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row at its edges: the last release before, the first and the last with the trait, the first
    /// after.
    #[test]
    fn every_row_at_its_edges() {
        for (what, before, first, last, after) in [
            (Trait::InsecurePorts, None, 20, 22, Some(23)),
            (Trait::OtherLeaderLocks, None, 20, 23, Some(24)),
            (Trait::MasterTaint, None, 20, 24, Some(25)),
            (Trait::SurgingDaemonSets, Some(24), 25, 37, None),
            (Trait::NoReferencesInStaticPods, Some(33), 34, 37, None),
            (Trait::EmulatedVersions, Some(30), 31, 37, None),
            (Trait::LeadersGiveBack, Some(36), 37, 40, None),
        ] {
            assert!(Release(first).has(what) && Release(last).has(what), "{what}");
            assert!(![before, after].into_iter().flatten().any(|minor| Release(minor).has(what)), "{what}");
        }
        assert!(!Release(19).is_tried() && Release(20).is_tried() && Release(37).is_tried());
        assert!(!Release(38).is_tried());
    }

    #[test]
    fn every_group_at_its_edges() {
        for (group, version, yes, no) in [
            ("", "v1", &[20, 37][..], &[][..]),
            ("apps", "v1", &[20, 37], &[8]),
            ("coordination.k8s.io", "v1", &[20, 37], &[13]),
            ("discovery.k8s.io", "v1", &[21, 37], &[20]),
            ("discovery.k8s.io", "v1beta1", &[20, 24], &[16, 25]),
            ("apps", "v1beta2", &[], &[20, 37]),
            ("nobody.example", "v1", &[], &[20, 37]),
        ] {
            assert!(yes.iter().all(|minor| Release(*minor).serves(group, version)), "{group}/{version}");
            assert!(!no.iter().any(|minor| Release(*minor).serves(group, version)), "{group}/{version}");
        }
        assert_eq!(
            Release(20).known(),
            "controller manager and scheduler may have insecure ports, leaders may be elected by Endpoints, nodes may \
             bear the old role's taint, no discovery.k8s.io/v1"
        );
        assert_eq!(Release(30).known(), "roll-outs start the new pod first");
    }
}
