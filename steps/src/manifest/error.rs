//! The reasons why a file is not a static pod that can be pivoted.

use crate::component::Component;
use fulcrum_engine::StepError;

/// A fault of a manifest. The texts begin in lower case and do not name the file: the caller, who knows its
/// path, puts that in front.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The bytes are not YAML, or use a key twice.
    #[error(
        "not readable as YAML: {detail}; correct the file (the kubelet may still be running the pod from an \
         earlier version of it)"
    )]
    NotYaml {
        /// The parser's message, with line and column.
        detail: String,
    },
    /// There is no document in the file.
    #[error("no YAML document in it (it is empty or has only comments); put the pod's manifest back")]
    Empty,
    /// The kubelet reads the first document only, and there is nothing in it.
    #[error(
        "the first YAML document is empty, and the kubelet reads no other: take the `---` before the pod out"
    )]
    FirstIsEmpty,
    /// More than one document: the kubelet reads the first and ignores the rest.
    #[error("{count} YAML documents in one file; the kubelet reads only the first: keep one pod to a file")]
    SeveralDocuments {
        /// The number of documents that are not empty.
        count: usize,
    },
    /// The document is some other kind of object.
    #[error("expected apiVersion v1, kind Pod, found {seen}; a static manifest holds a single Pod")]
    NotAPod {
        /// The `apiVersion` and `kind` in it.
        seen: String,
    },
    /// `metadata.name` is missing or empty.
    #[error("the pod has no metadata.name; kubeadm calls it {component}")]
    NoName {
        /// The component that was expected.
        component: Component,
    },
    /// The pod has its own network: its port is not the node's, and nothing here applies to it.
    #[error(
        "spec.hostNetwork is {seen}, not true; a control-plane pod that is pivoted has to listen on the node's \
         own network, as kubeadm makes it"
    )]
    NotHostNetwork {
        /// The field's value, `absent` if there is none.
        seen: String,
    },
    /// `spec.containers` is missing, empty or not a list of objects.
    #[error("spec.containers is {seen}; expected at least one container, one that runs {component}")]
    NoContainers {
        /// The value instead.
        seen: String,
        /// The component that was expected.
        component: Component,
    },
    /// `command` or `args` is no list; the kubelet refuses such a pod.
    #[error(
        "{at} is {seen}, not a list of words; write the program and each flag as an item of its own (the kubelet may still \
         be running the pod from an earlier version of the file)"
    )]
    WordsNotAList {
        /// The path in the document, e.g. `spec.containers[0].command`.
        at: String,
        /// The kind of the value.
        seen: &'static str,
    },
    /// A word of `command` or `args` is not a string; the kubelet refuses such a pod.
    #[error("{at} is {seen}, not a string; put it in quotes")]
    WordNotAString {
        /// The path in the document, e.g. `spec.containers[0].command[3]`.
        at: String,
        /// The value.
        seen: String,
    },
    /// There are words behind a `--`, which ends the component's flags.
    #[error(
        "{at}: `{first}` stands behind `--`, where the component has no flags; start the component itself with its flags \
         (a debugger or another program that takes them cannot be pivoted)"
    )]
    WordsBehindTheEnd {
        /// The container's path in the document.
        at: String,
        /// The first of these words.
        first: String,
    },
    /// A field has another type than the API gives it, or an unknown word; the kubelet refuses such a pod.
    #[error(
        "{at}: {detail}; the kubelet refuses such a pod (and may still be running it from an earlier version of the file): \
         correct the value"
    )]
    WrongType {
        /// The path in the document, e.g. `spec.priority`.
        at: String,
        /// What is there, and what was expected.
        detail: String,
    },
    /// None of the containers starts the component as a program with a list of words.
    #[error(
        "no container runs {component}; found {seen}. The program and its flags have to be words of their own in \
         `command` and `args`: a line for a shell cannot be changed reliably"
    )]
    NotTheComponent {
        /// The component that was expected.
        component: Component,
        /// Each container's name and the first words that it runs.
        seen: String,
    },
    /// The file holds another of the components.
    #[error(
        "it runs {runs}, not {component}: name each file after what it holds (to the kubelet, which does not mind, a renamed \
         file is another pod: it restarts)"
    )]
    AnotherComponent {
        /// The component that was expected.
        component: Component,
        /// The one that its container runs.
        runs: Component,
    },
    /// The container that runs the component names no image.
    #[error("container {container} has no image; name the one that the node runs")]
    NoImage {
        /// The container's name.
        container: String,
    },
    /// `--secure-port` is zero or no number.
    #[error(
        "--secure-port={seen} is not a port between 1 and 65535; give the number that {component} listens on \
         (default {})", .component.default_port()
    )]
    BadPort {
        /// The component.
        component: Component,
        /// The flag's value.
        seen: String,
    },
    /// A probe or a lifecycle handler asks a port by a name that its container does not have, or by something
    /// that is no port at all.
    #[error(
        "{at}.port is {seen}, which is neither a port's number nor the name of one of its container's ports; \
         write the port's number"
    )]
    UnknownPort {
        /// The path in the document, e.g. `spec.containers[0].livenessProbe.httpGet`.
        at: String,
        /// The value.
        seen: String,
    },
}

/// Another attempt may succeed: a person may correct the file.
impl From<ManifestError> for StepError {
    fn from(error: ManifestError) -> Self {
        Self::retry(error)
    }
}
