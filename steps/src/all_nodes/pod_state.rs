//! How such a pod stands. Pure.

use crate::cluster::pod_story;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// How a pod stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodState {
    /// Its container has not started yet; why, in words.
    Pending(String),
    /// Its container will not start by itself.
    Stuck {
        /// Why, in words.
        why: String,
        /// Whether it is for its image, which the node has not and cannot get.
        image: bool,
    },
    /// Its container runs.
    Running,
    /// Its container has ended.
    Ended {
        /// The exit code. `None` if the kubelet did not see one.
        code: Option<i32>,
        /// What it has said last, or why it was ended.
        said: String,
    },
}

/// A container that waits for one of these does not start by itself: somebody has to act. With each, whether it is about
/// the image.
const STUCK: [(&str, bool); 8] = [
    ("ErrImageNeverPull", true),
    ("ErrImagePull", true),
    ("ImagePullBackOff", true),
    ("ImageInspectError", true),
    ("InvalidImageName", true),
    ("CreateContainerConfigError", false),
    ("CreateContainerError", false),
    ("RunContainerError", false),
];

impl PodState {
    /// How the pod stands.
    pub fn of(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        let container = status.and_then(|status| status.container_statuses.as_ref()?.first());
        let state = container.and_then(|container| container.state.as_ref());
        let ended = state.and_then(|state| state.terminated.as_ref());
        let said = ended.and_then(|ended| ended.message.clone()).unwrap_or_default();
        if let Some(ended) = ended {
            // A kubelet that has lost the container, in a reboot say, knows no code and says 137.
            let lost = matches!(ended.reason.as_deref(), Some("ContainerStatusUnknown"));
            if let (Some("StartError"), Some(container)) = (ended.reason.as_deref(), container) {
                let why = format!("StartError, image {}: {said}", container.image);
                return Self::Stuck { why, image: false };
            }
            let code = (!lost).then_some(ended.exit_code);
            return Self::Ended { code, said: if said.is_empty() { pod_story(pod) } else { said } };
        }
        match status.and_then(|status| status.phase.as_deref()) {
            Some("Failed" | "Succeeded") => {
                let why = status.and_then(|status| status.message.clone().or(status.reason.clone()));
                Self::Ended { code: None, said: why.unwrap_or_else(|| pod_story(pod)) }
            }
            _ if state.is_some_and(|state| state.running.is_some()) => Self::Running,
            _ => match container.and_then(stuck) {
                Some((why, image)) => Self::Stuck { why, image },
                None => Self::Pending(pod_story(pod)),
            },
        }
    }
}

/// Why a container will not start, and whether it is for its image.
fn stuck(container: &ContainerStatus) -> Option<(String, bool)> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let (reason, is_image) = *STUCK.iter().find(|(reason, _)| waiting.reason.as_deref() == Some(reason))?;
    let mut why = format!("{reason}, image {}", container.image);
    if let Some(message) = &waiting.message {
        why = format!("{why}: {message}");
    }
    Some((why, is_image))
}
