//! DaemonSets by value.

use serde_json::{Value, json};

use super::{GOLDEN, fixture, parse, target};
use crate::component::Component;
use crate::manifest::{StaticPod, Target};

#[test]
fn the_golden_daemonsets() {
    for (component, minor, bytes, golden) in GOLDEN {
        let daemonset = StaticPod::parse(component, bytes).unwrap().daemonset(&target(minor));
        let golden: Value = serde_json::from_str(golden).unwrap();
        assert_eq!(daemonset, golden, "{component} 1.{minor}: {daemonset:#}");
    }
}

#[test]
fn the_way_to_update_depends_on_the_release() {
    let pod = parse(Component::Scheduler, &fixture(Component::Scheduler)).unwrap();
    let spec = |minor| pod.daemonset(&target(minor))["spec"].clone();
    assert_eq!(spec(24)["updateStrategy"], json!({ "type": "OnDelete" }));
    assert_eq!(spec(24).get("minReadySeconds"), None);
    assert_eq!(spec(25)["updateStrategy"]["rollingUpdate"], json!({ "maxSurge": 1, "maxUnavailable": 0 }));
    assert_eq!(spec(25)["minReadySeconds"], 20);
}

#[test]
fn what_the_caller_adds_is_on_the_daemonset_alone() {
    let mut target = target(35);
    target.labels = [("k8s-app", "mine"), ("app", "fulcrum")].map(|(k, v)| (k.into(), v.into())).into();
    target.annotations = [("fulcrum.example/run".into(), "1".into())].into();
    let daemonset = parse(Component::Scheduler, &fixture(Component::Scheduler)).unwrap().daemonset(&target);
    let name = "self-hosted-kube-scheduler";
    assert_eq!(daemonset["metadata"]["labels"], json!({ "app": "fulcrum", "k8s-app": name }));
    assert_eq!(daemonset["metadata"]["annotations"], json!({ "fulcrum.example/run": "1" }));
    assert_eq!(daemonset["spec"]["selector"]["matchLabels"], json!({ "k8s-app": name }));
    let template = &daemonset["spec"]["template"]["metadata"];
    let labels = json!({ "component": "kube-scheduler", "tier": "control-plane", "k8s-app": name });
    assert_eq!(template, &json!({ "labels": labels }));
}

#[test]
fn the_role_is_tolerated_once() {
    let tolerations = |given: Value, minor| {
        let mut document = fixture(Component::Scheduler);
        document["spec"]["tolerations"] = given;
        let pod = parse(Component::Scheduler, &document).unwrap();
        pod.daemonset(&target(minor))["spec"]["template"]["spec"]["tolerations"].clone()
    };
    let role = |role: &str| json!({ "key": format!("node-role.kubernetes.io/{role}"), "operator": "Exists", "effect": "NoSchedule" });
    let ours = role("control-plane");
    for enough in [
        json!({ "operator": "Exists" }),
        json!({ "operator": "Exists", "effect": "NoSchedule" }),
        json!({ "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" }),
    ] {
        assert_eq!(tolerations(json!([enough]), 35), json!([enough]));
    }
    for other in [
        json!({ "operator": "Exists", "effect": "NoExecute" }),
        json!({ "key": "node-role.kubernetes.io/control-plane", "value": "x", "effect": "NoSchedule" }),
        json!({ "key": "gpu", "operator": "Exists" }),
    ] {
        assert_eq!(tolerations(json!([other]), 35), json!([other, ours]));
    }
    assert_eq!(tolerations(Value::Null, 20), json!([role("master")]));
    // kubeadm 1.24 taints its nodes with the old and the new key.
    assert_eq!(tolerations(Value::Null, 24), json!([ours, role("master")]));
    // kubeadm 1.20 to 1.23 labels with both keys and taints with the old one.
    let both = Target { role_label: "node-role.kubernetes.io/control-plane".to_owned(), ..target(22) };
    let pod = parse(Component::Scheduler, &fixture(Component::Scheduler)).unwrap();
    assert_eq!(
        pod.daemonset(&both)["spec"]["template"]["spec"]["tolerations"],
        json!([ours, role("master")])
    );
}

