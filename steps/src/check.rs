//! The checks that are made before a pivot: their names, what each protects, and which a person may overrule.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A check that is made before a pivot. It serialises as its name, which never changes: scripts and journals
/// have it. docs/checks.md has a section for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The command runs as root.
    Root,
    /// The journal can be read, and leaves nothing unfinished.
    Journal,
    /// The kubelet's manifests directory is there.
    ManifestsDir,
    /// Each component has a manifest that can be taken.
    Manifest,
    /// No other file stands in the way of the manifests.
    ForeignFile,
    /// There is room on the disks.
    Disk,
    /// The other containers of the manifests can run twice.
    Containers,
    /// Two of each leader can run side by side.
    LeaderElection,
    /// The DaemonSets are as critical as the static pods.
    Priority,
    /// This machine's processes and sockets can be looked at.
    Host,
    /// The API answers.
    Api,
    /// This host is a node of the cluster.
    Node,
    /// The releases are supported.
    Version,
    /// The node bears the label of its role.
    Role,
    /// The API servers of the other control-plane nodes are ready.
    ApiServers,
    /// etcd keeps its quorum without this node.
    Etcd,
    /// The DaemonSets tolerate the node's taints.
    Taint,
    /// The scheduler would place the second pods on the node.
    Fit,
    /// The API shows the static pods Ready.
    MirrorPod,
    /// No DaemonSet of the control plane exists, or other nodes run on those that this node would make.
    Daemonset,
    /// The API server accepts the DaemonSets as they are.
    Admission,
    /// Pods find the API under the node's address.
    AdvertiseAddress,
    /// No component opens a port without TLS.
    InsecurePort,
    /// Whether the certificates can be in Secrets.
    Certificates,
    /// No other run works on the cluster's control plane.
    Lock,
    /// The static pods serve.
    StaticPod,
    /// There is memory for a second set of components.
    Memory,
    /// The node has time for a hand-over.
    Load,
    /// The guard can be started at boot.
    Guard,
    /// The wanted hand-over works here.
    Handover,
}

/// What must be known before a check can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing but the command itself.
    Command,
    /// The disk and the machine.
    Machine,
    /// All three manifests.
    Manifests,
    /// All three manifests, and the API.
    Cluster,
}

impl Check {
    /// All checks, in the order in which people read them.
    pub const ALL: [Self; 30] = [
        Self::Root,
        Self::Journal,
        Self::ManifestsDir,
        Self::Manifest,
        Self::ForeignFile,
        Self::Disk,
        Self::Containers,
        Self::LeaderElection,
        Self::Priority,
        Self::Host,
        Self::Api,
        Self::Node,
        Self::Version,
        Self::Role,
        Self::ApiServers,
        Self::Etcd,
        Self::Taint,
        Self::Fit,
        Self::MirrorPod,
        Self::Daemonset,
        Self::Admission,
        Self::AdvertiseAddress,
        Self::InsecurePort,
        Self::Certificates,
        Self::Lock,
        Self::StaticPod,
        Self::Memory,
        Self::Load,
        Self::Guard,
        Self::Handover,
    ];

