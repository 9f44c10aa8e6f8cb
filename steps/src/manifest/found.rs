//! Makes a static manifest out of a DaemonSet that somebody else has made.

use super::daemonset::Target;
use super::standby::{StandbyError, standby_of};
use crate::cluster::{ROLE_LABEL, ROLE_LABEL_BEFORE_1_24};
use crate::component::Component;
use serde_json::{Map, Value, json};

/// The labels that kubeadm gives a component's static pod. It finds the pod by them.
const TIER: &str = "control-plane";

/// The static manifest that runs what the DaemonSet `live` runs, as JSON, with `--permit-port-sharing`. For a DaemonSet
/// of fulcrum's this is the standby.
///
/// kubeadm's own pivot tied its pods to the role's nodes, gave them the cluster's resolver, and dropped the labels by
/// which kubeadm finds a component. None of that is right for a static pod, and it is taken back.
///
/// # Errors
/// When the DaemonSet refers to an object of the API (a Secret, a ConfigMap, a ServiceAccount), or does not run the
/// component.
pub fn static_of(component: Component, live: &Value, target: &Target) -> Result<String, StandbyError> {
    let mut live = live.clone();
    let template = &mut live["spec"]["template"];
    if let Some(spec) = template["spec"].as_object_mut() {
        untie(spec);
    }
    let mut labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.entry("component").or_insert(component.name().into());
    labels.entry("tier").or_insert(TIER.into());
    template["metadata"]["labels"] = labels.into();
    standby_of(component, &live, target)
}

/// Takes away what ties the pod to nodes of a role, and to the cluster's resolver.
fn untie(spec: &mut Map<String, Value>) {
    let is_role = |key: &str| [ROLE_LABEL, ROLE_LABEL_BEFORE_1_24].contains(&key);
    if let Some(selector) = spec.get_mut("nodeSelector").and_then(Value::as_object_mut) {
        selector.retain(|key, _| !is_role(key));
    }
    if let Some(tolerations) = spec.get_mut("tolerations").and_then(Value::as_array_mut) {
        tolerations.retain(|one| !one["key"].as_str().is_some_and(is_role));
    }
    if spec.get("dnsPolicy") == Some(&json!("ClusterFirstWithHostNet")) {
        spec.remove("dnsPolicy");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::StaticPod;
    use std::collections::BTreeMap;

    const SERVER: &[u8] = include_bytes!("fixtures/v1.35/kube-apiserver.yaml");

    fn target(address: &str) -> Target {
        Target {
            role_label: ROLE_LABEL.to_owned(),
            opt_in_label: "fulcrum.dev/self-hosted".to_owned(),
            kubernetes_minor: 35,
            node_addresses: vec![address.parse().unwrap()],
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            in_secrets: None,
        }
    }

    fn original() -> StaticPod {
        StaticPod::parse(Component::ApiServer, SERVER).unwrap()
    }

    fn address() -> String {
        original().advertise_address().unwrap().to_string()
    }

    /// There and back gives the manifest that fulcrum began with, and one flag.
    #[test]
    fn a_daemonset_of_fulcrums_gives_its_manifest_back() {
        let target = target(&address());
        let made = static_of(Component::ApiServer, &original().daemonset(&target), &target).unwrap();
        let (now, before) = (StaticPod::parse(Component::ApiServer, made.as_bytes()).unwrap(), original());
        assert!(now.permits_port_sharing());
        assert_eq!(
            now.daemonset(&target),
            before.daemonset(&target),
            "a pivot makes the same DaemonSet again"
        );
        assert_eq!(now.advertise_address(), before.advertise_address());
    }

    /// What kubeadm's pivot did to the pod, as its release 1.17 has it in cmd/kubeadm/app/phases/selfhosting.
    #[test]
    fn what_kubeadms_pivot_added_is_taken_back() {
        let target = target(&address());
        let mut live = original().daemonset(&target);
        let template = &mut live["spec"]["template"];
        template["metadata"]["labels"] = json!({ "k8s-app": "self-hosted-kube-apiserver" });
        let spec = &mut template["spec"];
        spec["nodeSelector"] = json!({ ROLE_LABEL_BEFORE_1_24: "", "disk": "fast" });
        spec["tolerations"] = json!([{ "key": ROLE_LABEL_BEFORE_1_24, "effect": "NoSchedule" }]);
        spec["dnsPolicy"] = "ClusterFirstWithHostNet".into();
        let made: Value =
            serde_json::from_str(&static_of(Component::ApiServer, &live, &target).unwrap()).unwrap();
        assert_eq!(made["spec"]["nodeSelector"], json!({ "disk": "fast" }));
        assert_eq!(
            (&made["spec"]["tolerations"], &made["spec"]["dnsPolicy"]),
            (&Value::Null, &Value::Null),
            "{made:#}"
        );
        assert_eq!(
            made["metadata"]["labels"],
            json!({ "component": "kube-apiserver", "tier": "control-plane" })
        );
    }

    #[test]
    fn a_pod_that_needs_the_api_is_refused_by_name() {
        let target = target(&address());
        let mut live = original().daemonset(&target);
        let volumes = live["spec"]["template"]["spec"]["volumes"].as_array_mut().unwrap();
        volumes
            .push(json!({ "name": "certs", "projected": { "sources": [{ "secret": { "name": "ca" } }] } }));
        let at = volumes.len() - 1;
        let refused = static_of(Component::ApiServer, &live, &target).unwrap_err().to_string();
        let path = format!("spec.template.spec.volumes[{at}].projected.sources[0].secret refers to a Secret");
        assert!(refused.contains(&path), "{refused}");
    }
}
