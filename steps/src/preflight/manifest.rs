//! Checks of one manifest.

use super::check_result::CheckResult;
use crate::check::Check;
use crate::cluster::NAMESPACE;
use crate::component::Component;
use crate::manifest::{CRITICAL, Companion, StaticPod};

/// Checks what the manifest at `path` says, by itself.
pub(super) fn manifest_checks(path: &str, pod: &StaticPod) -> Vec<CheckResult> {
    let component = pod.component();
    let mut results =
        vec![CheckResult::pass(Check::Manifest, format!("{component} serves on port {}", pod.port()))];
    results.extend(name_check(path, pod));
    if component.lease_name().is_some() {
        results.extend(election_checks(path, pod));
    }
    if pod.priority_class().is_none() {
        let seen = format!("{path} has no priorityClassName: its DaemonSet gets {CRITICAL}");
        results.push(CheckResult::warn(
            Check::Priority,
            seen,
            "to the kubelet every static pod is that critical, and a DaemonSet's is not",
        ));
    }
    results.extend(pod.companions().iter().map(|companion| companion_check(path, companion)));
    results
}

/// fulcrum knows the mirror pod by the pod's name, and looks for it in the control plane's namespace.
fn name_check(path: &str, pod: &StaticPod) -> Option<CheckResult> {
    let (name, namespace) = (pod.name(), pod.namespace());
    ((name, namespace) != (pod.component().name(), NAMESPACE)).then(|| {
        CheckResult::refuse(
            Check::Manifest,
            format!("{path}: the pod is called {namespace}/{name}, not {NAMESPACE}/{}", pod.component()),
            format!(
                "set metadata.name to {} and metadata.namespace to {NAMESPACE}: the kubelet restarts the pod once",
                pod.component()
            ),
        )
    })
}

fn election_checks(path: &str, pod: &StaticPod) -> Vec<CheckResult> {
    let component = pod.component();
    let refuse = |seen: String, remedy: &str| CheckResult::refuse(Check::LeaderElection, seen, remedy);
    let mut results = Vec::new();
    if !pod.leader_elect() {
        results.push(refuse(
            format!("{path}: {component} runs with --leader-elect=false"),
            "during the pivot two of it run side by side, and without election both would act: remove the flag",
        ));
    }
    let elsewhere = |flag: &str, usual: &str| pod.flag(flag).filter(|value| value != usual);
    if let Some(lock) = elsewhere("leader-elect-resource-lock", "leases") {
        results.push(refuse(
            format!("{path}: {component} elects its leader by --leader-elect-resource-lock={lock}"),
            "the hand-over watches a Lease: set it to leases (first to endpointsleases on every node, if there are several), \
             or remove the flag",
        ));
    }
    for (flag, usual) in [
        ("leader-elect-resource-name", component.name()),
        ("leader-elect-resource-namespace", NAMESPACE),
        ("leader-elect-retry-period", "2s"),
        ("lock-object-name", component.name()),
        ("lock-object-namespace", NAMESPACE),
    ] {
        if let Some(value) = elsewhere(flag, usual) {
            results.push(refuse(
                format!("{path}: {component} runs with --{flag}={value}, not {usual}"),
                "the hand-over watches the usual Lease at the usual pace: remove the flag",
            ));
        }
    }
    if component == Component::Scheduler && pod.flag("config").is_some() {
        results.push(CheckResult::warn(
            Check::LeaderElection,
            format!("{path}: the scheduler reads its configuration from a file, which is not looked into"),
            "its leaderElection must be on, with the usual names",
        ));
    }
    results
}

/// The second pod also starts the manifest's other containers, beside those that run already.
fn companion_check(path: &str, companion: &Companion) -> CheckResult {
    let Companion { name, ends, ports, sockets } = companion;
    let list = |what: &str, all: Vec<String>| match all.is_empty() {
        true => String::new(),
        false => format!(" ({what} {})", all.join(", ")),
    };
    let ports = list("port", ports.iter().map(u16::to_string).collect());
    let sockets = list("socket", sockets.iter().cloned().collect());
    let kind = if *ends { "init container" } else { "container" };
    if !ports.is_empty() {
        return CheckResult::refuse(
            Check::Containers,
            format!(
                "{path}: {kind} {name} listens by itself{ports}{sockets}, and would run twice on this node"
            ),
            "for a while both pods run side by side, and the second cannot have the port: move the container into a static \
             pod of its own, which stays, or take it out",
        );
    }
    let (does, remedy) = match ends {
        true => ("runs once more, while the static pod serves", "what it does to files must do no harm then"),
        false => ("runs twice for a while", "two of it must get along, with files and sockets, too"),
    };
    CheckResult::warn(Check::Containers, format!("{path}: {kind} {name}{sockets} {does}"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::check_result::Level;

    /// What refuses kubeadm's manifest of the scheduler, with `to` in the place of `from`.
    fn refused(from: &str, to: &str) -> Vec<String> {
        let usual = include_str!("../manifest/fixtures/v1.20/kube-scheduler.yaml");
        assert!(usual.contains(from));
        let text = usual.replacen(from, to, 1);
        let pod = StaticPod::parse(Component::Scheduler, text.as_bytes()).unwrap();
        let results = manifest_checks("/m/kube-scheduler.yaml", &pod);
        let refusals = results.iter().filter(|result| result.level == Level::Refuse);
        refusals.map(ToString::to_string).collect()
    }

    /// The default of releases before 1.20 was `endpointsleases`. The hand-over would wait for a Lease in vain.
    #[test]
    fn a_leader_whose_lock_is_no_lease_is_refused_by_the_flag() {
        let elects =
            |flag: &str| refused("- --leader-elect=true", &format!("- --leader-elect=true\n    - {flag}"));
        for lock in ["endpoints", "configmaps", "endpointsleases", "configmapsleases"] {
            let said = elects(&format!("--leader-elect-resource-lock={lock}"));
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].contains(&format!("--leader-elect-resource-lock={lock}; ")), "{said:?}");
            assert!(said[0].contains("set it to leases"), "{said:?}");
        }
        assert_eq!(elects("--leader-elect-resource-lock=leases"), Vec::<String>::new());
        let said = elects("--lock-object-name=mine");
        assert!(said[0].contains("--lock-object-name=mine, not kube-scheduler"), "{said:?}");
    }

    #[test]
    fn another_pod_name_or_namespace_is_refused_with_the_right_one() {
        let name = refused("  name: kube-scheduler", "  name: my-scheduler");
        assert!(
            name[0].contains("the pod is called kube-system/my-scheduler, not kube-system/kube-scheduler"),
            "{name:?}"
        );
        assert!(name[0].contains("set metadata.name to kube-scheduler"), "{name:?}");
        let namespace = refused("  namespace: kube-system", "  namespace: control-plane");
        assert!(namespace[0].contains("control-plane/kube-scheduler, not kube-system/"), "{namespace:?}");
        assert_eq!((name.len(), namespace.len()), (1, 1));
    }
}
