//! Reads a file beside the control plane's own manifests as the kubelet does. The kubelet is more lenient
//! than [`StaticPod::parse`](super::StaticPod::parse): a pod that it runs must be known, in any form.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::command_line::CommandLine;
use super::{companions, program, yaml};
use crate::cluster::NAMESPACE;
use crate::component::Component;

/// Programs whose next word is a process that they look for.
const SEEKERS: [&str; 5] = ["pidof", "pgrep", "pkill", "killall", "grep"];

/// A pod, as far as it can conflict with another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glance {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The components that its words name, whatever the way of starting them.
    pub runs: BTreeSet<Component>,
    /// The ports of the node that it takes, as far as they can be told.
    pub ports: BTreeSet<u16>,
}

impl Glance {
    /// Whether the kubelet runs the component from the file: by the pod's name, or by its program and port.
    pub fn stands_for(&self, component: Component) -> bool {
        let named = (self.namespace.as_str(), self.name.as_str()) == (NAMESPACE, component.name());
        named || (self.runs.contains(&component) && !self.ports.is_empty())
    }
}

/// The pod that the kubelet runs from a file with these bytes. `None` if it runs none.
pub fn glance(bytes: &[u8]) -> Option<Glance> {
    let document = yaml::read_as_the_kubelet(bytes)?;
    if document["kind"] != "Pod" || document["apiVersion"] != "v1" {
        return None;
    }
    let metadata = |key: &str| document["metadata"][key].as_str().filter(|text| !text.is_empty());
    let on_the_host = document["spec"]["hostNetwork"] == true;
    let mut found = Glance {
        name: metadata("name")?.to_owned(),
        namespace: metadata("namespace").unwrap_or("default").to_owned(),
        runs: BTreeSet::new(),
        ports: BTreeSet::new(),
    };
    for list in ["initContainers", "containers"] {
        for container in document["spec"][list].as_array().into_iter().flatten().filter_map(Value::as_object)
        {
            look_at(container, on_the_host, &mut found);
        }
    }
    Some(found)
}

fn look_at(container: &Map<String, Value>, on_the_host: bool, found: &mut Glance) {
    if on_the_host {
        found.ports.extend(companions::declared(container));
    }
    let ports = container.get("ports").and_then(Value::as_array).into_iter().flatten();
    let host_ports = ports.filter_map(|port| u16::try_from(port["hostPort"].as_u64()?).ok());
    found.ports.extend(host_ports.filter(|port| *port != 0));
    // This includes the words of a line for a shell.
    let words = ["command", "args"].into_iter().filter_map(|key| container.get(key)?.as_array()).flatten();
    let line: Vec<&str> = words
        .filter_map(Value::as_str)
        .flat_map(|word| word.split([' ', '\t', '\n', '"', '\'', ';']))
        .collect();
    let named = container.get("name").and_then(Value::as_str);
    for component in Component::ALL {
        // The image starts the program. The value of a flag may be the next word.
        let only_flags =
            named == Some(component.name()) && line.first().is_none_or(|word| word.starts_with('-'));
        let is_program = (0..line.len()).any(|at| starts(&line, at, component));
        if is_program || only_flags {
            found.runs.insert(component);
            if on_the_host {
                let port = read_port(container, component).or_else(|| secure_port(&line));
                found.ports.insert(port.unwrap_or(component.default_port()));
            }
        }
    }
}

/// Whether the word at this place may start the component. A file of data may have its name, and so may what a
/// command looks for or ends.
fn starts(line: &[&str], at: usize, component: Component) -> bool {
    let is_sought = at > 0 && SEEKERS.contains(&line[at - 1].rsplit('/').next().unwrap_or_default());
    line[at].rsplit('/').next() == Some(component.name()) && !program::is_data(line[at]) && !is_sought
}

/// The port as the component reads it, where its words are a list.
fn read_port(container: &Map<String, Value>, component: Component) -> Option<u16> {
    CommandLine::read(container, "", component).ok()??.get("secure-port")?.parse().ok()
}

