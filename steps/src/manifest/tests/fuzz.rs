//! What the grammar makes is refused with a reason, or loses nothing on any of the ways that a pivot takes it.

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::Index;
use proptest::test_runner::{TestCaseError, TestRunner};
use serde_json::Value;
use std::cell::Cell;
use std::time::{Duration, Instant};

use super::grammar::{mutant, writings};
use super::{parse, target};
use crate::component::Component;
use crate::manifest::{Glance, StandbyError, StaticPod, glance, read_as_the_kubelet, standby_of};

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

/// Every accepted manifest loses nothing of its pod, is seen by every reader, however it is written, and makes a bridge
/// and a standby. Every other one has a reason. Returns whether it is accepted.
fn loses_nothing(component: Component, document: &Value) -> Result<bool, TestCaseError> {
    let pod = match parse(component, document) {
        Ok(pod) => pod,
        Err(error) => {
            prop_assert!(!error.to_string().is_empty());
            return Ok(false);
        }
    };
    let daemonset = pod.daemonset(&target(35));
    prop_assert_eq!(losses(&document["spec"], &daemonset["spec"]["template"]["spec"]), Vec::<String>::new());
    let _ = (pod.advertised(), pod.companions());
    for text in writings(document) {
        let read = StaticPod::parse(component, text.as_bytes());
        prop_assert_eq!(read.as_ref(), Ok(&pod), "{}", text);
        is_seen(&pod, text.as_bytes())?;
    }
    let text = pod.with_port_sharing();
    let shared =
        StaticPod::parse(component, &text).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert!(shared.permits_port_sharing());
    is_seen(&shared, &text)?;
    if component == Component::ApiServer {
        makes_a_bridge(&pod)?;
    }
    makes_a_standby(&pod, &daemonset)?;
    Ok(true)
}

/// The glance at a file finds what the kubelet will run from it.
fn is_seen(pod: &StaticPod, text: &[u8]) -> Result<(), TestCaseError> {
    prop_assert_eq!(
        read_as_the_kubelet(text).map(|document| document["spec"].clone()),
        Some(pod.document["spec"].clone())
    );
    let Some(Glance { name, namespace, runs, ports }) = glance(text) else {
        return Err(TestCaseError::fail("not seen"));
    };
    prop_assert_eq!((name.as_str(), namespace.as_str()), (pod.name(), pod.namespace()));
    prop_assert!(runs.contains(&pod.component()), "{:?}", runs);
    prop_assert!(ports.contains(&pod.port()), "{:?}", ports);
    Ok(())
}

fn makes_a_bridge(pod: &StaticPod) -> Result<(), TestCaseError> {
    let bridge = match StaticPod::parse(pod.component(), &pod.bridge(16443)) {
        Ok(bridge) => bridge,
        Err(error) => return Err(TestCaseError::fail(error.to_string())),
    };
    prop_assert_eq!((bridge.port(), bridge.health().port, bridge.publishes_itself()), (16443, 16443, false));
    prop_assert_eq!(bridge.image(), pod.image());
    let gone = losses(&pod.document["spec"], &bridge.document["spec"]);
    let other: Vec<_> =
        gone.iter().filter(|path| !path.contains("robe") && !path.contains(".resources")).collect();
    prop_assert!(other.is_empty(), "{:?}", other);
    Ok(())
}

/// The way back from the DaemonSet has all that the static pod has, or says which object of the API it needs.
fn makes_a_standby(pod: &StaticPod, daemonset: &Value) -> Result<(), TestCaseError> {
    let text = match standby_of(pod.component(), daemonset, &target(35)) {
        Ok(text) => text,
        Err(StandbyError::NeedsTheApi { .. }) => return Ok(()),
        Err(error) => return Err(TestCaseError::fail(error.to_string())),
    };
    let standby = StaticPod::parse(pod.component(), text.as_bytes())
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(standby.port(), pod.port());
    prop_assert_eq!(standby.image(), pod.image());
    if standby.advertise_address().is_some() {
        prop_assert_eq!(standby.advertise_address(), pod.advertise_address());
    }
    let gone = losses(&daemonset["spec"]["template"]["spec"], &standby.document["spec"]);
    let placed =
        |path: &String| [".tolerations", ".nodeSelector", ".env"].iter().any(|part| path.contains(part));
    prop_assert_eq!(gone.into_iter().filter(|path| !placed(path)).collect::<Vec<_>>(), Vec::<String>::new());
    Ok(())
}

fn losses(before: &Value, after: &Value) -> Vec<String> {
    let mut gone = Vec::new();
    lost("", before, Some(after), &mut gone);
    gone.retain(|path| !may_go(path));
    gone
}

/// A file beside the manifests may hold anything, cut anywhere.
fn can_be_looked_at(document: &Value, cut: Index, bytes: Vec<u8>) {
    let _ = glance(&bytes);
    let mut text = document.to_string().into_bytes();
    let at = cut.index(text.len() + 1);
    let _ = glance(&text[..at]);
    text.splice(at..at, bytes);
    let _ = glance(&text);
    let _ = StaticPod::parse(Component::ApiServer, &text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

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