    /// The name, as it is stored, shown and typed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Journal => "journal",
            Self::ManifestsDir => "manifests-dir",
            Self::Manifest => "manifest",
            Self::ForeignFile => "foreign-file",
            Self::Disk => "disk",
            Self::Containers => "containers",
            Self::LeaderElection => "leader-election",
            Self::Priority => "priority",
            Self::Host => "host",
            Self::Api => "api",
            Self::Node => "node",
            Self::Version => "version",
            Self::Role => "role",
            Self::ApiServers => "api-servers",
            Self::Etcd => "etcd",
            Self::Taint => "taint",
            Self::Fit => "fit",
            Self::MirrorPod => "mirror-pod",
            Self::Daemonset => "daemonset",
            Self::Admission => "admission",
            Self::AdvertiseAddress => "advertise-address",
            Self::InsecurePort => "insecure-port",
            Self::Certificates => "certificates",
            Self::Lock => "lock",
            Self::StaticPod => "static-pod",
            Self::Memory => "memory",
            Self::Load => "load",
            Self::Guard => "guard",
            Self::Handover => "handover",
        }
    }

    /// Why the check matters: what happens to a pivot that goes on without it.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Root => "a pivot changes files, processes and sockets that belong to root",
            Self::Journal => "a run that is begun beside an unfinished one would change the same files",
            Self::ManifestsDir => {
                "the static pods are the files of this directory, and a rollback writes them there"
            }
            Self::Manifest => {
                "each DaemonSet is made from its manifest, and a rollback restores the manifest"
            }
            Self::ForeignFile => {
                "the kubelet runs every file there: a copy would start what the pivot has stopped"
            }
            Self::Disk => "a journal, or a manifest, that cannot be written is a run that cannot go back",
            Self::Containers => {
                "for a while both pods run side by side, with all containers of their manifests"
            }
            Self::LeaderElection => {
                "two of a component run side by side, and only their election keeps one of them idle"
            }
            Self::Priority => {
                "the kubelet never evicts a static pod, but does evict a DaemonSet's pod of low priority"
            }
            Self::Host => "who listens on a port decides each hand-over: fulcrum must be able to see it",
            Self::Api => "the DaemonSets are objects of the API, and only the API can create them",
            Self::Node => "the run must change the node on which it runs, and no other",
            Self::Version => "old releases lack --permit-port-sharing, or lose DaemonSet pods at a reboot",
            Self::Role => "the DaemonSets run on the nodes that bear the label",
            Self::ApiServers => {
                "while one API server changes hands, the others must be there for its clients"
            }
            Self::Etcd => "a node that is lost while it changes hands must not take the cluster with it",
            Self::Taint => "nothing schedules a static pod, but a taint keeps its DaemonSet's pod away",
            Self::Fit => "the second pod of each component needs a place beside the first",
            Self::MirrorPod => "a pivot starts from what works: otherwise a failure has two possible causes",
            Self::Daemonset => "what somebody else has made is not overwritten",
            Self::Admission => "a DaemonSet that differs from its static pod is another control plane",
            Self::AdvertiseAddress => {
                "pods find the API under this address, during the hand-over and after it"
            }
            Self::InsecurePort => "two processes cannot have such a port at a time: it has no port sharing",
            Self::Certificates => {
                "with --store-certs-in-secrets a pod has no file but those of its Secrets, and starts with these alone"
            }
            Self::Lock => "two runs on one control plane would undo each other's work",
            Self::StaticPod => "a pivot starts from what works, and a rollback goes back to it",
            Self::Memory => {
                "for some seconds every component runs twice: a node without room kills processes"
            }
            Self::Load => "a node that is slow before a hand-over makes clients wait during it",
            Self::Guard => "only the guard brings a self-hosted control plane back after a reboot",
            Self::Handover => {
                "the way decides whether API requests fail while the control plane changes hands"
            }
        }
    }

    /// What must be known before the check can be made.
    pub const fn needs(self) -> Needs {
        match self {
            Self::Root | Self::Journal => Needs::Command,
            Self::ManifestsDir | Self::Manifest | Self::ForeignFile | Self::Disk | Self::Host => {
                Needs::Machine
            }
            Self::Guard | Self::Memory | Self::Load => Needs::Machine,
            Self::Containers | Self::LeaderElection | Self::Priority => Needs::Manifests,
            Self::StaticPod | Self::Handover => Needs::Manifests,
            Self::Api
            | Self::Node
            | Self::Version
            | Self::Role
            | Self::ApiServers
            | Self::Etcd
            | Self::Taint
            | Self::Fit
            | Self::MirrorPod
            | Self::Daemonset
            | Self::Admission
            | Self::AdvertiseAddress
            | Self::InsecurePort
            | Self::Certificates
            | Self::Lock => Needs::Cluster,
        }
    }

    /// Whether a person may overrule a refusal. Such a check foretells what the run itself finds out before
    /// anything is cut: at worst the run fails and is undone. Or a person knows better: an API server of another node
    /// may be away for good. All others protect data or the cluster.
    pub const fn is_ignorable(self) -> bool {
        matches!(
            self,
            Self::Containers | Self::ApiServers | Self::Taint | Self::Fit | Self::Memory | Self::Load
        )
    }

    /// Whether the check can refuse. One only warns.
    pub const fn can_refuse(self) -> bool {
        !matches!(self, Self::Priority)
    }

    /// The check's section of the documentation.
    pub fn page(self) -> String {
        format!("docs/checks.md#{}", self.name())
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is no name of a check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no check {said:?}; there are {}", names(|_| true))]
pub struct NoSuchCheck {
    /// What was said.
    pub said: String,
}

impl FromStr for Check {
    type Err = NoSuchCheck;

    /// Upper and lower case are one, as in kubeadm.
    fn from_str(text: &str) -> Result<Self, NoSuchCheck> {
        let named = |check: &Self| check.name().eq_ignore_ascii_case(text.trim());
        Self::ALL.into_iter().find(named).ok_or_else(|| NoSuchCheck { said: text.to_owned() })
    }
}

/// The refusals that a person overrules.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ignored(BTreeSet<Check>);

/// An entry of the list of refusals to overrule is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotIgnorable {
    /// No check has the name.
    #[error(transparent)]
    Unknown(#[from] NoSuchCheck),
    /// The check protects data or the cluster.
    #[error(
        "the check {check} cannot be ignored, since {why}; those that can be are {ignorable}, or all of these: \"all\"",
        check = .0,
        why = .0.why(),
        ignorable = names(Check::is_ignorable)
    )]
    Protects(Check),
}

