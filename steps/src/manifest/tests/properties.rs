//! Properties of every manifest, not only of those we thought of.

use proptest::collection::vec;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::sample::{Index, select};
use proptest::test_runner::{TestCaseError, TestRunner};
use serde_json::{Value, json};
use std::cell::Cell;
use std::time::{Duration, Instant};

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
fn manifest() -> impl Strategy<Value = (Component, Value)> {
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

/// The words that start the component, and its wrapper before its name.
fn starter() -> impl Strategy<Value = Vec<&'static str>> {
    select(vec![
        vec![],
        vec!["/go-runner", "--log-file=/var/log/kube-apiserver.log"],
        vec!["tini", "--"],
        vec!["nice", "-n", "5"],
        vec!["/bin/sh", "-c", "exec \"$0\" \"$@\""],
        vec!["/bin/sh", "-c", "exec kube-apiserver --x"],
    ])
}

/// Any value that JSON can have, of the kinds that stand in manifests.
fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        select(vec![
            "",
            "Default",
            "kube-apiserver",
            "localhost",
            "127.0.0.1",
            "192.0.2.10",
            "probe-port",
            "$(A)",
            "$$("
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let key = prop_oneof![
            select(vec!["name", "value", "port", "httpGet", "env", "containers", "resources", "key"])
                .prop_map(str::to_owned),
            "[a-z]{1,8}",
        ];
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((key, inner), 0..4)
                .prop_map(|pairs| pairs.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// Every place in a document that can be changed.
fn places(value: &Value, path: &str, out: &mut Vec<String>) {
    out.push(path.to_owned());
    match value {
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(at, value)| places(value, &format!("{path}/{at}"), out));
        }
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            places(value, &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), out);
        }),
        _ => {}
    }
}

/// A manifest in which some places hold anything at all.
fn mutant() -> impl Strategy<Value = (Component, Value)> {
    let change = (any::<Index>(), value(), any::<bool>());
    (manifest(), starter(), vec(change, 0..4)).prop_map(|((component, mut document), starter, changes)| {
        if let Some(words) = document["spec"]["containers"][0]["command"].as_array_mut() {
            words.splice(0..0, starter.into_iter().map(Value::from));
        }
        for (at, value, beside) in changes {
            let mut all = Vec::new();
            places(&document, "", &mut all);
            let Some(place) = document.pointer_mut(&all[at.index(all.len())]) else { continue };
            match place {
                Value::Object(map) if beside => drop(map.insert("added".to_owned(), value)),
                place => *place = value,
            }
        }
        (component, document)
    })
}

/// The losses from `before` to `after`: the paths of leaves that are gone or have changed.
fn lost(path: &str, before: &Value, after: Option<&Value>, out: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(map), Some(Value::Object(there))) => {
            map.iter().for_each(|(key, value)| lost(&format!("{path}.{key}"), value, there.get(key), out));
        }
        (Value::Array(list), Some(Value::Array(there))) => {
            list.iter()
                .enumerate()
                .for_each(|(at, value)| lost(&format!("{path}[]"), value, there.get(at), out));
        }
        (before, Some(after)) if before == after => {}
        _ => out.push(path.to_owned()),
    }
}

/// The paths that a DaemonSet must not have, or writes in another way. Other tests look at the words of
/// `command` and `args`.
fn may_go(path: &str) -> bool {
    let tail = |ends: &[&str]| ends.iter().any(|end| path.ends_with(end));
    let top = [
        "nodeName",
        "activeDeadlineSeconds",
        "ephemeralContainers",
        "priority",
        "priorityClassName",
        "restartPolicy",
        "dnsPolicy",
        "nodeSelector",
        "tolerations",
        "automountServiceAccountToken",
    ];
    let in_container = path.starts_with(".containers[]") || path.starts_with(".initContainers[]");
    top.iter().any(|field| path == format!(".{field}"))
        || in_container
            && (path.contains(".ports") || tail(&[".command", ".args", ".env", ".command[]", ".args[]"]))
        || in_container && tail(&[".httpGet.port", ".httpGet.host", ".tcpSocket.port", ".tcpSocket.host"])
}

/// Every accepted manifest loses nothing of its pod, and makes a bridge and a standby. Every other one has a
/// reason. Returns whether it is accepted.
fn loses_nothing(component: Component, document: &Value) -> Result<bool, TestCaseError> {
    let pod = match parse(component, document) {
        Ok(pod) => pod,
        Err(error) => {
            prop_assert!(!error.to_string().is_empty());
            return Ok(false);
        }
    };
    let daemonset = pod.daemonset(&target(35));
    let mut gone = Vec::new();
    lost("", &document["spec"], Some(&daemonset["spec"]["template"]["spec"]), &mut gone);
    gone.retain(|path| !may_go(path));
    prop_assert_eq!(gone, Vec::<String>::new());
    let _ = (pod.advertised(), pod.companions(), pod.with_port_sharing(), pod.bridge(16443));
    let _ = crate::manifest::standby_of(component, &daemonset, &target(35));
    Ok(true)
}

/// A file beside the manifests may hold anything, cut anywhere.
fn can_be_looked_at(document: &Value, cut: Index, bytes: Vec<u8>) {
    let _ = crate::manifest::glance(&bytes);
    let mut text = document.to_string().into_bytes();
    let at = cut.index(text.len() + 1);
    let _ = crate::manifest::glance(&text[..at]);
    text.splice(at..at, bytes);
    let _ = crate::manifest::glance(&text);
    let _ = StaticPod::parse(Component::ApiServer, &text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_of_a_pod_is_lost_that_is_accepted((component, document) in mutant()) {
        loses_nothing(component, &document)?;
    }

    #[test]
    fn any_file_can_be_looked_at((_, document) in mutant(), cut in any::<Index>(), bytes in vec(any::<u8>(), 0..64)) {
        can_be_looked_at(&document, cut, bytes);
    }
}

/// As many manifests as fit into `FULCRUM_FUZZ_SECONDS`, others in every run. Says how many.
#[test]
fn manifests_are_fuzzed_for_as_long_as_one_says() {
    let Ok(seconds) = std::env::var("FULCRUM_FUZZ_SECONDS") else { return };
    let end = Instant::now() + Duration::from_secs(seconds.parse().unwrap());
    let (made, accepted) = (Cell::new(0_u64), Cell::new(0_u64));
    while Instant::now() < end {
        let config = ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() };
        let inputs = (mutant(), any::<Index>(), vec(any::<u8>(), 0..64));
        let ran = TestRunner::new(config).run(&inputs, |((component, document), cut, bytes)| {
            made.set(made.get() + 1);
            accepted.set(accepted.get() + u64::from(loses_nothing(component, &document)?));
            can_be_looked_at(&document, cut, bytes);
            Ok(())
        });
        ran.unwrap_or_else(|failed| panic!("{failed}"));
    }
    println!("{} manifests, {} of them accepted: nothing lost, no panic", made.get(), accepted.get());
}
