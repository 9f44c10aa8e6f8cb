//! Whether a second pod of each component finds a place on the node, as the scheduler will see it. A dry run
//! of the DaemonSets does not tell, and the scheduler does not see static pods.

use super::check_result::CheckResult;
use crate::check::Check;
use crate::cluster::{NAMESPACE, OPT_IN_LABEL};
use crate::manifest::{CRITICAL, nanos};
use crate::placement::{admits, repels, requests, unmet};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The priority that [`CRITICAL`] stands for.
const CRITICAL_PRIORITY: i32 = 2_000_001_000;
/// The resources that the scheduler counts, and the unit of each in a message: in billionths, and its name.
const RESOURCES: [(&str, i128, &str); 4] = [
    ("cpu", 1_000_000, "m"),
    ("memory", (1 << 20) * 1_000_000_000, "Mi"),
    ("ephemeral-storage", (1 << 20) * 1_000_000_000, "Mi"),
    ("pods", 1_000_000_000, ""),
];

/// A DaemonSet, and the path of the manifest that it is made from.
pub(super) type Made = (String, Value);

/// What keeps the pods of these DaemonSets away from the node, or makes other pods leave it.
pub(super) fn fit_checks(node: &Node, pods: &[Pod], daemonsets: &[Made]) -> Vec<CheckResult> {
    let living: Vec<Value> = pods.iter().filter(|pod| !has_ended(pod)).map(|pod| json!(pod)).collect();
    let others = other_resources(daemonsets);
    let others = others.iter().map(|resource| (resource.as_str(), 1_000_000_000, ""));
    let resources = RESOURCES.into_iter().chain(others);
    let mut results: Vec<CheckResult> =
        resources.filter_map(|resource| room_check(node, &living, daemonsets, resource)).collect();
    let node = json!(node);
    for (path, daemonset) in daemonsets {
        results.extend(selector_checks(&node, path, daemonset));
        results.extend(affinity_checks(&node, &living, path, daemonset));
        results.extend(scheduler_check(path, daemonset));
        results.extend(gate_check(path, daemonset));
    }
    results
}

