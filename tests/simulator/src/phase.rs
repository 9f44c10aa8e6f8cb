//! The simulated kubeadm goes through phases of `init`: it writes what changes from release to release.

use fulcrum_steps::cluster::NAMESPACE;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::{Api, Client};

/// The phase, for the release that the configuration names. No controller rolls a Deployment out here: it is through at once.
///
/// # Errors
/// When the API refuses, or the cluster has nothing of this phase.
pub(super) async fn go_through(client: &Client, phase: &str, config: &str) -> kube::Result<()> {
    let release = config.split("\"kubernetesVersion\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let release = release.unwrap_or_default();
    match phase {
        "upload-config/kubelet" => {
            let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
            let mut map = maps.get("kubelet-config").await?;
            if let Some(text) = map.data.as_mut().and_then(|data| data.get_mut("kubelet")) {
                *text = format!("{}# as kubeadm {release} writes it\n", without_remark(text));
            }
            maps.replace("kubelet-config", &PostParams::default(), &map).await.map(drop)
        }
        "addon/coredns" => {
            let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
            let mut deployment = deployments.get("coredns").await?;
            let template = deployment.spec.as_mut().and_then(|spec| spec.template.spec.as_mut());
            if let Some(container) = template.and_then(|pod| pod.containers.first_mut()) {
                container.image = Some(format!("registry.k8s.io/coredns/coredns:of-{release}"));
            }
            let mut made = deployments.replace("coredns", &PostParams::default(), &deployment).await?;
            if let Some(status) = &mut made.status {
                status.observed_generation = made.metadata.generation;
            }
            deployments.replace_status("coredns", &PostParams::default(), &made).await.map(drop)
        }
        other => Err(kube::Error::Service(format!("phase {other} is not simulated").into())),
    }
}

fn without_remark(text: &str) -> &str {
    text.split_once("# as kubeadm").map_or(text, |(before, _)| before)
}
