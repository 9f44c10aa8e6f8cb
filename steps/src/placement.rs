//! The scheduler's view of a pod and a node, as far as it can keep a control-plane pod waiting. Pure.

use crate::manifest::nanos;
use serde_json::Value;

/// The topology in which each node is alone.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// A pod's request in billionths, as the scheduler counts it: all containers together, or the largest init
/// container with the containers that run beside it.
pub fn requests(spec: &Value, resource: &str) -> i128 {
    if resource == "pods" {
        return 1_000_000_000;
    }
    let amount = |holder: &Value| {
        let of = |kind: &str| nanos(&holder["resources"][kind][resource]);
        of("requests").or_else(|| of("limits"))
    };
    let list = |key: &str| spec[key].as_array().cloned().unwrap_or_default();
    let (mut beside, mut peak) = (0, 0);
    for init in list("initContainers") {
        let own = amount(&init).unwrap_or(0);
        if init["restartPolicy"] == "Always" {
            beside += own;
            peak = peak.max(beside);
        } else {
            peak = peak.max(beside + own);
        }
    }
    let running: i128 = beside + list("containers").iter().map(|one| amount(one).unwrap_or(0)).sum::<i128>();
    let all = amount(spec).unwrap_or(running.max(peak));
    all + nanos(&spec["overhead"][resource]).unwrap_or(0)
}

/// Whether the spec's required node affinity admits the node.
pub fn admits(spec: &Value, node: &Value) -> bool {
    let required = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let terms = required["nodeSelectorTerms"].as_array();
    terms.is_none_or(|terms| terms.iter().any(|term| term_admits(term, node)))
}

/// Whether a node selector's term, all of whose requirements must hold, admits the node.
fn term_admits(term: &Value, node: &Value) -> bool {
    let list = |key: &str| term[key].as_array().cloned().unwrap_or_default();
    let name = node["metadata"]["name"].as_str();
    let (labels, fields) = (list("matchExpressions"), list("matchFields"));
    if labels.is_empty() && fields.is_empty() {
        return false; // An empty term admits nothing.
    }
    let label = |key: &str| node["metadata"]["labels"][key].as_str();
    labels.iter().all(|one| holds(one, label))
        && fields.iter().all(|one| holds(one, |key| name.filter(|_| key == "metadata.name")))
}

/// Whether a requirement (`In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`) holds for the value from
/// `value_of`.
fn holds<'a>(requirement: &Value, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
    let value = value_of(requirement["key"].as_str().unwrap_or_default());
    let values: Vec<&str> =
        requirement["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let numbers = || Some((value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match requirement["operator"].as_str() {
        Some("In") => value.is_some_and(|value| values.contains(&value)),
        Some("NotIn") => value.is_none_or(|value| !values.contains(&value)),
        Some("Exists") => value.is_some(),
        Some("DoesNotExist") => value.is_none(),
        Some("Gt") => numbers().is_some_and(|(own, given)| own > given),
        Some("Lt") => numbers().is_some_and(|(own, given)| own < given),
        _ => false,
    }
}

/// Whether a required anti-affinity of `pod` matches `other` in a domain that the node is in.
pub fn repels(pod: &Value, other: &Value, node: &Value) -> bool {
    let rules = &pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    rules.as_array().into_iter().flatten().any(|rule| {
        let domain = rule["topologyKey"].as_str().unwrap_or_default();
        // Every node has a name, whether or not a label says it.
        let in_domain = domain == HOSTNAME || !node["metadata"]["labels"][domain].is_null();
        in_domain && matches(rule, pod, other)
    })
}

/// The selector of a required affinity of `pod` that none of the pods on the node meets, nor the pod itself, which
/// may be the first of its kind. Other domains than the node are not judged: their pods are not known.
pub fn unmet<'a>(pod: &'a Value, pods: &[&Value], node: &Value) -> Option<&'a Value> {
    let rules = &pod["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let mut rules = rules.as_array().into_iter().flatten().filter(|rule| {
        let domain = rule["topologyKey"].as_str().unwrap_or_default();
        domain == HOSTNAME || node["metadata"]["labels"][domain].is_null()
    });
    let met = |rule: &Value| {
        let named = rule["topologyKey"] == HOSTNAME;
        named && (matches(rule, pod, pod) || pods.iter().any(|other| matches(rule, pod, other)))
    };
    rules.find(|rule| !met(rule)).map(|rule| &rule["labelSelector"])
}

/// Whether a rule of `pod` is about `other`, by namespace and labels.
fn matches(rule: &Value, pod: &Value, other: &Value) -> bool {
    let named: Vec<&Value> = rule["namespaces"].as_array().into_iter().flatten().collect();
    let namespace = &other["metadata"]["namespace"];
    let in_namespace = match (named.is_empty(), rule["namespaceSelector"].is_object()) {
        (true, false) => *namespace == pod["metadata"]["namespace"],
        // The labels of namespaces are not asked for: better one word too many than a pod that waits.
        (_, true) => true,
        (false, false) => named.contains(&namespace),
    };
    in_namespace && selects(&rule["labelSelector"], &other["metadata"]["labels"])
}

/// Whether a label selector selects these labels. The empty selector selects everything, an absent one
/// nothing.
fn selects(selector: &Value, labels: &Value) -> bool {
    let pairs = selector["matchLabels"].as_object().into_iter().flatten();
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    selector.is_object()
        && pairs.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && expressions.into_iter().all(|one| holds(one, |key| labels[key].as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn init_containers_count_where_they_are_larger() {
        let one = |cpu: &str, restart: Value| json!({ "restartPolicy": restart, "resources": { "requests": { "cpu": cpu } } });
        for (init, expected) in [
            (json!([]), 300),
            (json!([one("1", Value::Null)]), 1000),
            (json!([one("100m", json!("Always"))]), 400),
            (json!([one("100m", json!("Always")), one("1", Value::Null)]), 1100),
        ] {
            let spec = json!({ "initContainers": init, "containers": [one("300m", Value::Null)] });
            assert_eq!(requests(&spec, "cpu"), expected * 1_000_000);
        }
        let limits = json!({ "containers": [{ "resources": { "limits": { "cpu": "1" } } }], "overhead": { "cpu": "1m" } });
        assert_eq!(requests(&limits, "cpu"), 1_001_000_000);
    }
}