/// The resources that the pods ask for beside [`RESOURCES`], such as huge pages.
fn other_resources(daemonsets: &[Made]) -> BTreeSet<String> {
    let specs = daemonsets.iter().map(|(_, daemonset)| &daemonset["spec"]["template"]["spec"]);
    let containers = specs
        .flat_map(|spec| ["initContainers", "containers"].map(|list| spec[list].as_array()))
        .flatten()
        .flatten();
    let amounts = containers
        .flat_map(|one| ["requests", "limits"].map(|kind| one["resources"][kind].as_object()))
        .flatten();
    let names = amounts.flat_map(|amounts| amounts.keys());
    names.filter(|name| !RESOURCES.iter().any(|(known, ..)| known == name)).cloned().collect()
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn room_check(
    node: &Node,
    pods: &[Value],
    daemonsets: &[Made],
    (resource, unit, name): (&str, i128, &str),
) -> Option<CheckResult> {
    let known = node.status.as_ref()?.allocatable.as_ref()?;
    let allocatable = match known.get(resource) {
        Some(amount) => nanos(&json!(amount.0))?,
        // A node says what it has of the usual ones.
        None if RESOURCES.iter().any(|(usual, ..)| *usual == resource) => return None,
        None => 0,
    };
    let of = |spec: &Value| requests(spec, resource);
    let taken: i128 = pods.iter().map(|pod| of(&pod["spec"])).sum();
    let evictable = |pod: &&Value| pod["spec"]["priority"].as_i64().unwrap_or(0) < CRITICAL_PRIORITY.into();
    let evicted: i128 = pods.iter().filter(evictable).map(|pod| of(&pod["spec"])).sum();
    let templates = || daemonsets.iter().map(|(_, daemonset)| &daemonset["spec"]["template"]["spec"]);
    let wanted: i128 = templates().map(of).sum();
    if wanted == 0 || taken + wanted <= allocatable {
        return None;
    }
    let show = |amount: i128| format!("{}{name}", amount / unit);
    let asking =
        daemonsets.iter().map(|(path, daemonset)| (path, of(&daemonset["spec"]["template"]["spec"])));
    let asking = asking.filter(|(_, amount)| *amount > 0);
    let each: Vec<String> = asking.map(|(path, amount)| format!("{path} {}", show(amount))).collect();
    let seen = format!(
        "the DaemonSets' pods ask for {} of {resource} ({}), and of the node's {} only {} are free while the static pods run",
        show(wanted),
        each.join(", "),
        show(allocatable),
        show((allocatable - taken).max(0))
    );
    let all_critical = templates().all(|spec| spec["priorityClassName"] == CRITICAL);
    Some(match all_critical && taken - evicted + wanted <= allocatable {
        true => CheckResult::warn(
            Check::Fit,
            seen,
            "the scheduler will evict pods of a lower priority to make room: make room before, or go on knowingly",
        ),
        false => CheckResult::refuse(
            Check::Fit,
            seen,
            format!("lower resources.requests.{resource} there, or move other pods off the node"),
        ),
    })
}

fn selector_checks(node: &Value, path: &str, daemonset: &Value) -> Vec<CheckResult> {
    let spec = &daemonset["spec"]["template"]["spec"];
    let labels = &node["metadata"]["labels"];
    let selector = spec["nodeSelector"].as_object().into_iter().flatten();
    let missing = selector.filter(|(key, value)| *key != OPT_IN_LABEL && labels.get(key) != Some(value));
    let mut results: Vec<CheckResult> = missing
        .map(|(key, value)| {
            CheckResult::refuse(
                Check::Fit,
                format!(
                    "the nodeSelector of {} wants {key}={}, which node {} does not bear",
                    name_of(daemonset),
                    value.as_str().unwrap_or_default(),
                    name_of(node)
                ),
                format!(
                    "nothing schedules a static pod, but its DaemonSet's would wait for ever: take it out of {path}, or \
                     label the node"
                ),
            )
        })
        .collect();
    if !admits(spec, node) {
        results.push(CheckResult::refuse(
            Check::Fit,
            format!("the required nodeAffinity of {} does not admit node {}", name_of(daemonset), name_of(node)),
            format!("nothing schedules a static pod, but its DaemonSet's would wait for ever: mend spec.affinity in {path}"),
        ));
    }
    results
}

/// Whether a pod on the node and this one must not share a node: by its own rule, or by the other's.
fn affinity_checks(node: &Value, pods: &[Value], path: &str, daemonset: &Value) -> Vec<CheckResult> {
    let mut ours = daemonset["spec"]["template"].clone();
    ours["metadata"]["namespace"] = NAMESPACE.into();
    let refuse = |whose: &str, other: &Value| {
        CheckResult::refuse(
            Check::Fit,
            format!(
                "the required podAntiAffinity of {whose} keeps the pod of {} off node {}, where {} runs",
                name_of(daemonset),
                name_of(node),
                name_of(other)
            ),
            format!(
                "the static pod and the DaemonSet's must run side by side for a while, and a DaemonSet runs one pod a node \
                 by itself: take the rule out of {path}"
            ),
        )
    };
    if let Some(rule) = unmet(&ours, &pods.iter().collect::<Vec<_>>(), node) {
        return vec![CheckResult::refuse(
            Check::Fit,
            format!(
                "the required podAffinity of {} wants a pod beside it that is not on node {}: {rule}",
                name_of(daemonset),
                name_of(node)
            ),
            format!(
                "nothing schedules a static pod, but its DaemonSet's would wait for ever: take the rule out of {path}"
            ),
        )];
    }
    let own =
        pods.iter().find(|other| repels(&ours, other, node)).map(|other| refuse(name_of(daemonset), other));
    let theirs =
        pods.iter().find(|other| repels(other, &ours, node)).map(|other| refuse(name_of(other), other));
    own.or(theirs).into_iter().collect()
}

fn scheduler_check(path: &str, daemonset: &Value) -> Option<CheckResult> {
    let spec = &daemonset["spec"]["template"]["spec"];
    if spec["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        return Some(CheckResult::refuse(
            Check::Fit,
            format!(
                "{} has spec.schedulingGates, and its pods would wait until they are taken away",
                name_of(daemonset)
            ),
            format!("nothing schedules a static pod: take them out of {path}"),
        ));
    }
    let scheduler =
        spec["schedulerName"].as_str().filter(|name| !matches!(*name, "" | "default-scheduler"))?;
    Some(CheckResult::warn(
        Check::Fit,
        format!("the pods of {} would be bound by the scheduler {scheduler}", name_of(daemonset)),
        format!(
            "it must be running, and go on running while the control plane changes hands; or take spec.schedulerName out \
             of {path}"
        ),
    ))
}

