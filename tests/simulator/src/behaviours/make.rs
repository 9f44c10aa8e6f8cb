//! Makes what behaviours need.

use super::failed::Failed;
use super::ground::{Ground, NAMESPACE, SECOND_PORT, parse, seen};
use super::names::{LABEL, SECOND};
use fulcrum_steps::cluster::config_hash;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, ContainerStatus, Pod};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// An image that no registry has (RFC 2606).
pub(super) const NO_IMAGE: &str = "fulcrum.invalid/none:0";

/// From JSON to a typed object.
pub(super) fn typed<K: DeserializeOwned>(object: Value) -> Result<K, Failed> {
    serde_json::from_value(object).map_err(|error| Failed::new("making an object", error.to_string()))
}

pub(super) fn config_map(name: &str, value: &str) -> Result<ConfigMap, Failed> {
    let labels = json!({LABEL: "yes", "value": value});
    typed(json!({"metadata": {"name": name, "labels": labels}, "data": {"value": value}}))
}

/// A pod's spec: one container of the image, which sleeps unless a command is given.
pub(super) fn pod_spec(image: &str, command: &[&str]) -> Value {
    let mut container = json!({"name": "c", "image": image, "imagePullPolicy": "IfNotPresent"});
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    json!({
        "hostNetwork": true, "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false,
        "tolerations": [{"operator": "Exists"}], "containers": [container],
    })
}

/// A DaemonSet of sleeping pods on nodes with this label.
pub(super) fn daemon_set(
    ground: &Ground,
    name: &str,
    (key, value): (&str, &str),
) -> Result<DaemonSet, Failed> {
    let mut spec = pod_spec(&ground.pause, &[]);
    spec["nodeSelector"] = json!({key: value});
    let labels = json!({LABEL: "yes", "app": name});
    let template = json!({"metadata": {"labels": labels}, "spec": spec});
    typed(json!({
        "metadata": {"name": name, "labels": {LABEL: "yes"}},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template},
    }))
}

/// A pod for this node's scheduler to place.
pub(super) fn pod(ground: &Ground, name: &str, spec: Value) -> Result<Pod, Failed> {
    let mut spec = spec;
    spec["nodeSelector"] = json!({"kubernetes.io/hostname": ground.hostname});
    typed(json!({"metadata": {"name": name, "labels": {LABEL: "yes"}}, "spec": spec}))
}

impl Ground {
    /// Puts a static pod into the manifests directory. Returns the name of its mirror pod.
    pub(super) fn put_static(&self, file: &str, name: &str, spec: &Value) -> Result<String, Failed> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "spec": spec,
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {LABEL: "yes"}},
        });
        // JSON is YAML. Mode and owner are those of the neighbouring files.
        self.manifests.write(file, &self.manifest("kube-scheduler")?.with_content(pod.to_string()))?;
        Ok(format!("{name}-{}", self.node))
    }

    /// The spec of a component's static pod without what would conflict with its twin: probes, ports,
    /// requests, priority.
    pub(super) fn twin_spec(&self, component: &str) -> Result<Value, Failed> {
        let mut spec = parse(&self.manifest(component)?)?["spec"].take();
        for field in ["priority", "priorityClassName"] {
            spec.as_object_mut().map(|spec| spec.remove(field));
        }
        spec["terminationGracePeriodSeconds"] = json!(5);
        for container in spec["containers"].as_array_mut().into_iter().flatten() {
            for field in ["livenessProbe", "readinessProbe", "startupProbe", "ports", "resources"] {
                container.as_object_mut().map(|container| container.remove(field));
            }
        }
        Ok(spec)
    }

    /// Starts a second API server, and waits until it serves.
    pub(super) async fn start_second(&self) -> Result<(), Failed> {
        let mut spec = self.twin_spec("kube-apiserver")?;
        let Some(words) = spec["containers"][0]["command"].as_array_mut() else {
            return Err(Failed::new("the API server's manifest", "its first container has no command"));
        };
        words.retain(|word| !word.as_str().is_some_and(|word| word.starts_with("--secure-port=")));
        words.push(json!(format!("--secure-port={SECOND_PORT}")));
        // The server would publish its own port as that of every API server.
        words.push(json!("--endpoint-reconciler-type=none"));
        self.put_static(SECOND, "behaves-apiserver", &spec)?;
        self.eventually("the second API server to serve", async || self.second_ready().await).await
    }

    async fn second_ready(&self) -> Result<(), String> {
        let request = http::Request::get("/readyz").body(Vec::new()).map_err(seen)?;
        self.second.request_text(request).await.map(drop).map_err(seen)
    }

    /// The mirror pod of that name, once it exists and `holds`.
    pub(super) async fn mirror(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&Pod) -> bool,
    ) -> Result<Pod, Failed> {
        self.eventually(&format!("mirror pod {name} to {what}"), async || {
            let pod = self.api::<Pod>().get_opt(name).await.map_err(seen)?.ok_or("there is no such pod")?;
            if config_hash(&pod).is_some() && holds(&pod) {
                Ok(pod)
            } else {
                Err(fulcrum_steps::cluster::pod_story(&pod))
            }
        })
        .await
    }

    /// Expects that nothing of that name is left.
    pub(super) async fn gone<K>(&self, name: &str) -> Result<(), Failed>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        self.eventually(&format!("{name} to be gone"), async || {
            match self.api::<K>().get_opt(name).await.map_err(seen)? {
                None => Ok(()),
                Some(there) => Err(format!("it is there, {:?}", there.meta().deletion_timestamp)),
            }
        })
        .await
    }
}

/// The status of a pod's first container.
pub(super) fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

/// Why that container waits.
pub(super) fn waits_for(pod: &Pod) -> &str {
    let state = container(pod).and_then(|status| status.state.as_ref());
    state
        .and_then(|state| state.waiting.as_ref())
        .and_then(|waiting| waiting.reason.as_deref())
        .unwrap_or_default()
}

/// The exit code of its last process.
pub(super) fn last_exit(pod: &Pod) -> Option<i32> {
    let last = container(pod)?.last_state.as_ref()?;
    last.terminated.as_ref().map(|ended| ended.exit_code)
}

pub(super) fn restarts(pod: &Pod) -> i32 {
    container(pod).map_or(0, |status| status.restart_count)
}

pub(super) fn runs(pod: &Pod) -> bool {
    container(pod).and_then(|status| status.state.as_ref()).is_some_and(|state| state.running.is_some())
}

pub(super) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}
