//! What a person would ask for next when a pod does not serve: the end of its log, and the events about it.

use super::client::{Cluster, within};
use super::error::ClusterError;
use super::names::NAMESPACE;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::Api;
use kube::api::{ListParams, LogParams};
use std::time::Duration;
use tokio::time::timeout;

/// How many lines of a log, and how many events, are shown.
const LINES: i64 = 5;
const EVENTS: usize = 3;
/// How long both may take to be read.
const WITHIN: Duration = Duration::from_secs(2);
/// How much of a line is shown, in characters.
const LINE_MAX: usize = 300;

/// What a kubelet answers instead of a log that it has no more.
const NO_LOG: &str = "unable to retrieve container logs";

/// The container of the pod that has failed.
pub(crate) fn failing(pod: &Pod) -> Option<&ContainerStatus> {
    let mut statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let has_ended = |status: &ContainerStatus| {
        let state = status.state.as_ref();
        status.restart_count > 0
            || state.is_some_and(|state| state.terminated.is_some() || state.waiting.is_some())
    };
    statuses.find(|status| has_ended(status))
}

impl Cluster {
    /// The end of the pod's log, and the latest warnings about the pod, in words. Empty if there are none, and if
    /// they cannot be read: they explain a failure, and are none.
    pub(crate) async fn last_words(&self, pod: &Pod) -> String {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let Some(container) = failing(pod) else { return String::new() };
        let (log, events) = futures::join!(
            timeout(WITHIN, self.log_of(name, &container.name, runs(container))),
            timeout(WITHIN, self.warnings_about(name)),
        );
        let log = log.ok().and_then(Result::ok).filter(|log| !log.starts_with(NO_LOG)).unwrap_or_default();
        words(&log, &events.ok().and_then(Result::ok).unwrap_or_default())
    }

    async fn log_of(&self, name: &str, container: &str, previous: bool) -> Result<String, ClusterError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let container = Some(container.to_owned());
        let wanted = LogParams { container, previous, tail_lines: Some(LINES), ..LogParams::default() };
        within(&format!("read the log of pod {NAMESPACE}/{name}"), pods.logs(name, &wanted)).await
    }

    async fn warnings_about(&self, name: &str) -> Result<Vec<Event>, ClusterError> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), NAMESPACE);
        let about = ListParams::default().fields(&format!("involvedObject.name={name},type=Warning"));
        let found =
            within(&format!("list the events about pod {NAMESPACE}/{name}"), events.list(&about)).await?;
        Ok(found.items)
    }
}

/// Whether the container runs now. Then the one before has failed, and else this one: the kubelet keeps no older one.
fn runs(container: &ContainerStatus) -> bool {
    container.state.as_ref().is_some_and(|state| state.running.is_some())
}

/// The end of a log and the latest of these events, in words.
fn words(log: &str, events: &[Event]) -> String {
    let mut parts = Vec::new();
    let lines: Vec<String> = log.lines().map(|line| line.trim().chars().take(LINE_MAX).collect()).collect();
    let lines: Vec<String> = lines.into_iter().filter(|line: &String| !line.is_empty()).collect();
    if !lines.is_empty() {
        parts.push(format!("its log ends: {}", lines.join(" | ")));
    }
    let mut events: Vec<&Event> = events.iter().collect();
    events.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    for event in events.iter().rev().take(EVENTS) {
        let reason = event.reason.as_deref().unwrap_or("?");
        parts.push(format!("event {reason}: {}", event.message.as_deref().unwrap_or_default().trim()));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_words_of_a_pod_are_its_log_and_its_newest_warnings() {
        let event = |reason: &str, second: u32| -> Event {
            let time = format!("2026-11-29T10:00:{second:02}Z");
            let value = json!({ "metadata": {}, "involvedObject": {}, "reason": reason, "message": "m\n",
                "lastTimestamp": time });
            serde_json::from_value(value).unwrap()
        };
        let events = [event("Pulled", 1), event("BackOff", 9), event("Unhealthy", 5), event("Failed", 7)];
        assert_eq!(
            words("I1 starting\n\nE2 unknown flag: --bad\n", &events),
            "its log ends: I1 starting | E2 unknown flag: --bad; event BackOff: m; event Failed: m; event Unhealthy: m"
        );
        assert_eq!(words("", &[]), "");
    }

    #[test]
    fn only_a_pod_that_fails_is_asked_about() {
        let pod = |status: serde_json::Value| -> Pod {
            let mut status = status;
            status["name"] = "c".into();
            status["ready"] = false.into();
            status["image"] = "i".into();
            status["imageID"] = "".into();
            serde_json::from_value(json!({ "status": { "containerStatuses": [status] } })).unwrap()
        };
        let told = |status: serde_json::Value| {
            failing(&pod(status)).map(|one| (one.name.clone(), one.restart_count, runs(one)))
        };
        let c = |restarts, runs| Some(("c".to_owned(), restarts, runs));
        let running = json!({ "running": {} });
        assert_eq!(told(json!({ "restartCount": 0, "state": running })), None);
        assert_eq!(told(json!({ "restartCount": 2, "state": running })), c(2, true));
        let ended = json!({ "terminated": { "exitCode": 1 } });
        assert_eq!(told(json!({ "restartCount": 3, "state": ended })), c(3, false));
        let waits = json!({ "waiting": { "reason": "ErrImagePull" } });
        assert_eq!(told(json!({ "restartCount": 0, "state": waits })), c(0, false));
    }
}