/// A pod with such a gate is Ready only when somebody else says so in its status.
fn gate_check(path: &str, daemonset: &Value) -> Option<CheckResult> {
    let gates = daemonset["spec"]["template"]["spec"]["readinessGates"].as_array()?;
    let gate = gates.first()?["conditionType"].as_str().unwrap_or_default();
    Some(CheckResult::refuse(
        Check::Fit,
        format!(
            "{} has spec.readinessGates ({gate}), and its pods are Ready only when that is said of each",
            name_of(daemonset)
        ),
        format!(
            "a pivot waits for Ready pods, and nothing sets the condition of a new one: take them out of {path}"
        ),
    ))
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Level;

    fn node(cpu: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": { "name": "cp1", "labels": { "zone": "a", "disk": "ssd" } },
            "status": { "allocatable": { "cpu": cpu, "memory": "4Gi", "pods": "110" } }
        }))
        .unwrap()
    }

    fn pod(name: &str, priority: i64, cpu: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "kube-system", "labels": { "component": "kube-apiserver" } },
            "spec": { "priority": priority, "containers": [{ "name": "c", "resources": { "requests": { "cpu": cpu } } }] }
        }))
        .unwrap()
    }

    fn daemonset(more: Value) -> Made {
        let mut spec = json!({ "priorityClassName": CRITICAL,
            "containers": [{ "name": "c", "resources": { "requests": { "cpu": "500m" } } }] });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let template = json!({ "metadata": { "labels": { "component": "kube-apiserver" } }, "spec": spec });
        ("m.yaml".to_owned(), json!({ "metadata": { "name": "ds" }, "spec": { "template": template } }))
    }

    fn worst(results: &[CheckResult]) -> Option<Level> {
        results.iter().map(|verdict| verdict.level).max()
    }

    #[test]
    fn room_is_what_is_allocatable_less_what_is_taken() {
        let critical = i64::from(CRITICAL_PRIORITY);
        for (cpu, pods, expected) in [
            ("2", vec![pod("a", critical, "1500m")], None),
            ("2", vec![pod("a", critical, "1501m")], Some(Level::Refuse)),
            ("2", vec![pod("a", critical, "1"), pod("b", 0, "501m")], Some(Level::Warn)),
            ("2", vec![pod("a", critical, "1600m"), pod("b", 0, "100m")], Some(Level::Refuse)),
        ] {
            let found = fit_checks(&node(cpu), &pods, &[daemonset(json!({}))]);
            assert_eq!(worst(&found), expected, "{found:?}");
        }
        let mut ended = pod("a", critical, "2");
        ended.status = serde_json::from_value(json!({ "phase": "Succeeded" })).unwrap();
        assert_eq!(fit_checks(&node("2"), &[ended], &[daemonset(json!({}))]), []);
        let found = fit_checks(&node("2"), &[pod("a", critical, "1800m")], &[daemonset(json!({}))]);
        assert!(
            found[0].seen.contains("ask for 500m of cpu (m.yaml 500m), and of the node's 2000m only 200m"),
            "{}",
            found[0]
        );
    }

    #[test]
    fn what_the_node_lacks_altogether_is_asked_for_in_vain() {
        let asks = |resource: &str| json!({ "containers": [{ "name": "c", "resources": { "limits": { resource: "4Mi" } } }] });
        let found = fit_checks(&node("4"), &[], &[daemonset(asks("hugepages-2Mi"))]);
        assert_eq!(worst(&found), Some(Level::Refuse), "{found:?}");
        assert!(found[0].seen.contains("of hugepages-2Mi (m.yaml 4194304)"), "{}", found[0]);
        assert_eq!(fit_checks(&node("4"), &[], &[daemonset(asks("ephemeral-storage"))]), []);
    }

    #[test]
    fn rules_of_placement_hold_for_the_second_pod() {
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        let node_rule = |requirement: Value| json!({ "affinity": { "nodeAffinity": { required: { "nodeSelectorTerms": [{ "matchExpressions": [requirement] }] } } } });
        let pod_rule = |selector: Value, domain: &str| json!({ "affinity": { "podAntiAffinity": { required: [{ "labelSelector": selector, "topologyKey": domain }] } } });
        let beside_rule = |selector: Value, domain: &str| json!({ "affinity": { "podAffinity": { required: [{ "labelSelector": selector, "topologyKey": domain }] } } });
        let same = json!({ "matchLabels": { "component": "kube-apiserver" } });
        let host = "kubernetes.io/hostname";
        for (more, expected) in [
            (json!({ "nodeSelector": { "disk": "ssd" } }), None),
            (json!({ "nodeSelector": { "disk": "hdd" } }), Some("wants disk=hdd")),
            (json!({ "nodeSelector": { OPT_IN_LABEL: "" } }), None),
            (node_rule(json!({ "key": "zone", "operator": "In", "values": ["a", "b"] })), None),
            (node_rule(json!({ "key": "zone", "operator": "NotIn", "values": ["a"] })), Some("nodeAffinity")),
            (node_rule(json!({ "key": "gone", "operator": "Exists" })), Some("nodeAffinity")),
            (pod_rule(same.clone(), host), Some("keeps the pod of ds off node cp1, where static runs")),
            (pod_rule(json!({}), host), Some("podAntiAffinity")),
            (pod_rule(same.clone(), "zone"), Some("podAntiAffinity")),
            (pod_rule(same.clone(), "rack"), None),
            (pod_rule(json!({ "matchLabels": { "component": "other" } }), host), None),
            (beside_rule(same.clone(), host), None),
            (
                beside_rule(json!({ "matchLabels": { "app": "x" } }), host),
                Some("podAffinity of ds wants a pod"),
            ),
            (beside_rule(json!({ "matchLabels": { "app": "x" } }), "zone"), None),
            (beside_rule(same.clone(), "rack"), Some("podAffinity of ds wants a pod")),
            (json!({ "schedulerName": "default-scheduler" }), None),
            (json!({ "schedulerName": "mine" }), Some("scheduler mine")),
            (json!({ "schedulingGates": [{ "name": "g" }] }), Some("schedulingGates")),
            (json!({ "readinessGates": [{ "conditionType": "lb" }] }), Some("readinessGates (lb)")),
            (json!({ "readinessGates": [] }), None),
        ] {
            let found = fit_checks(&node("4"), &[pod("static", 0, "1m")], &[daemonset(more.clone())]);
            let words = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            match expected {
                None => assert_eq!(found, [], "{more}"),
                Some(expected) => assert!(words.contains(expected), "{more}: {words}"),
            }
        }
        // The other's rule counts as well.
        let mut other = pod("other", 0, "1m");
        let rule = pod_rule(same, host);
        other.spec.as_mut().unwrap().affinity = serde_json::from_value(rule["affinity"].clone()).unwrap();
        let found = fit_checks(&node("4"), &[other], &[daemonset(json!({}))]);
        assert!(found[0].seen.contains("podAntiAffinity of other"), "{found:?}");
    }
}