fn secure_port(words: &[&str]) -> Option<u16> {
    let last = words.iter().rposition(|word| word.starts_with("--secure-port"))?;
    match words[last].strip_prefix("--secure-port")?.strip_prefix('=') {
        Some(value) => value.parse().ok(),
        None => words.get(last + 1)?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: kube-apiserver\n  namespace: kube-system\nspec:\n  \
                          hostNetwork: true\n  containers:\n  - name: kube-apiserver\n    image: i\n    command:\n    - COMMAND\n";

    fn server(command: &str) -> String {
        SERVER.replace("COMMAND", command)
    }

    #[test]
    fn what_the_kubelet_runs_is_seen_however_it_is_written() {
        let plain = server("kube-apiserver");
        let of = |text: &str| glance(text.as_bytes());
        let found = of(&plain).unwrap();
        assert_eq!((found.name.as_str(), found.namespace.as_str()), ("kube-apiserver", "kube-system"));
        assert_eq!(found.runs, [Component::ApiServer].into());
        assert_eq!(found.ports, [6443].into());
        for (what, text) in [
            ("a second document", format!("{plain}---\nkind: ConfigMap\n")),
            ("a second document that is broken", format!("{plain}---\n]: [\n\t")),
            ("a first line", format!("---\n{plain}")),
            ("comments, a mark and an end", format!("\u{feff}# a copy\n%YAML 1.1\n---\n{plain}...\n]")),
            (
                "a key twice",
                plain.replace("  hostNetwork: true\n", "  hostNetwork: false\n  hostNetwork: true\n"),
            ),
            ("a line for a shell", server("'exec kube-apiserver --secure-port=6443 2>>/var/log/api.log'")),
            ("two words in it", server("'/usr/bin/kube-apiserver --secure-port 6443'")),
        ] {
            assert_eq!(of(&text).as_ref(), Some(&found), "{what}");
        }
        for nothing in
            ["", "# gone\n", "kind: ConfigMap\n", "\u{0}\u{1}", "a: [", "kind: Pod\napiVersion: v1\n"]
        {
            assert_eq!(of(nothing), None, "{nothing:?}");
        }
        assert_eq!(of(&server("'kube-apiserver --secure-port=7443'")).unwrap().ports, [7443].into());
        for words in ["--secure_port=7443", "--secure-port=$(P)"] {
            let text =
                server(&format!("kube-apiserver\n    - {words}\n    env: [{{name: P, value: '7443'}}]"));
            assert_eq!(of(&text).unwrap().ports, [7443].into(), "{words}");
        }
    }

    /// The fuzzer has found `--a true`: a value without a dash is no program.
    #[test]
    fn flags_alone_are_given_to_the_program_of_the_image() {
        for (flags, port) in [("--a\n    - 'true'", 6443), ("--secure-port\n    - '7443'", 7443)] {
            let found = glance(server(flags).as_bytes()).unwrap();
            assert_eq!((found.runs, found.ports), ([Component::ApiServer].into(), [port].into()), "{flags}");
        }
        let other = server("--a\n    - 'true'").replace("- name: kube-apiserver", "- name: other");
        assert!(glance(other.as_bytes()).unwrap().runs.is_empty());
    }

    #[test]
    fn a_file_of_data_and_a_process_that_is_looked_for_start_nothing() {
        for words in [
            "'tail -F /var/log/kube-apiserver'",
            "'audit-shipper --audit-dir /var/log/kube-apiserver'",
            "'while pidof kube-apiserver; do sleep 1; done'",
        ] {
            let found =
                glance(server(words).replace("name: kube-apiserver", "name: other").as_bytes()).unwrap();
            assert!(found.runs.is_empty(), "{words}: {found:?}");
            assert!(!found.stands_for(Component::ApiServer));
        }
        assert!(
            glance(server("/usr/local/bin/kube-apiserver").as_bytes())
                .unwrap()
                .stands_for(Component::ApiServer)
        );
    }

    #[test]
    fn ports_of_the_node_are_those_declared() {
        let pod = |network: bool| {
            let text = format!(
                "{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"p\"}},\"spec\":{{\"hostNetwork\":{network},\
                 \"containers\":[{{\"name\":\"c\",\"ports\":[{{\"containerPort\":80}},{{\"containerPort\":81,\"hostPort\":6443}}]}}]}}}}"
            );
            glance(text.as_bytes()).unwrap()
        };
        assert_eq!(pod(true).ports, [80, 81, 6443].into());
        assert_eq!(pod(false).ports, [6443].into());
        assert!(pod(true).runs.is_empty());
    }
}