#[test]
fn this_nodes_address_is_advertised_by_a_variable_and_any_other_as_it_is() {
    let container = |env: Value, words: &[&str]| {
        let mut document = fixture(Component::ApiServer);
        document["spec"]["containers"][0]["env"] = env;
        document["spec"]["containers"][0]["command"] = json!([&["kube-apiserver"], words].concat());
        let daemonset = parse(Component::ApiServer, &document).unwrap().daemonset(&target(35));
        daemonset["spec"]["template"]["spec"]["containers"][0].clone()
    };
    let literal = "--advertise-address=192.0.2.10";
    let field =
        |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let ours = field("HOST_IP", "status.hostIP");
    let (other, theirs) = (json!({ "name": "A", "value": "1" }), json!({ "name": "HOST_IP", "value": "x" }));
    let env = |env: Value| container(env, &[literal])["env"].clone();
    assert_eq!(env(json!([other])), json!([other, ours]));
    assert_eq!(env(json!([other, ours])), json!([other, ours]));
    // A variable that a person has made for another purpose keeps its value.
    let second = field("FULCRUM_HOST_IP", "status.hostIP");
    assert_eq!(env(json!([theirs, other])), json!([theirs, other, second]));
    // With both names taken the address stays, which is the node's.
    let taken = json!([theirs, { "name": "FULCRUM_HOST_IP", "value": "198.51.100.2" }]);
    let kept = container(taken.clone(), &[literal]);
    assert_eq!((&kept["command"][1], &kept["env"]), (&json!(literal), &taken));

    let command = |words: &[&str]| container(Value::Null, words)["command"].clone();
    let (flag, sharing, program) =
        ("--advertise-address=$(HOST_IP)", "--permit-port-sharing=true", "kube-apiserver");
    assert_eq!(command(&[]), json!([program, sharing]), "it chooses one itself, as before");
    assert_eq!(
        command(&["--advertise-address", "192.0.2.10", "--v=2"]),
        json!([program, flag, "--v=2", sharing])
    );
    let twice = ["--advertise-address=192.0.2.9", "--v=2", "--advertise_address=192.0.2.10"];
    assert_eq!(command(&twice), json!([program, "--v=2", flag, sharing]));
    assert_eq!(
        command(&["--advertise-address=192.0.2.9"]),
        json!([program, "--advertise-address=192.0.2.9", sharing])
    );
    assert_eq!(command(&["--bind-address=192.0.2.9"]), json!([program, "--bind-address=192.0.2.9", sharing]));
    let pod_ip = json!([field("POD_IP", "status.podIP")]);
    let kept = container(pod_ip.clone(), &["--advertise-address=$(POD_IP)"]);
    assert_eq!(
        (&kept["command"], &kept["env"]),
        (&json!([program, "--advertise-address=$(POD_IP)", sharing]), &pod_ip)
    );
}

#[test]
fn a_pod_that_is_critical_as_a_static_one_stays_so() {
    let class = |class: Value, priority: Value| {
        let mut document = fixture(Component::Scheduler);
        document["spec"]["priorityClassName"] = class;
        document["spec"]["priority"] = priority;
        let daemonset = parse(Component::Scheduler, &document).unwrap().daemonset(&target(35));
        let spec = &daemonset["spec"]["template"]["spec"];
        assert_eq!(spec.get("priority"), None, "the API server computes it");
        spec["priorityClassName"].clone()
    };
    for none in [Value::Null, json!("")] {
        assert_eq!(class(none.clone(), Value::Null), "system-node-critical");
        assert_eq!(class(none, json!(2_000_001_000)), "system-node-critical");
    }
    assert_eq!(class(json!("system-cluster-critical"), Value::Null), "system-cluster-critical");
}

#[test]
fn hosts_of_this_node_go_and_others_stay() {
    let mut target = target(35);
    target.node_addresses = vec!["192.0.2.10".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    for (host, stays) in [
        ("192.0.2.10", false),
        ("::ffff:192.0.2.10", false),
        ("2001:db8:0::1", false),
        ("[2001:db8::1]", false),
        ("192.0.2.1", true),
        ("127.0.0.1", true),
        ("localhost", true),
        ("::1", true),
    ] {
        let mut document = fixture(Component::ApiServer);
        let container = &mut document["spec"]["containers"][0];
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            container[probe]["httpGet"]["host"] = host.into();
        }
        let daemonset = parse(Component::ApiServer, &document).unwrap().daemonset(&target);
        let container = &daemonset["spec"]["template"]["spec"]["containers"][0];
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let left = container[probe]["httpGet"].get("host").and_then(Value::as_str);
            assert_eq!(left, stays.then_some(host), "{probe}");
        }
    }
}

#[test]
fn a_resolver_that_was_chosen_is_kept() {
    for (given, expected) in [
        (Value::Null, "Default"),
        (json!("ClusterFirst"), "Default"),
        (json!("ClusterFirstWithHostNet"), "ClusterFirstWithHostNet"),
        (json!("Default"), "Default"),
        (json!("None"), "None"),
    ] {
        let mut document = fixture(Component::ApiServer);
        document["spec"]["dnsPolicy"] = given;
        let daemonset = parse(Component::ApiServer, &document).unwrap().daemonset(&target(35));
        assert_eq!(daemonset["spec"]["template"]["spec"]["dnsPolicy"], expected);
    }
}

#[test]
fn the_endpoint_of_one_node_is_not_said_of_all() {
    let key = "kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint";
    for (endpoint, stays) in [("192.0.2.10:6443", false), ("198.51.100.7:6443", true)] {
        let mut document = fixture(Component::ApiServer);
        document["metadata"]["annotations"] = json!({ key: endpoint, "a": "b" });
        let daemonset = parse(Component::ApiServer, &document).unwrap().daemonset(&target(35));
        let annotations = &daemonset["spec"]["template"]["metadata"]["annotations"];
        assert_eq!((annotations.get(key).is_some(), &annotations["a"]), (stays, &json!("b")));
    }
}
