//! The DaemonSets that are there already: other nodes run on them, or they are in the way.

use super::check_result::CheckResult;
use super::host_facts::HostFacts;
use crate::check::Check;
use crate::cluster::{OPT_IN_LABEL, RUN_ANNOTATION};
use crate::component::Component;
use crate::manifest::Difference;
use crate::site::Site;
use serde_json::Value;
use std::collections::BTreeMap;

/// The DaemonSets that are there, and the nodes that run on them.
pub(super) struct OnDaemonSets<'a> {
    pub(super) daemonsets: &'a BTreeMap<Component, Value>,
    /// The other nodes.
    pub(super) others: Vec<&'a str>,
    /// Whether this node is one.
    pub(super) here: bool,
}

/// What the checks say of the DaemonSets that are there.
pub(super) async fn daemonset_checks(
    site: &Site,
    host: &HostFacts,
    facts: &OnDaemonSets<'_>,
) -> Vec<CheckResult> {
    let OnDaemonSets { daemonsets, others, here } = facts;
    let is_missing = |component: &Component| !daemonsets.contains_key(component);
    let missing: Vec<Component> = Component::ALL.into_iter().filter(is_missing).collect();
    if !others.is_empty() && !missing.is_empty() {
        return vec![half_there(&missing, others)];
    }
    let mut results = Vec::new();
    for (component, live) in *daemonsets {
        let ours = host.static_pods.get(component).filter(|_| !others.is_empty() && !here && is_ours(live));
        let Some(pod) = ours else {
            results.push(in_the_way(*component, live, others, &site.settings.node));
            continue;
        };
        let path = host.path(*component);
        let made = pod.daemonset(&site.settings.target(None));
        let compared = match site.cluster.compare_daemonset(&made, live).await {
            Ok(Ok(())) => continue,
            Ok(Err(differences)) => other_pods(*component, &path, &differences, others),
            Err(error) => {
                let remedy = format!("what {path} makes could not be compared with what is there");
                CheckResult::refuse(Check::Daemonset, error.to_string(), remedy)
            }
        };
        results.push(compared);
    }
    if results.is_empty() && !others.is_empty() {
        let seen = format!("the DaemonSets on {} are what this node's manifests make", others.join(", "));
        results.push(CheckResult::pass(Check::Daemonset, seen));
    }
    results
}

fn is_ours(live: &Value) -> bool {
    live["metadata"]["annotations"][RUN_ANNOTATION].is_string()
}

fn in_the_way(component: Component, live: &Value, others: &[&str], node: &str) -> CheckResult {
    let name = component.daemonset_name();
    let seen = match live["metadata"]["annotations"][RUN_ANNOTATION].as_str() {
        Some(run) => format!("DaemonSet {name} is there, made by run {run}"),
        None => format!("DaemonSet {name} is there, and fulcrum did not make it"),
    };
    let remedy = if others.is_empty() {
        "this control plane is already self-hosted (`fulcrum adopt`), or another tool has left it half-pivoted: while the static pods \
         serve, kubectl -n kube-system delete daemonset takes it away"
            .to_owned()
    } else {
        // Whoever deletes it ends the control planes of the others.
        format!(
            "{} run on it, so do not delete it; if this node's static pods serve: kubectl label node {node} \
             {OPT_IN_LABEL}- takes its pods away from here",
            others.join(", ")
        )
    };
    CheckResult::refuse(Check::Daemonset, seen, remedy)
}

/// A DaemonSet that this node would make starts pods on the other nodes, too, beside their fallbacks.
fn half_there(missing: &[Component], others: &[&str]) -> CheckResult {
    let names: Vec<&str> = missing.iter().map(|component| component.daemonset_name()).collect();
    CheckResult::refuse(
        Check::Daemonset,
        format!("{} shall run on {} ({OPT_IN_LABEL}), and is not there", names.join(", "), others.join(", ")),
        "what this node makes would start pods there: first bring those nodes back with `fulcrum rollback`, on each",
    )
}

/// This node's manifest makes other pods than those that run on other nodes.
fn other_pods(component: Component, path: &str, differences: &[Difference], others: &[&str]) -> CheckResult {
    let show = |value: &Option<Value>| value.as_ref().map_or("nothing".to_owned(), Value::to_string);
    let line = |one: &Difference| {
        let field = one.path.strip_prefix("spec.template.").unwrap_or(&one.path);
        format!("{field}: here {}, there {}", show(&one.ours), show(&one.live))
    };
    let lines: Vec<String> = differences.iter().map(line).collect();
    let name = component.daemonset_name();
    CheckResult::refuse(
        Check::Daemonset,
        format!(
            "{path} makes another DaemonSet {name} than the one on {}: {}",
            others.join(", "),
            lines.join("; ")
        ),
        "one DaemonSet runs on all nodes: write into this manifest what the others have, or change the DaemonSet there with \
         `fulcrum edit`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_difference_names_the_field_and_what_each_side_has() {
        let difference = |path: &str, ours: Value, live: Option<Value>| Difference {
            path: format!("spec.template.spec.{path}"),
            ours: Some(ours),
            live,
        };
        let differences = [
            difference("containers[0].command", json!("--v=4"), Some(json!("--v=2"))),
            difference("containers[0].command", json!("--profiling=false"), None),
        ];
        let said = other_pods(Component::Scheduler, "/m/kube-scheduler.yaml", &differences, &["cp1", "cp3"]);
        assert_eq!(
            said.seen,
            "/m/kube-scheduler.yaml makes another DaemonSet self-hosted-kube-scheduler than the one on cp1, cp3: \
             spec.containers[0].command: here \"--v=4\", there \"--v=2\"; \
             spec.containers[0].command: here \"--profiling=false\", there nothing"
        );
    }
}