impl Ignored {
    /// Reads a list of names. `all` stands for every check that can be ignored.
    ///
    /// # Errors
    /// When an entry is no check, or a check that cannot be ignored.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, NotIgnorable> {
        let mut ignored = BTreeSet::new();
        for name in names {
            if name.trim().eq_ignore_ascii_case("all") {
                ignored.extend(Check::ALL.into_iter().filter(|check| check.is_ignorable()));
                continue;
            }
            let check = name.parse::<Check>().map_err(NotIgnorable::Unknown)?;
            if !check.is_ignorable() {
                return Err(NotIgnorable::Protects(check));
            }
            ignored.insert(check);
        }
        Ok(Self(ignored))
    }

    /// Whether the refusals of this check are overruled.
    pub fn has(&self, check: Check) -> bool {
        check.is_ignorable() && self.0.contains(&check)
    }

    /// The names, as a person types them.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|check| check.name())
    }

    /// Whether nothing is overruled.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn names(which: impl Fn(Check) -> bool) -> String {
    let names: Vec<&str> = Check::ALL.into_iter().filter(|check| which(*check)).map(Check::name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_stored_and_typed_by_its_name() {
        for check in Check::ALL {
            assert_eq!(serde_json::to_value(check).unwrap(), check.name());
            assert_eq!(check.name().to_uppercase().parse(), Ok(check));
        }
        assert!(Check::ALL.is_sorted(), "the order of the list is the order of the variants");
    }

    #[test]
    fn what_protects_the_cluster_cannot_be_ignored() {
        let all = Ignored::of(["all"]).unwrap();
        let ignored: Vec<Check> = Check::ALL.into_iter().filter(|check| all.has(*check)).collect();
        let expected =
            [Check::Containers, Check::ApiServers, Check::Taint, Check::Fit, Check::Memory, Check::Load];
        assert_eq!(ignored, expected);
        let said = Ignored::of(["taint", "Lock"]).unwrap_err().to_string();
        assert!(said.contains("the check lock cannot be ignored, since two runs"), "{said}");
        let said = Ignored::of(["tain"]).unwrap_err().to_string();
        assert!(said.contains("no check \"tain\"; there are root, journal"), "{said}");
        // A journal that another version has written does not overrule more than this one allows.
        let stored: Ignored = serde_json::from_str(r#"["lock","taint"]"#).unwrap();
        assert!(!stored.has(Check::Lock) && stored.has(Check::Taint));
    }
}
