//! A static-pod manifest that has been checked.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::command_line::CommandLine;
use super::error::ManifestError;
use super::handlers::{self, HealthProbe};
use super::kind::kind_of;
use super::references::api_reference;
use super::typed::typed_pod;
use super::yaml;
use crate::component::Component;

/// The checked manifest of one component.
///
/// It keeps the whole document: no field is lost that this program does not know. Two are equal if the
/// kubelet would see no difference.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticPod {
    pub(super) component: Component,
    pub(super) document: Value,
    /// The place in `spec.containers` of the container that runs the component.
    pub(super) container: usize,
    pub(super) line: CommandLine,
    port: u16,
    health: HealthProbe,
}

impl StaticPod {
    /// Reads a manifest, as YAML or as JSON, and checks everything on which the rest of this module relies.
    ///
    /// # Errors
    ///
    /// If it is not a single Pod on the host's network with a container that runs `component` on a known
    /// port, if a probe names a port that does not exist, or if a field has another type than the API's.
    pub fn parse(component: Component, bytes: &[u8]) -> Result<StaticPod, ManifestError> {
        let document = yaml::read(bytes)?;
        check_pod(&document, component)?;
        let containers = containers(&document, component)?;
        for (path, container) in init_containers(&document).iter().chain(&containers) {
            handlers::check(container, path)?;
        }
        let (at, line) = find_component(&containers, component)?;
        let line = line.without_a_tail(&containers[at].0)?;
        let port = match line.get("secure-port") {
            None => component.default_port(),
            // To a component a leading zero means octal digits.
            Some(text) => match text.parse::<u16>() {
                Ok(port) if port != 0 && !text.starts_with('0') => port,
                _ => return Err(ManifestError::BadPort { component, seen: text }),
            },
        };
        let container = containers[at].1;
        if container.get("image").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(ManifestError::NoImage { container: container_name(container) });
        }
        typed_pod(&document)?;
        let health = HealthProbe::of(container, component, port);
        Ok(StaticPod { component, container: at, line, port, health, document })
    }

    /// The component whose manifest this is.
    pub fn component(&self) -> Component {
        self.component
    }

    /// The pod's name in the file. The mirror pod's name is `<name>-<node>`.
    pub fn name(&self) -> &str {
        self.document["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// The pod's namespace. If the file has none, it is `default`, as for the kubelet.
    pub fn namespace(&self) -> &str {
        let namespace = self.document["metadata"]["namespace"].as_str();
        namespace.filter(|namespace| !namespace.is_empty()).unwrap_or("default")
    }

    /// The port on which the component serves HTTPS: `--secure-port`, else the component's default. Never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `--bind-address`. `None` if it is absent (the component listens everywhere) or no literal address.
    pub fn bind_address(&self) -> Option<IpAddr> {
        self.flag("bind-address")?.parse().ok()
    }

    /// The address under which an API server publishes itself.
    pub fn advertised(&self) -> Advertised {
        let literal = |text: &str| text.parse::<IpAddr>().ok();
        let Some(text) = self.flag("advertise-address").filter(|text| !text.is_empty()) else {
            let bound = self.bind_address().filter(|ip| !ip.is_unspecified() && !ip.is_loopback());
            return bound.map_or(Advertised::Chosen, Advertised::Address);
        };
        match (literal(&text), self.line.field("advertise-address").as_deref()) {
            (Some(address), _) if address.is_unspecified() => Advertised::Chosen,
            (Some(address), _) => Advertised::Address(address),
            // On the host's network the pod's address is the node's.
            (None, Some("status.hostIP" | "status.podIP")) => Advertised::NodeAddress,
            (None, _) => Advertised::Unclear(text),
        }
    }

    /// The address that the API server publishes, if the manifest has it literally or by a variable with a
    /// known value.
    pub fn advertise_address(&self) -> Option<IpAddr> {
        match self.advertised() {
            Advertised::Address(address) => Some(address),
            Advertised::NodeAddress | Advertised::Chosen | Advertised::Unclear(_) => None,
        }
    }

    /// Whether the API server writes the endpoints of service `default/kubernetes`. It does by default.
    pub fn publishes_itself(&self) -> bool {
        self.flag("endpoint-reconciler-type").as_deref() != Some("none")
    }

    /// What the pod needs of the API: see [`api_reference`].
    pub fn api_reference(&self) -> Option<(String, &'static str)> {
        api_reference(&self.document["spec"])
    }

    /// The fields of the pod that a DaemonSet's pods cannot have and that change what the pod does, with their values.
    pub fn left_out(&self) -> Vec<String> {
        let spec = &self.document["spec"];
        let fields = ["restartPolicy", "activeDeadlineSeconds", "ephemeralContainers"];
        let usual = [Value::Null, "".into(), "Always".into(), Value::Array(Vec::new())];
        let set = fields.into_iter().filter(|field| !usual.contains(&spec[*field]));
        set.map(|field| match &spec[field] {
            Value::Array(_) => format!("spec.{field}"),
            value => {
                format!("spec.{field} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            }
        })
        .collect()
    }

    /// The value of a label of the pod.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.document["metadata"]["labels"][key].as_str()
    }

    /// The pod's priority class, if the manifest names one.
    pub fn priority_class(&self) -> Option<&str> {
        self.document["spec"]["priorityClassName"].as_str().filter(|name| !name.is_empty())
    }

    /// The question for the component's readiness, always at its own port: that of its readiness probe, else
    /// of its liveness probe, else the component's default.
    pub fn health(&self) -> HealthProbe {
        self.health.clone()
    }

    /// Whether the kubelet, or another container of the pod by its words, asks the component over loopback.
    pub fn is_asked_over_loopback(&self) -> bool {
        let list = self.document["spec"]["containers"].as_array().into_iter().flatten().enumerate();
        list.filter_map(|(at, container)| Some((at, container.as_object()?))).any(|(at, container)| {
            let words =
                ["command", "args"].iter().filter_map(|key| container.get(*key)?.as_array()).flatten();
            let mut words = words.filter_map(Value::as_str);
            handlers::asks_loopback(container, self.port)
                || at != self.container && words.any(|word| handlers::names_loopback(word, self.port))
        })
    }

    /// The value of a flag, named without dashes. The last occurrence wins. Reads `--name=value`, the two
    /// words `--name value`, and a bare `--name` (which is `true`), in `command` and `args`.
    pub fn flag(&self, name: &str) -> Option<String> {
        self.line.get(name)
    }

    /// Whether the component elects a leader before it works. It does by default.
    pub fn leader_elect(&self) -> bool {
        self.line.get_bool("leader-elect").unwrap_or(true)
    }

    /// The image of the container that runs the component.
    pub fn image(&self) -> &str {
        self.document["spec"]["containers"][self.container]["image"].as_str().unwrap_or_default()
    }

    /// Whether it listens with `SO_REUSEPORT` by itself.
    pub fn permits_port_sharing(&self) -> bool {
        self.line.get_bool("permit-port-sharing").unwrap_or(false)
    }

    /// This manifest with `--permit-port-sharing=true`, to replace the file.
    ///
    /// Written as JSON: the kubelet takes a file that begins with `{` as JSON. So nothing depends on how YAML
    /// writes and reads a word like `on`. Comments and layout are lost; the way back restores the archived
    /// bytes.
    pub fn with_port_sharing(&self) -> Vec<u8> {
        let mut document = self.document.clone();
        if !self.permits_port_sharing() {
            let mut line = self.line.clone();
            line.set("permit-port-sharing", "true");
            if let Some(container) = document["spec"]["containers"][self.container].as_object_mut() {
                line.write(container);
            }
        }
        format!("{document:#}\n").into_bytes()
    }
}

/// The address under which an API server publishes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advertised {
    /// This one: `--advertise-address`, or the only address that it binds.
    Address(IpAddr),
    /// Its node's, through a variable that the kubelet sets.
    NodeAddress,
    /// It chooses one of the machine's: the one of the default route.
    Chosen,
    /// The manifest alone does not tell the address. The text has the manifest's words.
    Unclear(String),
}

fn check_pod(document: &Value, component: Component) -> Result<(), ManifestError> {
    let text = |key: &str| document.get(key).and_then(Value::as_str);
    if (text("apiVersion"), text("kind")) != (Some("v1"), Some("Pod")) {
        let field = |key: &str| match document.get(key) {
            Some(value) => {
                format!("{key} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            }
            None => format!("no {key}"),
        };
        let seen = match document {
            Value::Object(_) => format!("{}, {}", field("apiVersion"), field("kind")),
            other => kind_of(other).to_owned(),
        };
        return Err(ManifestError::NotAPod { seen });
    }
    if document["metadata"]["name"].as_str().is_none_or(str::is_empty) {
        return Err(ManifestError::NoName { component });
    }
    match document["spec"].get("hostNetwork") {
        Some(Value::Bool(true)) => Ok(()),
        None | Some(Value::Null) => Err(ManifestError::NotHostNetwork { seen: "absent".to_owned() }),
        Some(other) => Err(ManifestError::NotHostNetwork { seen: other.to_string() }),
    }
}

/// A container with its path in the document.
type Located<'a> = (String, &'a Map<String, Value>);

/// The containers, at least one.
fn containers(document: &Value, component: Component) -> Result<Vec<Located<'_>>, ManifestError> {
    let absent = |seen: &str| ManifestError::NoContainers { seen: seen.to_owned(), component };
    let list = match document["spec"].get("containers") {
        None => return Err(absent("absent")),
        Some(Value::Array(list)) if list.is_empty() => return Err(absent("empty")),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(absent(kind_of(other))),
    };
    list.iter()
        .enumerate()
        .map(|(at, container)| match container {
            Value::Object(container) => Ok((format!("spec.containers[{at}]"), container)),
            other => Err(absent(&format!("a list with {} in it", kind_of(other)))),
        })
        .collect()
}

/// The init containers. One that goes on running can have probes as well.
fn init_containers(document: &Value) -> Vec<Located<'_>> {
    let list = document["spec"]["initContainers"].as_array().into_iter().flatten().enumerate();
    list.filter_map(|(at, container)| Some((format!("spec.initContainers[{at}]"), container.as_object()?)))
        .collect()
}

