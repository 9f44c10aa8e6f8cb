//! Which images the nodes have, as far as their kubelets list them: 50 of a node, the largest ones. Pure.

use k8s_openapi::api::core::v1::Node;

/// Whether the kubelet lists this image among the node's.
pub(super) fn lists(node: &Node, image: &str) -> bool {
    let images = node.status.as_ref().and_then(|status| status.images.as_ref());
    images.into_iter().flatten().any(|one| one.names.iter().flatten().any(|name| name == image))
}

/// What each of these nodes does not list of these images, in words.
pub(super) fn to_be_pulled(nodes: &[Node], images: &[String]) -> Vec<String> {
    let of = |node: &Node| {
        let missing: Vec<&str> =
            images.iter().filter(|image| !lists(node, image)).map(String::as_str).collect();
        let name = node.metadata.name.as_deref().unwrap_or_default();
        (!missing.is_empty()).then(|| {
            format!(
                "node {name} does not list {} among its images: what is not there will be pulled when its pod starts; \
                 `crictl pull` it there before",
                missing.join(", ")
            )
        })
    };
    nodes.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_node_is_named_with_the_images_that_it_does_not_list() {
        let [api, scheduler] = ["r/kube-apiserver:v1.36.3", "r/kube-scheduler:v1.36.3"].map(str::to_owned);
        let node = |name: &str, images: &[&String]| -> Node {
            let images: Vec<_> =
                images.iter().map(|image| json!({ "names": ["r/x@sha256:ab", image] })).collect();
            let node = json!({ "metadata": { "name": name }, "status": { "images": images } });
            serde_json::from_value(node).unwrap()
        };
        let nodes =
            [node("cp1", &[&scheduler, &api]), node("cp2", &[&api]), node("cp3", &[]), Node::default()];
        let told = to_be_pulled(&nodes, &[api.clone(), scheduler.clone()]);
        let [second, third, unnamed] = told.as_slice() else { panic!("{told:?}") };
        assert!(second.starts_with(&format!("node cp2 does not list {scheduler} among")), "{second}");
        assert!(third.starts_with(&format!("node cp3 does not list {api}, {scheduler} among")), "{third}");
        assert!(unnamed.contains(&api), "{unnamed}");
    }
}
