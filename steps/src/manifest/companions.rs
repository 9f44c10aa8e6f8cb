//! The other containers of the component's pod. A pivot starts a second pod beside the first, and with it all
//! of them again.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::static_pod::StaticPod;
use super::{handlers, listening};

/// A container that is not the component's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Companion {
    /// Its name.
    pub name: String,
    /// Whether it is an init container that ends before the others start. Such a container runs once more,
    /// and does not stay.
    pub ends: bool,
    /// The ports on which it listens, as far as the manifest says: those that it declares, those that its probes
    /// ask, and those that its words or variables tell it to listen on.
    pub ports: BTreeSet<u16>,
    /// The unix sockets that its words name.
    pub sockets: BTreeSet<String>,
    /// Whether it is an init container that may wait until nothing listens on the component's port.
    pub awaits_port: bool,
}

impl StaticPod {
    /// The containers beside the component's, init containers first. A port that the component's own probes ask, and
    /// on which neither the component nor a container that says so listens, is that of the first one that stays.
    pub fn companions(&self) -> Vec<Companion> {
        let list = |key: &str| self.document["spec"][key].as_array().into_iter().flatten().enumerate();
        let init = list("initContainers").map(|(_, container)| (true, container));
        let others = list("containers").filter(|(at, _)| *at != self.container);
        let all = init.chain(others.map(|(_, container)| (false, container)));
        let mut all: Vec<Companion> =
            all.filter_map(|(init, container)| Some(self.companion(container.as_object()?, init))).collect();
        let own = self.document["spec"]["containers"][self.container].as_object();
        let asked: BTreeSet<u16> = own.into_iter().flat_map(handlers::asked).map(|(_, port)| port).collect();
        let unclaimed = |port: &u16| *port != self.port() && !all.iter().any(|one| one.ports.contains(port));
        let unclaimed: Vec<u16> = asked.into_iter().filter(unclaimed).collect();
        if let Some(stays) = all.iter_mut().find(|one| !one.ends) {
            stays.ports.extend(unclaimed);
        }
        all
    }

    fn companion(&self, container: &Map<String, Value>, init: bool) -> Companion {
        let name = container.get("name").and_then(Value::as_str).unwrap_or("(without a name)");
        let ends = init && container.get("restartPolicy").and_then(Value::as_str) != Some("Always");
        let mut ports = declared(container);
        ports.extend(handlers::asked(container).map(|(_, port)| port));
        // What ends before the others start waits for ports more often than it opens one.
        if !ends {
            ports.extend(listening::told(container));
        }
        ports.remove(&self.port());
        let awaits_port = ends && looks_for_listeners(container, self.port());
        Companion { name: name.to_owned(), ends, ports, sockets: sockets(container), awaits_port }
    }
}

/// The ports that a container on the host's network declares.
pub(super) fn declared(container: &Map<String, Value>) -> BTreeSet<u16> {
    let ports = container.get("ports").and_then(Value::as_array).into_iter().flatten();
    let numbers = ports.flat_map(|port| ["hostPort", "containerPort"].map(|key| port[key].as_u64()));
    numbers.flatten().filter_map(|number| u16::try_from(number).ok()).filter(|port| *port != 0).collect()
}

/// Programs that tell who listens on a port.
const LISTENER_TOOLS: [&str; 5] = ["ss", "lsof", "netstat", "fuser", "nc"];

/// Whether the container's words have this port and one of those programs in them.
fn looks_for_listeners(container: &Map<String, Value>, port: u16) -> bool {
    let words = ["command", "args"].into_iter().filter_map(|key| container.get(key)?.as_array()).flatten();
    let text: Vec<&str> = words.filter_map(Value::as_str).collect();
    let pieces = || text.iter().flat_map(|word| word.split(|c: char| !c.is_ascii_alphanumeric()));
    let port = port.to_string();
    pieces().any(|piece| piece == port) && pieces().any(|piece| LISTENER_TOOLS.contains(&piece))
}

fn sockets(container: &Map<String, Value>) -> BTreeSet<String> {
    let words = ["command", "args"].into_iter().filter_map(|key| container.get(key)?.as_array()).flatten();
    let pieces = words.filter_map(Value::as_str).flat_map(|word| word.split(['=', ',', ' ', '"', '\'']));
    let paths = pieces.map(|piece| piece.trim_start_matches("unix://").trim_start_matches("unix:"));
    paths.filter(|path| path.starts_with('/') && path.ends_with(".sock")).map(str::to_owned).collect()
}
