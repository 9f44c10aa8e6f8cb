//! The simulated server's treatment of a DaemonSet, against what a real one (1.35.3) made of that very
//! DaemonSet.

use super::*;
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};

const PAIRS: [(&str, &str); 2] = [
    (
        include_str!("../../../../steps/src/manifest/fixtures/v1.35/kube-apiserver.daemonset.json"),
        include_str!("../../../../steps/src/manifest/fixtures/v1.35/kube-apiserver.live.json"),
    ),
    (
        include_str!("../../../../steps/src/manifest/fixtures/hand-edited.daemonset.json"),
        include_str!("../../../../steps/src/manifest/fixtures/hand-edited.live.json"),
    ),
];

#[tokio::test]
async fn a_daemon_set_is_filled_in_as_a_real_server_does() {
    let bench = Bench::up().await;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "DaemonSet"));
    let sets = Api::<DynamicObject>::namespaced_with(bench.simulator.client(), "kube-system", &kind);
    let dry = PostParams { dry_run: true, field_manager: None };
    for (sent, real) in PAIRS {
        let made = sets.create(&dry, &serde_json::from_str(sent).unwrap()).await.unwrap();
        let made = without_identity(serde_json::to_value(made).unwrap());
        let real = without_identity(serde_json::from_str(real).unwrap());
        assert_eq!(made, real, "\n{made:#}\n{real:#}");
    }
}

/// The object without the fields that always differ.
fn without_identity(mut object: Value) -> Value {
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        object["metadata"].as_object_mut().unwrap().remove(field);
    }
    object
}
