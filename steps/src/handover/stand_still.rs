//! A roll-out that stands still. Kubernetes' DaemonSet controller ends an old pod once the new one has been Ready for
//! `minReadySeconds`, and notes to look again then. Its queue keeps the earlier of two times. An old pod that had become
//! Ready shortly before, as after a boot, has set an earlier one. At that time the new pod is too young, and no later time
//! is noted: both pods run until something else happens to the DaemonSet. Any write to the object makes it look again.

use crate::cluster::{LOOK_AGAIN_ANNOTATION, is_going, is_ready};
use crate::component::Component;
use crate::look::{answered, once};
use crate::site::Site;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::collections::BTreeMap;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// What a wait has seen of a roll-out that does not go on.
#[derive(Debug, Default)]
pub(crate) struct StandStill(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    since: Option<Instant>,
    looked: Option<Instant>,
}

impl StandStill {
    /// Has the controller look at the DaemonSet again, if on some node a new pod has been Ready for long beside an old one.
    /// Looks at the pods seldom enough to be called at every look of a wait. What fails is tried again.
    pub(crate) async fn end(&self, site: &Site, component: Component) {
        self.0.lock().await.end(site, component).await;
    }
}

impl Seen {
    async fn end(&mut self, site: &Site, component: Component) {
        let limit = site.timeouts.stand_still;
        if self.looked.is_some_and(|looked| looked.elapsed() < limit / LOOKS) {
            return;
        }
        self.looked = Some(Instant::now());
        let labels = Site::pod_labels(component);
        let pods = once(answered(site.cluster.pods_labelled(&labels).await));
        let Ok(Ok(pods)) = pods else { return };
        if !stands(&pods) {
            self.since = None;
            return;
        }
        if self.since.get_or_insert_with(Instant::now).elapsed() < limit {
            return;
        }
        self.since = None;
        let (name, now) = (component.daemonset_name(), Timestamp::now().to_string());
        match site.cluster.annotate_daemonset(name, &json!({ LOOK_AGAIN_ANNOTATION: now })).await {
            Ok(()) => tracing::info!("the roll-out of DaemonSet {name} stood still for {limit:?}"),
            Err(error) => tracing::debug!("{error}"),
        }
    }
}

/// How often the pods are looked at within the limit.
const LOOKS: u32 = 10;

/// Whether on some node the youngest pod is Ready, and an older one was not told to end. Of one second either may be the
/// younger one.
fn stands(pods: &[Pod]) -> bool {
    let mut of_node: BTreeMap<Option<&str>, Vec<&Pod>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !is_going(pod)) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        of_node.entry(node).or_default().push(pod);
    }
    of_node.into_iter().filter(|(node, pods)| node.is_some() && pods.len() > 1).any(|(_, pods)| {
        let born = |pod: &Pod| pod.metadata.creation_timestamp.clone();
        let last = pods.iter().map(|pod| born(pod)).max().flatten();
        pods.iter().filter(|pod| born(pod) == last).all(|pod| is_ready(pod))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(node: &str, second: u32, ready: bool, going: bool) -> Pod {
        let mut pod = json!({
            "metadata": { "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z") },
            "spec": { "nodeName": node, "containers": [] },
            "status": { "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }] },
        });
        if going {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:01:00Z");
        }
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn a_roll_out_stands_where_a_new_pod_is_ready_beside_an_old_one_that_stays() {
        let stays = |pods: &[Pod]| stands(pods);
        assert!(stays(&[pod("a", 1, true, false), pod("a", 9, true, false)]));
        assert!(stays(&[pod("b", 1, true, false), pod("a", 1, false, false), pod("a", 9, true, false)]));
        assert!(!stays(&[pod("a", 1, true, false), pod("a", 9, false, false)]), "the new one starts");
        assert!(!stays(&[pod("a", 1, true, true), pod("a", 9, true, false)]), "the old one goes");
        assert!(!stays(&[pod("a", 1, true, false), pod("b", 9, true, false)]), "one on each node");
        assert!(!stays(&[pod("a", 9, true, false), pod("a", 9, false, false)]), "which is new is not told");
    }
}
