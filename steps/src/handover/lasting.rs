//! Which of the DaemonSet's pods on this node stays. In a roll-out the controller deletes the other one, and a server
//! that has just got the clients would go.

use crate::cluster::{Cluster, is_going, pod_story, template_hash};
use crate::component::Component;
use crate::look::answered;
use crate::manifest::is_some_pods;
use crate::site::Site;
use fulcrum_engine::Look;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::fmt::Display;
use std::time::Duration;

/// The DaemonSet's pod on this node, if the controller will not replace it. If it will, what was seen. The look is
/// not there while the API cannot be asked.
///
/// The controller replaces a pod of an older template, and tells that by a hash: a label of the pod and of the
/// DaemonSet's newest ControllerRevision. While two pods are there, a roll-out is not through on this node. Where
/// pods are replaced only by a person (`OnDelete`), a pod of an older template stays.
pub(crate) async fn lasting_pod(site: &Site, component: Component) -> Look<Result<Pod, String>> {
    let rolled = match Rolled::look(site, &site.cluster, component).await? {
        Ok(rolled) => rolled,
        Err(seen) => return Ok(Err(seen)),
    };
    let name = component.daemonset_name();
    Ok(match rolled.pods.as_slice() {
        [] => Err(format!("DaemonSet {name} has no pod on this node")),
        [pod] if is_going(pod) => Err(replaced(pod_story(pod))),
        [pod] if rolled.replaces && !rolled.of_newest(pod) => {
            Err(replaced(format!("{}, of an older template than DaemonSet {name} has", pod_story(pod))))
        }
        [pod] => Ok(pod.clone()),
        pods => Err(replaced(pods.iter().map(pod_story).collect::<Vec<_>>().join("; "))),
    })
}

/// The DaemonSet's pod on this node that the controller is about to delete for the one with this uid: in
/// [`Timeouts::ahead`](crate::timeouts::Timeouts::ahead) that one will have been Ready for `minReadySeconds`. `None` if
/// that time has not come, or if the controller would delete another one, or has. `cluster` is asked.
pub(crate) async fn outdated_pod(
    site: &Site,
    cluster: &Cluster,
    component: Component,
    for_uid: &str,
) -> Look<Option<Pod>> {
    let Ok(rolled) = Rolled::look(site, cluster, component).await? else { return Ok(None) };
    let least = rolled.min_ready.saturating_sub(site.timeouts.ahead);
    Ok(match rolled.pods.as_slice() {
        [one, other] if rolled.replaces && rolled.surges => {
            let is_new = |pod: &Pod| pod.metadata.uid.as_deref() == Some(for_uid);
            let (new, old) = if is_new(one) { (one, other) } else { (other, one) };
            let lasts = is_new(new) && ready_for(new, Timestamp::now()).is_some_and(|age| age >= least);
            let one_goes = rolled.of_newest(new) && !is_going(old) && !rolled.of_newest(old);
            (lasts && one_goes).then(|| old.clone())
        }
        _ => None,
    })
}

/// The DaemonSet's pods on this node, and its newest template.
struct Rolled {
    pods: Vec<Pod>,
    newest: Option<String>,
    /// Whether the controller replaces pods of older templates.
    replaces: bool,
    /// Whether the new pod comes beside the old one, which goes later.
    surges: bool,
    /// How long a new pod must be Ready before the controller ends the old one.
    min_ready: Duration,
}

impl Rolled {
    /// If the DaemonSet says nothing of its template, why.
    async fn look(site: &Site, cluster: &Cluster, component: Component) -> Look<Result<Self, String>> {
        let (name, labels) = (component.daemonset_name(), Site::pod_labels(component));
        let live = answered(cluster.daemonset(name).await)?;
        let Some(live) = live.filter(|live| live["metadata"]["deletionTimestamp"].is_null()) else {
            return Ok(Err(format!("DaemonSet {name} is gone")));
        };
        let replaces = live["spec"]["updateStrategy"]["type"] != "OnDelete";
        if replaces && live["status"]["observedGeneration"] != live["metadata"]["generation"] {
            return Ok(Err(format!(
                "the controller has not seen the newest template of DaemonSet {name} yet"
            )));
        }
        let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
        let newest = answered(cluster.newest_template(uid, &labels).await)?;
        // After the template: a pod that was made meanwhile is of that one, or of a newer one.
        let mut pods = answered(cluster.pods_on(&site.settings.node, &labels).await)?;
        pods.retain(|pod| !has_ended(pod));
        let surges = is_some_pods(&live["spec"]["updateStrategy"]["rollingUpdate"]["maxSurge"]);
        let seconds = live["spec"]["minReadySeconds"].as_u64().unwrap_or(0);
        let min_ready = site.timeouts.second.saturating_mul(u32::try_from(seconds).unwrap_or(u32::MAX));
        Ok(Ok(Self { pods, newest, replaces, surges, min_ready }))
    }

    fn of_newest(&self, pod: &Pod) -> bool {
        self.newest.is_some() && template_hash(pod) == self.newest.as_deref()
    }
}

fn replaced(seen: impl Display) -> String {
    format!("a roll-out is under way on this node: {seen}")
}

/// How long the pod has been Ready. A container that is started again begins anew. `None` if it is not.
fn ready_for(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|one| one.type_ == "Ready" && one.status == "True")?;
    let since = ready.last_transition_time.as_ref().filter(|_| !is_going(pod))?;
    Duration::try_from(now.duration_since(since.0)).ok()
}

/// Whether none of its processes runs, nor will.
fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}
