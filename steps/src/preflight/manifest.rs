//! Checks of one manifest.

use super::check_result::CheckResult;
use crate::check::Check;
use crate::cluster::NAMESPACE;
use crate::component::Component;
use crate::manifest::{CRITICAL, Companion, SELECTOR_LABEL, StaticPod};
use std::time::Duration;

/// How often a candidate looks at the lease, by default.
const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// Checks what the manifest at `path` says, by itself.
pub(super) fn manifest_checks(path: &str, pod: &StaticPod) -> Vec<CheckResult> {
    let component = pod.component();
    let mut results =
        vec![CheckResult::pass(Check::Manifest, format!("{component} serves on port {}", pod.port()))];
    results.extend(name_check(path, pod));
    results.extend(reference_check(path, pod));
    results.extend(left_out_check(path, pod));
    results.extend(label_check(path, pod));
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

/// The API takes no mirror pod of a static pod that needs an object of the API, and newer kubelets do not run one.
fn reference_check(path: &str, pod: &StaticPod) -> Option<CheckResult> {
    let (at, what) = pod.api_reference()?;
    Some(CheckResult::refuse(
        Check::Manifest,
        format!("{path}: {at} refers to {what}, and a static pod may not"),
        "the API server takes no mirror pod of it, and a newer kubelet does not run it: put what it needs into a file on the \
         node and mount that, and take the reference out",
    ))
}

/// Fields that a DaemonSet's pods cannot have, if they change what the pod does.
fn left_out_check(path: &str, pod: &StaticPod) -> Option<CheckResult> {
    let left_out = pod.left_out();
    (!left_out.is_empty()).then(|| {
        CheckResult::warn(
            Check::Manifest,
            format!("{path}: the DaemonSet's pods cannot have {}", left_out.join(", ")),
            "a DaemonSet's pods are always restarted, and have no deadline",
        )
    })
}

/// The DaemonSet selects its pods by this label, so that the pods cannot keep a value of their own.
fn label_check(path: &str, pod: &StaticPod) -> Option<CheckResult> {
    let (own, ours) = (pod.label(SELECTOR_LABEL)?, pod.component().daemonset_name());
    (own != ours).then(|| {
        CheckResult::warn(
            Check::Manifest,
            format!("{path}: the label {SELECTOR_LABEL}={own} becomes {SELECTOR_LABEL}={ours} on the DaemonSet's pods"),
            "what selects the pod by this label (a Service, a monitor, a policy) must select it by another one meanwhile",
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
    let pace = pod.flag("leader-elect-retry-period").filter(|value| seconds(value) != Some(RETRY_PERIOD));
    results.extend(pace.map(|value| {
        refuse(
            format!("{path}: {component} runs with --leader-elect-retry-period={value}, not 2s"),
            "the hand-over watches the usual Lease at the usual pace: remove the flag",
        )
    }));
    if component == Component::Scheduler && pod.flag("config").is_some() {
        results.push(CheckResult::warn(
            Check::LeaderElection,
            format!("{path}: the scheduler reads its configuration from a file, which is not looked into"),
            "its leaderElection must be on, with the usual names",
        ));
    }
    results
}

/// A duration as Go writes it with one unit (`2s`, `2000ms`). `None` for others.
fn seconds(text: &str) -> Option<Duration> {
    let (unit, per_second) =
        [("ms", 1e3), ("us", 1e6), ("ns", 1e9), ("s", 1.0), ("m", 1.0 / 60.0), ("h", 1.0 / 3600.0)]
            .into_iter()
            .find(|(unit, _)| text.ends_with(unit))?;
    let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
    Duration::try_from_secs_f64(number / per_second).ok()
}

/// The second pod also starts the manifest's other containers, beside those that run already.
fn companion_check(path: &str, companion: &Companion) -> CheckResult {
    let Companion { name, ends, ports, sockets, awaits_port } = companion;
    if *awaits_port {
        return CheckResult::refuse(
            Check::Containers,
            format!("{path}: init container {name} looks for who listens on the component's port"),
            "the static pod listens there until the new pod is ready, and the new pod would wait for that port for ever: take \
             the container out",
        );
    }
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
    fn the_usual_pace_in_other_words_is_the_usual_pace() {
        let paced = |value: &str| {
            let flag = format!("- --leader-elect=true\n    - --leader-elect-retry-period={value}");
            refused("- --leader-elect=true", &flag)
        };
        for usual in ["2s", "2000ms", "2.0s"] {
            assert_eq!(paced(usual), Vec::<String>::new(), "{usual}");
        }
        for other in ["1s", "2m", "2", ""] {
            assert_eq!(paced(other).len(), 1, "{other}");
        }
    }

    /// The API has no mirror pod of such a static pod, and a pivot would look for one in vain.
    #[test]
    fn a_static_pod_that_needs_an_object_of_the_api_is_refused_by_its_path() {
        for (field, at) in [
            ("serviceAccountName: x", "spec.serviceAccountName refers to a ServiceAccount"),
            ("serviceAccount: x", "spec.serviceAccount refers to a ServiceAccount"),
            ("imagePullSecrets: [{name: x}]", "spec.imagePullSecrets refers to a Secret"),
        ] {
            let said = refused("  hostNetwork: true", &format!("  hostNetwork: true\n  {field}"));
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].contains("/m/kube-scheduler.yaml") && said[0].contains(at), "{said:?}");
        }
        for nothing in ["serviceAccountName: ''", "imagePullSecrets: []"] {
            let said = refused("  hostNetwork: true", &format!("  hostNetwork: true\n  {nothing}"));
            assert_eq!(said, Vec::<String>::new());
        }
    }

    #[test]
    fn an_init_container_that_waits_for_the_port_is_refused() {
        let with = |script: &str| {
            let init = format!(
                "  initContainers:\n  - name: wait\n    image: i\n    command: [sh, -c, {script:?}]\n  hostNetwork: true"
            );
            refused("  hostNetwork: true", &init)
        };
        let said = with("while [ -n \"$(ss -Htan '( sport = 10259 )')\" ]; do sleep 1; done");
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].contains("init container wait looks for who listens on the component's port"),
            "{said:?}"
        );
        for other in ["mkdir -p /var/log/ss", "lsof -ni :110259", "echo 10259"] {
            assert_eq!(with(other), Vec::<String>::new(), "{other}");
        }
    }

    /// kops asks a sidecar for the API server's health: the manifest has the port in the API server's probe only.
    #[test]
    fn a_port_that_the_probes_ask_and_nobody_claims_is_the_sidecars() {
        let sidecar = "  - name: side\n    image: i\n  hostNetwork: true";
        let usual = include_str!("../manifest/fixtures/v1.20/kube-scheduler.yaml");
        let text = usual.replacen("  hostNetwork: true", sidecar, 1).replacen("port: 10259", "port: 3990", 1);
        let pod = StaticPod::parse(Component::Scheduler, text.as_bytes()).unwrap();
        let words: Vec<String> = manifest_checks("/m/x.yaml", &pod).iter().map(ToString::to_string).collect();
        assert!(
            words.iter().any(|word| word.contains("container side listens by itself (port 3990)")),
            "{words:?}"
        );
    }

    #[test]
    fn fields_that_a_daemonset_cannot_have_are_not_lost_without_a_word() {
        let usual = include_str!("../manifest/fixtures/v1.20/kube-scheduler.yaml");
        let more = "  hostNetwork: true\n  restartPolicy: OnFailure\n  activeDeadlineSeconds: 600";
        let text = usual.replacen("  hostNetwork: true", more, 1);
        let pod = StaticPod::parse(Component::Scheduler, text.as_bytes()).unwrap();
        let words: Vec<String> = manifest_checks("/m/x.yaml", &pod).iter().map(ToString::to_string).collect();
        let expected = "cannot have spec.restartPolicy OnFailure, spec.activeDeadlineSeconds 600";
        assert!(words.iter().any(|word| word.contains(expected)), "{words:?}");
    }

    #[test]
    fn a_label_that_the_daemonset_needs_for_itself_is_not_lost_without_a_word() {
        let usual = include_str!("../manifest/fixtures/v1.20/kube-scheduler.yaml");
        let text = usual.replacen("  labels:\n", "  labels:\n    k8s-app: kube-scheduler\n", 1);
        let pod = StaticPod::parse(Component::Scheduler, text.as_bytes()).unwrap();
        let results = manifest_checks("/m/kube-scheduler.yaml", &pod);
        let words: Vec<String> = results.iter().map(ToString::to_string).collect();
        assert!(
            words.iter().any(
                |word| word.contains("k8s-app=kube-scheduler becomes k8s-app=self-hosted-kube-scheduler")
            ),
            "{words:?}"
        );
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