/// The container that runs the component. If several name it, the one with the component's name is meant,
/// then one that starts with it: a sidecar may mention `/var/log/kube-apiserver`.
fn find_component(
    containers: &[Located<'_>],
    component: Component,
) -> Result<(usize, CommandLine), ManifestError> {
    let mut found = Vec::new();
    for (at, (path, container)) in containers.iter().enumerate() {
        if let Some(line) = CommandLine::read(container, path, component)? {
            let named = container.get("name").and_then(Value::as_str) == Some(component.name());
            found.push((!named, !line.starts_with_program(), at, line));
        }
    }
    found
        .into_iter()
        .min_by_key(|(unnamed, wrapped, at, _)| (*unnamed, *wrapped, *at))
        .map(|(_, _, at, line)| (at, line))
        .ok_or_else(|| {
            if let Some(runs) = another(containers, component) {
                return ManifestError::AnotherComponent { component, runs };
            }
            let seen: Vec<_> = containers.iter().map(|(_, container)| describe(container)).collect();
            ManifestError::NotTheComponent { component, seen: seen.join("; ") }
        })
}

/// The other component that one of the containers runs.
fn another(containers: &[Located<'_>], component: Component) -> Option<Component> {
    let runs = |other: &Component| {
        let mut lines = containers.iter().map(|(path, container)| CommandLine::read(container, path, *other));
        lines.any(|line| matches!(line, Ok(Some(_))))
    };
    Component::ALL.into_iter().filter(|other| *other != component).find(runs)
}

/// How much of a container's words a message shows.
const DESCRIBED_CHARS: usize = 100;

/// A container's name and the beginning of what it runs, for a message.
fn describe(container: &Map<String, Value>) -> String {
    let words = ["command", "args"].into_iter().filter_map(|key| container.get(key)?.as_array()).flatten();
    let start: Vec<_> = words.filter_map(Value::as_str).take(3).collect();
    let mut start = start.join(" ").replace(char::is_control, " ");
    if let Some((cut, _)) = start.char_indices().nth(DESCRIBED_CHARS) {
        start.truncate(cut);
        start.push('…');
    }
    let runs = if start.is_empty() { "its image's entrypoint".to_owned() } else { format!("`{start}`") };
    format!("container {} running {runs}", container_name(container))
}

fn container_name(container: &Map<String, Value>) -> String {
    container.get("name").and_then(Value::as_str).unwrap_or("(without a name)").to_owned()
}
