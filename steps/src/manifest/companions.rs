//! The other containers of the component's pod. A pivot starts a second pod beside the first, and with it all
//! of them again.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::handlers;
use super::static_pod::StaticPod;

/// A container that is not the component's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Companion {
    /// Its name.
    pub name: String,
    /// Whether it is an init container that ends before the others start. Such a container runs once more,
    /// and does not stay.
    pub ends: bool,
    /// The ports on which it listens, as far as the manifest says: those that it declares and those that its
    /// probes ask.
    pub ports: BTreeSet<u16>,
    /// The unix sockets that its words name.
    pub sockets: BTreeSet<String>,
}

impl StaticPod {
    /// The containers beside the component's, init containers first.
    pub fn companions(&self) -> Vec<Companion> {
        let list = |key: &str| self.document["spec"][key].as_array().into_iter().flatten().enumerate();
        let init = list("initContainers").map(|(_, container)| (true, container));
        let others = list("containers").filter(|(at, _)| *at != self.container);
        let all = init.chain(others.map(|(_, container)| (false, container)));
        all.filter_map(|(init, container)| Some(self.companion(container.as_object()?, init))).collect()
    }

    fn companion(&self, container: &Map<String, Value>, init: bool) -> Companion {
        let name = container.get("name").and_then(Value::as_str).unwrap_or("(without a name)");
        let ends = init && container.get("restartPolicy").and_then(Value::as_str) != Some("Always");
        let mut ports = declared(container);
        ports.extend(handlers::asked(container).map(|(_, port)| port));
        ports.remove(&self.port());
        Companion { name: name.to_owned(), ends, ports, sockets: sockets(container) }
    }
}

/// The ports that a container on the host's network declares.
pub(super) fn declared(container: &Map<String, Value>) -> BTreeSet<u16> {
    let ports = container.get("ports").and_then(Value::as_array).into_iter().flatten();
    let numbers = ports.flat_map(|port| ["hostPort", "containerPort"].map(|key| port[key].as_u64()));
    numbers.flatten().filter_map(|number| u16::try_from(number).ok()).filter(|port| *port != 0).collect()
}

fn sockets(container: &Map<String, Value>) -> BTreeSet<String> {
    let words = ["command", "args"].into_iter().filter_map(|key| container.get(key)?.as_array()).flatten();
    let pieces = words.filter_map(Value::as_str).flat_map(|word| word.split(['=', ',', ' ', '"', '\'']));
    let paths = pieces.map(|piece| piece.trim_start_matches("unix://").trim_start_matches("unix:"));
    paths.filter(|path| path.starts_with('/') && path.ends_with(".sock")).map(str::to_owned).collect()
}
