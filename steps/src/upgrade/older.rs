//! Whether the static pods from before the pivot would meet what a newer release has stored. Pure.

use super::release_of::{emulated, runs};
use super::skew::{Version, of_image};
use crate::component::Component;
use crate::manifest::{StaticPod, Words};
use fulcrum_engine::state::RunId;
use serde_json::Value;

/// Why the static pods from before the pivot do not come back, unless a person says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Outrun {
    /// This node has finalized an upgrade.
    #[error(
        "the static pods that would come back are of the release from before an upgrade, and run {0} has finalized that \
         upgrade: an older API server may not read what the newer one has stored"
    )]
    Here(RunId),
    /// The API server's DaemonSet has outrun the static pod. Another node may have finalized the upgrade.
    #[error(
        "the static API server that would come back is {before}, and the DaemonSet's is {now} and does not emulate that: an \
         upgrade was finalized, maybe on another node, and the older one may not read what the newer one has stored"
    )]
    Maybe {
        /// What would come back.
        before: Version,
        /// What runs.
        now: Version,
    },
}

/// Whether the API server's DaemonSet is of a newer minor release than its static pod and does not behave as that: the
/// static pod may not read what it has stored. `None` also where an image does not say its release.
pub(super) fn is_outrun(before: &StaticPod, live: &Value) -> Option<Outrun> {
    let component = Component::ApiServer;
    let template = &live["spec"]["template"];
    let now = runs(component, live)?;
    let before = of_image(before.image())?;
    let flags = Words::of(component, template).and_then(|words| words.flags(component)).ok()?;
    (emulated(&flags).unwrap_or(now.minor) > before.minor).then_some(Outrun::Maybe { before, now })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_static_pod_is_outrun_by_a_newer_release_that_does_not_emulate_it() {
        let pod = |image: &str, flags: &[&str]| {
            let command: Vec<&str> = std::iter::once("kube-apiserver").chain(flags.iter().copied()).collect();
            json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "kube-apiserver", "namespace": "kube-system" },
                "spec": { "hostNetwork": true, "containers": [
                    { "name": "kube-apiserver", "image": image, "command": command },
                ] },
            })
        };
        let outrun = |before: &str, now: &str, flags: &[&str]| {
            let before = pod(before, &[]).to_string();
            let before = StaticPod::parse(Component::ApiServer, before.as_bytes()).unwrap();
            let live = json!({ "spec": { "template": pod(now, flags) } });
            is_outrun(&before, &live).map(|outrun| match outrun {
                Outrun::Maybe { before, now } => (before.minor, now.minor),
                Outrun::Here(run) => panic!("no journal was read, and yet run {run}"),
            })
        };
        let (old, new) =
            ("registry.k8s.io/kube-apiserver:v1.35.3", "r:5000/kube-apiserver:v1.36.3@sha256:ab");
        assert_eq!(outrun(old, new, &[]), Some((35, 36)));
        assert_eq!(outrun(old, new, &["--emulated-version=1.35"]), None);
        assert_eq!(outrun(old, new, &["--emulated-version=other=1.2,kube=1.35"]), None);
        assert_eq!(outrun(old, new, &["--emulated-version=1.36"]), Some((35, 36)));
        assert_eq!(outrun(old, "registry.k8s.io/kube-apiserver:v1.35.9", &[]), None);
        assert_eq!(outrun(old, "r:5000/kube-apiserver", &[]), None);
    }
}
