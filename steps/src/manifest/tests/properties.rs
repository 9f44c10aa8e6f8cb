//! Properties of every manifest, not only of those we thought of.

use proptest::collection::vec;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::{fixture, parse, target};
use crate::component::Component;
use crate::manifest::{StaticPod, same_spec};

/// One flag as one or two words.
fn flag() -> impl Strategy<Value = Vec<String>> {
    let name = prop_oneof![
        3 => "[a-z]{1,6}(-[a-z]{1,6}){0,2}",
        1 => select(vec!["advertise-address", "permit-port-sharing", "leader-elect"]).prop_map(str::to_owned),
    ];
    let value = prop_oneof![Just("true".to_owned()), Just("false".to_owned()), "[^-][^\u{0}]{0,8}"];
    (name, value, 0..3).prop_map(|(name, value, form)| match form {
        0 => vec![format!("--{name}={value}")],
        1 => vec![format!("--{name}"), value],
        _ => vec![format!("--{name}")],
    })
}

/// One of kubeadm's manifests with other flags, split anywhere between `command` and `args`, and a sidecar.
pub(super) fn manifest() -> impl Strategy<Value = (Component, Value)> {
    (select(Component::ALL.to_vec()), vec(flag(), 0..8), any::<Index>(), any::<String>(), any::<bool>())
        .prop_map(|(component, flags, split, text, sidecar)| {
            let mut document = fixture(component);
            let words: Vec<_> = [vec![component.name().to_owned()], flags.concat()].concat();
            let (command, args) = words.split_at(1 + split.index(words.len()));
            let container = &mut document["spec"]["containers"][0];
            container["command"] = json!(command);
            container["args"] = json!(args);
            container["env"] = json!([{ "name": "TEXT", "value": text }]);
            if sidecar {
                let ports = json!([{ "name": "p", "containerPort": 9000 }]);
                let probe = json!({ "tcpSocket": { "port": "p" } });
                document["spec"]["initContainers"] =
                    json!([{ "name": "side", "image": "i", "ports": ports, "startupProbe": probe }]);
            }
            (component, document)
        })
}

/// The words of the component's container that belong to none of the flags that a pivot sets.
fn other_words(container: &Value) -> Vec<String> {
    let list = |key: &str| container[key].as_array().cloned().unwrap_or_default();
    let words: Vec<String> = [list("command"), list("args")]
        .concat()
        .iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect();
    let mut rest = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let name = word.split('=').next().unwrap_or_default();
        if !["--advertise-address", "--permit-port-sharing"].contains(&name) {
            rest.push(word);
        } else if !word.contains('=') {
            words.next_if(|next| !next.starts_with("--"));
        }
    }
    rest
}

/// Possible additions by an API server: more fields in every mapping.
fn with_defaults(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(with_defaults).collect(),
        Value::Object(map) => {
            let mut map: serde_json::Map<_, _> =
                map.iter().map(|(key, value)| (key.clone(), with_defaults(value))).collect();
            map.insert("addedByTheServer".to_owned(), json!({ "x": [1] }));
            map.into()
        }
        other => other.clone(),
    }
}

/// The paths of everything that is neither a list nor a mapping nor says nothing.
fn leaves(value: &Value, path: &str, out: &mut Vec<String>) {
    match value {
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(at, value)| leaves(value, &format!("{path}/{at}"), out));
        }
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            leaves(value, &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), out);
        }),
        Value::Null => {}
        Value::String(text) if text.is_empty() => {}
        _ => out.push(path.to_owned()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_other_flag_is_lost_or_moved((component, document) in manifest()) {
        let pod = parse(component, &document).unwrap();
        let daemonset = pod.daemonset(&target(35));
        let before = other_words(&document["spec"]["containers"][0]);
        let after = other_words(&daemonset["spec"]["template"]["spec"]["containers"][0]);
        if component != Component::ApiServer {
            // Only an API server's is set. In the others it is a flag like any other.
            prop_assert_eq!(pod.flag("advertise-address"), component_of(&daemonset, component).flag("advertise-address"));
        }
        prop_assert_eq!(before, after);
        prop_assert!(component_of(&daemonset, component).permits_port_sharing());
    }

    #[test]
    fn sharing_changes_one_flag_and_nothing_else((component, document) in manifest()) {
        let pod = parse(component, &document).unwrap();
        let shared = StaticPod::parse(component, &pod.with_port_sharing()).unwrap();
        prop_assert!(shared.permits_port_sharing());
        let mut expected = pod.document.clone();
        for key in ["command", "args"] {
            let words = shared.document["spec"]["containers"][0].get(key).cloned();
            expected["spec"]["containers"][0][key] = words.unwrap_or(json!([]));
        }
        let mut found = shared.document.clone();
        if found["spec"]["containers"][0].get("args").is_none() {
            found["spec"]["containers"][0]["args"] = json!([]);
        }
        prop_assert_eq!(found, expected);
        prop_assert_eq!(pod.health(), shared.health());
        // Once is enough.
        prop_assert_eq!(shared.with_port_sharing(), pod.with_port_sharing());
    }

    #[test]
    fn a_daemonset_depends_on_what_the_manifest_says_alone((component, document) in manifest()) {
        let pod = parse(component, &document).unwrap();
        let daemonset = pod.daemonset(&target(35));
        prop_assert_eq!(&daemonset, &pod.daemonset(&target(35)));
        let again = StaticPod::parse(component, &pod.with_port_sharing()).unwrap();
        prop_assert_eq!(other_words(container_of(&daemonset)), other_words(container_of(&again.daemonset(&target(35)))));
        // A pod made from the template gives the same template.
        let template = &daemonset["spec"]["template"];
        let mut metadata = template["metadata"].clone();
        metadata["name"] = component.name().into();
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"] });
        prop_assert_eq!(parse(component, &pod).unwrap().daemonset(&target(35)), daemonset);
    }

    #[test]
    fn no_container_keeps_its_ports((component, document) in manifest()) {
        let spec = parse(component, &document).unwrap().daemonset(&target(35))["spec"]["template"]["spec"].clone();
        for container in ["containers", "initContainers"].iter().filter_map(|list| spec[list].as_array()).flatten() {
            prop_assert!(container.get("ports").is_none());
            for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
                for action in ["httpGet", "tcpSocket"] {
                    let port = container.get(probe).and_then(|probe| probe.get(action)?.get("port"));
                    prop_assert!(port.is_none_or(Value::is_u64));
                }
            }
        }
    }

    #[test]
    fn additions_are_no_difference_and_changes_are((component, document) in manifest(), at in any::<Index>()) {
        let ours = parse(component, &document).unwrap().daemonset(&target(35));
        let mut live = with_defaults(&ours);
        prop_assert_eq!(same_spec(&ours, &live), Ok(()));
        let mut paths = Vec::new();
        leaves(&ours["spec"], "/spec", &mut paths);
        let path = &paths[at.index(paths.len())];
        *live.pointer_mut(path).unwrap() = json!("something else");
        let found = same_spec(&ours, &live).unwrap_err();
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!(found[0].live.as_ref(), Some(&json!("something else")));
        prop_assert_eq!(found[0].ours.as_ref(), ours.pointer(path));
    }
}

fn container_of(daemonset: &Value) -> &Value {
    &daemonset["spec"]["template"]["spec"]["containers"][0]
}

/// The component's container in a DaemonSet, read by the same rules.
fn component_of(daemonset: &Value, component: Component) -> StaticPod {
    let mut document = fixture(component);
    document["spec"]["containers"][0] = container_of(daemonset).clone();
    parse(component, &document).unwrap()
}
