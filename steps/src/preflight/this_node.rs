//! Finds the cluster's node that this host is.

use super::check_result::CheckResult;
use crate::check::Check;
use crate::cluster::{config_hash, is_ready};
use crate::component::Component;
use crate::host::Listener;
use crate::site::describe;
use k8s_openapi::api::core::v1::Pod;

/// Why this host is none of the cluster's nodes.
#[derive(Debug)]
pub(super) enum NotFound {
    /// The host will not become one later either.
    Refused(Box<CheckResult>),
    /// The kubelet may only not have registered it yet.
    NotYet(Box<CheckResult>),
}

/// The node that this host is, by its name in the cluster. The hostname proves nothing. The proof is the
/// mirror pod of the very process that listens here, on `port`.
pub(super) fn find_node(
    pods: &[Pod],
    listeners: &[Listener],
    port: u16,
    said: Option<&str>,
) -> Result<String, NotFound> {
    let refuse = |seen: String, remedy: &str| Box::new(CheckResult::refuse(Check::Node, seen, remedy));
    let here: Vec<&str> =
        listeners.iter().filter_map(|listener| listener.process.pod_uid.as_deref()).collect();
    let found = pods.iter().find(|pod| config_hash(pod).is_some_and(|hash| here.contains(&hash)));
    let node = found.and_then(|pod| pod.spec.as_ref()?.node_name.as_deref());
    match (node, said) {
        (Some(node), Some(said)) if node != said => {
            let seen = format!("the cluster knows this host as node {node}, not {said}");
            let remedy = "leave --node-name out, or run this on the node that you mean";
            return Err(NotFound::Refused(refuse(seen, remedy)));
        }
        (Some(node), _) => return Ok(node.to_owned()),
        (None, _) => {}
    }
    if here.is_empty() {
        let others: Vec<String> = listeners.iter().map(|listener| describe(&listener.process)).collect();
        let others = if others.is_empty() { "nobody does".to_owned() } else { others.join(" and ") };
        let remedy =
            "the API server must run from its static manifest: the kubelet's log says why it does not";
        let seen = format!("no static API server listens on port {port} of this host: {others}");
        return Err(NotFound::Refused(refuse(seen, remedy)));
    }
    let name = |pod: &Pod| pod.metadata.name.clone().unwrap_or_default();
    let is_server =
        |pod: &&Pod| config_hash(pod).is_some() && name(pod).starts_with(Component::ApiServer.name());
    let other = pods.iter().filter(is_server).find(|pod| is_ready(pod));
    Err(match other {
        Some(pod) => NotFound::Refused(refuse(
            format!(
                "the API server that runs here is of the static pod {}, and the cluster's {} stands for another",
                here.join(", "),
                name(pod)
            ),
            "if that is this node, the kubelet has just read a changed manifest: try again in a minute; if not, the \
             kubeconfig is another cluster's",
        )),
        None => NotFound::NotYet(refuse(
            format!(
                "the cluster has no mirror pod of the API server that runs here (static pod {})",
                here.join(", ")
            ),
            "just after a start the kubelet takes a while to register its static pods: try again in a minute; if it stays \
             so, its log says why, or the kubeconfig is another cluster's",
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Process;
    use serde_json::json;

    #[test]
    fn a_node_is_known_by_the_process_that_listens() {
        let hash = "0123456789abcdef0123456789abcdef";
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "kube-apiserver-cp1", "annotations": {
                "kubernetes.io/config.hash": hash, "kubernetes.io/config.mirror": hash } },
            "spec": { "nodeName": "cp1", "containers": [] }
        }))
        .unwrap();
        let process = Process { pid: 1, command: vec![], pod_uid: Some(hash.to_owned()), memory: 0 };
        let address = "[::]:6443".parse().unwrap();
        let here = [Listener { process, inode: 1, uid: 0, address }];
        assert_eq!(find_node(std::slice::from_ref(&pod), &here, 6443, None).unwrap(), "cp1");
        let refused = |pods: &[Pod], here: &[Listener], said| match find_node(pods, here, 6443, said) {
            Err(NotFound::Refused(verdict)) => verdict.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(refused(std::slice::from_ref(&pod), &here, Some("cp2")).contains("cp1, not cp2"));
        assert!(
            refused(std::slice::from_ref(&pod), &[], None)
                .contains("no static API server listens on port 6443")
        );
        // Just after a start the kubelet has registered nothing yet.
        assert!(matches!(find_node(&[], &here, 6443, None), Err(NotFound::NotYet(_))));
        let mut other = pod;
        other.metadata.annotations.as_mut().unwrap().insert("kubernetes.io/config.hash".into(), "f".into());
        let waiting = find_node(std::slice::from_ref(&other), &here, 6443, None);
        assert!(
            matches!(waiting, Err(NotFound::NotYet(_))),
            "the old one is not ready: its successor may come"
        );
        other.status =
            serde_json::from_value(json!({ "conditions": [{ "type": "Ready", "status": "True" }] })).unwrap();
        assert!(refused(&[other], &here, None).contains("stands for another"));
    }
}
