//! Makes the bridge, an API server on a second port, out of the first one's static pod.

use serde_json::json;

use super::daemonset::ENDPOINT_ANNOTATION;
use super::handlers;
use super::static_pod::StaticPod;

/// The name of the bridge's pod.
pub const BRIDGE: &str = "kube-apiserver-bridge";
const PROBES: [&str; 3] = ["startupProbe", "readinessProbe", "livenessProbe"];

impl StaticPod {
    /// This API server as a second static pod, which listens on `port`, as the bytes of a manifest.
    ///
    /// The bridge leaves the `kubernetes` endpoints alone: it would publish its own port there. It keeps no
    /// label by which kubeadm or a service would take it for the first server. It asks for no CPU and no
    /// memory: it lives for seconds, and on a full node the kubelet would evict other pods to make room for a
    /// critical one. The kubelet does not probe it either: fulcrum does. The kubelet looks again at a pod
    /// whose probes have just succeeded before it ends the pod, and for that second its clients would be held
    /// back.
    pub fn bridge(&self, port: u16) -> Vec<u8> {
        let mut document = self.document.clone();
        let metadata = &mut document["metadata"];
        metadata["name"] = BRIDGE.into();
        metadata["labels"] = json!({ "k8s-app": BRIDGE });
        if let Some(annotations) = metadata.get_mut("annotations").and_then(|all| all.as_object_mut()) {
            annotations.remove(ENDPOINT_ANNOTATION);
        }
        for list in ["initContainers", "containers"] {
            let containers = document["spec"].get_mut(list).and_then(|list| list.as_array_mut());
            for container in containers.into_iter().flatten().filter_map(|one| one.as_object_mut()) {
                // With a host port the kubelet would reject the pod beside the first one.
                handlers::detach(container, &[]);
                container.remove("resources");
            }
        }
        if let Some(container) = document["spec"]["containers"][self.container].as_object_mut() {
            let mut line = self.line.clone();
            line.set("secure-port", &port.to_string());
            line.set("endpoint-reconciler-type", "none");
            line.write(container);
            for probe in PROBES {
                container.remove(probe);
            }
            handlers::redirect(container, self.port(), port);
        }
        format!("{document:#}\n").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::Component;
    use serde_json::Value;

    const V1_35: &[u8] = include_bytes!("fixtures/v1.35/kube-apiserver.yaml");
    const V1_20: &[u8] = include_bytes!("fixtures/v1.20/kube-apiserver.yaml");

    /// The differences between a bridge and its original, and nothing else.
    #[test]
    fn a_bridge_is_the_same_server_on_another_port() {
        for original in [V1_35, V1_20] {
            let pod = StaticPod::parse(Component::ApiServer, original).unwrap();
            let bridge = StaticPod::parse(Component::ApiServer, &pod.bridge(16443)).unwrap();
            assert_eq!((bridge.name(), bridge.port(), bridge.health().port), (BRIDGE, 16443, 16443));
            assert_eq!(bridge.flag("endpoint-reconciler-type").as_deref(), Some("none"));
            let mut expected = pod.document.clone();
            expected["metadata"]["name"] = json!("kube-apiserver-bridge");
            expected["metadata"]["labels"] = json!({ "k8s-app": "kube-apiserver-bridge" });
            expected["metadata"]["annotations"] = json!({});
            let container = &mut expected["spec"]["containers"][0];
            for word in container["command"].as_array_mut().unwrap() {
                if word == "--secure-port=6443" {
                    *word = json!("--secure-port=16443");
                }
            }
            container["command"].as_array_mut().unwrap().push(json!("--endpoint-reconciler-type=none"));
            for gone in ["ports", "resources", "livenessProbe", "readinessProbe", "startupProbe"] {
                container.as_object_mut().unwrap().remove(gone);
            }
            assert_eq!(bridge.document, expected);
        }
    }

    #[test]
    fn what_else_a_person_has_in_the_manifest_stays() {
        let added = "  initContainers:\n  - name: first\n    image: busybox\n    ports:\n    - containerPort: 80\n  \
                     containers:\n  - name: sidecar\n    image: busybox\n    livenessProbe:\n      httpGet:\n        \
                     path: /\n        port: 8080\n";
        let hook = "    lifecycle:\n      preStop:\n        httpGet:\n          path: /\n          port: 6443\n    livenessProbe:\n";
        let text = String::from_utf8(V1_35.to_vec()).unwrap();
        let text = text.replace("    livenessProbe:\n", hook).replace("  containers:\n", added);
        let pod = StaticPod::parse(Component::ApiServer, text.as_bytes()).unwrap();
        let bridge: Value = serde_json::from_slice(&pod.bridge(16443)).unwrap();
        assert_eq!(bridge["spec"]["initContainers"], json!([{ "name": "first", "image": "busybox" }]));
        assert_eq!(bridge["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"], 8080);
        let server = &bridge["spec"]["containers"][1];
        assert_eq!(server["lifecycle"]["preStop"]["httpGet"]["port"], 16443);
        assert_eq!(server["livenessProbe"], Value::Null);
    }
}
