//! A roll-out of a DaemonSet, from when its template was changed to when only pods of that template serve.
//!
//! As everywhere, the host decides whether a process serves: the kubelet's probes of the new pod may have been
//! answered by the old one.

use crate::cluster::{CERTIFICATES_ANNOTATION, has_no_image, is_going, is_of_node, is_ready, pod_story};
use crate::component::Component;
use crate::handover::lease::handed_on;
use crate::handover::roll_out::attended;
use crate::handover::shadow::Shadow;
use crate::handover::stand_still::StandStill;
use crate::host::{MARK_NEWCOMER, MARK_SERVING, Process};
use crate::look::{answered, once};
use crate::manifest::{Words, is_through};
use crate::settings::HandoverMode;
use crate::site::{Site, in_api_pod, in_static_pod};
use fulcrum_engine::{Context, Look, Pending, StepError};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A container that has ended so often does not come up. With the kubelet's pauses this takes about 30 s.
const RESTARTS_MAX: i32 = 3;

pub(super) struct RolledOut<'a> {
    pub(super) site: &'a Site,
    pub(super) component: Component,
}

impl RolledOut<'_> {
    /// Waits until it is through. The API servers are attended meanwhile, as the guard does: it waits for this
    /// run. The lease of a controller manager or scheduler is given back when that process ends. With `gives_up`, a
    /// new pod that does not come up is an error at once.
    pub(super) async fn wait(&self, cx: &Context, gives_up: bool) -> Result<Value, StepError> {
        self.wait_in(None, cx, gives_up).await
    }

    /// As `wait`. With a `shadow` the new API server gets no clients before its answers are those of the old one, and
    /// a difference that lasts is an error.
    pub(super) async fn wait_in(
        &self,
        shadow: Option<&Shadow>,
        cx: &Context,
        gives_up: bool,
    ) -> Result<Value, StepError> {
        let what = format!("the roll-out of DaemonSet {}", self.component.daemonset_name());
        let since = Mutex::new(Since::default());
        let still = StandStill::default();
        let look = async || {
            let seen = self.look().await;
            if matches!(seen, Err(Pending::NotYet(_))) {
                still.end(self.site, self.component).await;
            }
            if gives_up && matches!(seen, Err(Pending::NotYet(_))) {
                self.refuse_what_does_not_come_up(&since).await?;
                self.refuse_what_answers_otherwise(shadow)?;
            }
            if let (Ok(_), Some(what)) = (&seen, shadow.and_then(Shadow::differs)) {
                let text = format!("the new API server did not answer as the old one did: {what}");
                return Err(StepError::fatal(text).into());
            }
            seen
        };
        let waiting = cx.wait(&what, self.site.timeouts.poll, look);
        match self.component {
            Component::ApiServer => attended(self.site, shadow, waiting).await,
            Component::ControllerManager | Component::Scheduler => {
                handed_on(self.site, cx, self.component, waiting).await
            }
        }
    }

    /// Whether the newest template is rolled out everywhere, and its pod on this node serves.
    pub(super) async fn look(&self) -> Look<Value> {
        let name = self.component.daemonset_name();
        let live = answered(self.site.cluster.daemonset(name).await)?;
        let live = live.ok_or_else(|| StepError::fatal(format!("DaemonSet {name} is gone")))?;
        let pods = self.pods().await?;
        let [pod] = pods.as_slice() else { return Err(Pending::NotYet(story(&pods))) };
        if is_through(&live).is_err() || is_going(pod) || !self.is_new(pod, &live) {
            return Err(Pending::NotYet(story(&pods)));
        }
        let uid = pod.metadata.uid.as_deref();
        let the_one = |process: &Process| in_api_pod(process) && process.pod_uid.as_deref() == uid;
        let process = self.site.serves(self.component, self.mark(), the_one).await?;
        Ok(json!({ "pod": pod.metadata.name, "uid": process.pod_uid, "pid": process.pid }))
    }

    /// The controller ends the old pod 20 s after the new one is Ready.
    fn refuse_what_answers_otherwise(&self, shadow: Option<&Shadow>) -> Result<(), StepError> {
        let limit = self.site.timeouts.shadow;
        let Some(what) = shadow.and_then(|shadow| shadow.wrong_for(limit)) else { return Ok(()) };
        Err(StepError::fatal(format!(
            "the new API server does not answer as the old one does, which goes on: for {limit:?}, {what}"
        )))
    }

    async fn pods(&self) -> Look<Vec<Pod>> {
        let labels = Site::pod_labels(self.component);
        answered(self.site.cluster.pods_on(&self.site.settings.node, &labels).await)
    }

    /// Whether the pod has the command line that the DaemonSet has, and was started for the same certificates.
    fn is_new(&self, pod: &Pod, live: &Value) -> bool {
        let (pod, template) = (json!(pod), &live["spec"]["template"]);
        let words = |of: &Value| Words::of(self.component, of).ok();
        let certificates = |of: &Value| of["metadata"]["annotations"][CERTIFICATES_ANNOTATION].clone();
        words(&pod) == words(template) && certificates(&pod) == certificates(template)
    }

    /// Whether the pod runs the images that the DaemonSet names. A release may change nothing else.
    fn has_its_images(pod: &Pod, live: &Value) -> bool {
        let images = |spec: &Value| {
            let containers = spec["containers"].as_array().into_iter().flatten();
            containers.map(|container| container["image"].clone()).collect::<Vec<_>>()
        };
        images(&json!(pod.spec)) == images(&live["spec"]["template"]["spec"])
    }

    /// Refuses a new pod of another node that restarts again and again, or whose image cannot be had. The roll-out may
    /// have begun there, and would wait for it.
    async fn refuse_what_fails_elsewhere(&self, live: &Value, since: &Mutex<Since>) -> Result<(), StepError> {
        let labels = Site::pod_labels(self.component);
        let Ok(mut pods) = once(answered(self.site.cluster.pods_labelled(&labels).await))? else {
            return Ok(());
        };
        pods.retain(|pod| {
            let elsewhere = !is_of_node(pod, &self.site.settings.node);
            elsewhere && !is_going(pod) && self.is_new(pod, live) && Self::has_its_images(pod, live)
        });
        let on = |pod: &Pod| {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
            format!("on node {node} the old one goes on: {}", pod_story(pod))
        };
        if let Some(pod) = pods.iter().find(|pod| restarts(pod) >= RESTARTS_MAX) {
            let text = format!("the new pod does not come up, so {}", on(pod));
            return Err(self.with_last_words(text, pod).await);
        }
        let (limit, pod) = (self.site.timeouts.image, pods.iter().find(|pod| has_no_image(pod)));
        if lasts(&mut lock(since).no_image_elsewhere, pod.is_some()) >= limit
            && let Some(pod) = pod
        {
            let text = format!("the new pod has had no image for {limit:?}, so {}", on(pod));
            return Err(StepError::fatal(text));
        }
        Ok(())
    }

    /// With what its log ends with: a program says there which flag it does not take.
    async fn with_last_words(&self, text: String, pod: &Pod) -> StepError {
        let words = self.site.cluster.last_words(pod).await;
        StepError::fatal(if words.is_empty() { text } else { format!("{text}; {words}") })
    }

    /// As in `await-ready`: where API servers are lined up, the newer one gets the marked connections.
    fn mark(&self) -> Option<u32> {
        let steered = self.site.settings.handover == HandoverMode::Steer;
        (steered && self.component == Component::ApiServer).then_some(MARK_NEWCOMER)
    }

    /// Whether a static pod serves as well, as after a boot. Then nothing is lost with the others. What the API says of those
    /// is what was true before the boot, for half a minute, and each server starts beside two others.
    async fn is_beside_a_static_pod(&self) -> Result<bool, StepError> {
        let mark = self.mark().map(|_| MARK_SERVING);
        Ok(once(self.site.serves(self.component, mark, in_static_pod).await)?.is_ok())
    }

    /// Refuses a new pod that restarts again and again, whose image cannot be had, or that the kubelet holds to be Ready for so long while
    /// its process does not serve: soon the controller would end the old pod, and nothing would serve.
    async fn refuse_what_does_not_come_up(&self, since: &Mutex<Since>) -> Result<(), StepError> {
        let name = self.component.daemonset_name();
        let Ok(Some(live)) = once(answered(self.site.cluster.daemonset(name).await))? else { return Ok(()) };
        self.refuse_what_fails_elsewhere(&live, since).await?;
        let Ok(pods) = once(self.pods().await)? else { return Ok(()) };
        // Two releases may have the same words. The new pod is the youngest one; of one second, that which is not
        // Ready.
        let new = pods.iter().filter(|pod| self.is_new(pod, &live) && !is_going(pod));
        let new = new.max_by_key(|pod| (pod.metadata.creation_timestamp.clone(), !is_ready(pod)));
        let Some(new) = new else { return Ok(()) };
        // Before it is made, the old one of a release with the same words is taken for it.
        if restarts(new) >= RESTARTS_MAX && Self::has_its_images(new, &live) {
            let text = format!("the new pod does not come up, so the old one goes on: {}", pod_story(new));
            return Err(self.with_last_words(text, new).await);
        }
        let limit = self.site.timeouts.image;
        if lasts(&mut lock(since).no_image, has_no_image(new)) >= limit {
            let text = format!(
                "the new pod has had no image for {limit:?}, so the old one goes on: {}",
                pod_story(new)
            );
            return Err(StepError::fatal(text));
        }
        let uid = new.metadata.uid.as_deref();
        let the_one = |process: &Process| process.pod_uid.as_deref() == uid;
        let serves = once(self.site.serves(self.component, self.mark(), the_one).await)?;
        let seen = serves.err().filter(|_| is_ready(new));
        let beside_static = seen.is_some() && self.is_beside_a_static_pod().await?;
        let seen = seen.filter(|_| !beside_static);
        let limit = self.site.timeouts.unproven;
        let lasting = lasts(&mut lock(since).unproven, seen.is_some());
        let Some(seen) = seen.filter(|_| lasting >= limit) else { return Ok(()) };
        Err(StepError::fatal(format!(
            "the new pod is Ready for {limit:?}, and yet it is not its process that serves: {seen}"
        )))
    }
}

/// Since when something has been seen of the new pod, at each look.
#[derive(Default)]
struct Since {
    /// It is Ready, and its process does not serve.
    unproven: Option<Instant>,
    /// It has no image.
    no_image: Option<Instant>,
    /// One on another node has none.
    no_image_elsewhere: Option<Instant>,
}

/// How often a container of the pod was started again.
fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| status.restart_count).max().unwrap_or(0)
}

fn lock(since: &Mutex<Since>) -> MutexGuard<'_, Since> {
    since.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long `seen` has lasted.
fn lasts(since: &mut Option<Instant>, seen: bool) -> Duration {
    if !seen {
        *since = None;
        return Duration::ZERO;
    }
    since.get_or_insert_with(Instant::now).elapsed()
}

fn story(pods: &[Pod]) -> String {
    match pods {
        [] => "there is no pod on this node".to_owned(),
        pods => pods.iter().map(pod_story).collect::<Vec<_>>().join("; "),
    }
}
