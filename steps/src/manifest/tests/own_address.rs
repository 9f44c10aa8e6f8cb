//! Manifests of several nodes: one DaemonSet, and each node's own standby out of it.

use super::{fixture, parse, target};
use crate::component::Component;
use crate::manifest::{StaticPod, Target, same_spec, standby_of};
use serde_json::{Value, json};

/// What kubeadm, kubespray and hand-edited manifests say of the node on which they are.
fn of_node(component: Component, own: &str) -> Value {
    let mut document = fixture(component);
    let host = if own.contains(':') { format!("[{own}]") } else { own.to_owned() };
    let flags = match component {
        Component::ApiServer => vec![
            format!("--advertise-address={own}"),
            format!("--bind-address={own}"),
            format!("--etcd-servers=https://{host}:2379"),
            "--etcd-servers-overrides".to_owned(),
            format!("/events#https://{host}:2381"),
            "--service-account-issuer=https://10.0.0.1:6443".to_owned(),
            "--service-cluster-ip-range=10.0.0.1/32".to_owned(),
        ],
        _ => vec![format!("--bind-address={own}"), format!("--master=https://{host}:6443")],
    };
    let container = &mut document["spec"]["containers"][0];
    container["command"] = json!([vec![component.name().to_owned()], flags].concat());
    for probe in ["startupProbe", "livenessProbe"] {
        container[probe]["httpGet"]["host"] = own.into();
    }
    if component == Component::ApiServer {
        document["metadata"]["annotations"] = json!({
            "kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint": format!("{host}:6443")
        });
    }
    document
}

fn target_of(own: &str) -> Target {
    Target { node_addresses: vec![own.parse().unwrap(), "192.0.2.99".parse().unwrap()], ..target(35) }
}

fn daemonset(component: Component, own: &str) -> Value {
    parse(component, &of_node(component, own)).unwrap().daemonset(&target_of(own))
}

#[test]
fn the_manifests_of_all_nodes_give_one_daemonset() {
    for component in Component::ALL {
        for nodes in [["10.0.0.1", "10.0.0.11", "10.0.0.111"], ["2001:db8::1", "2001:db8::11", "2001:db8::2"]]
        {
            let [first, second, third] = nodes.map(|own| daemonset(component, own));
            assert_eq!(first, second);
            assert_eq!(first, third);
            let text = first.to_string();
            assert!(text.contains("$(HOST_IP)"), "{text}");
            assert!(!text.contains(&format!("bind-address={}", nodes[0])), "{text}");
        }
    }
}

/// Each node's standby has the node's own address in it, wherever it was.
#[test]
fn each_node_makes_its_own_standby_of_the_one_daemonset() {
    for component in Component::ALL {
        let live = daemonset(component, "10.0.0.1");
        for own in ["10.0.0.1", "10.0.0.2"] {
            let standby = standby_of(component, &live, &target_of(own)).unwrap();
            assert!(!standby.contains("HOST_IP"), "{standby}");
            let pod = StaticPod::parse(component, standby.as_bytes()).unwrap();
            let manifest = parse(component, &of_node(component, own)).unwrap();
            let words = |pod: &StaticPod| pod.document["spec"]["containers"][0]["command"].clone();
            let mut expected = words(&manifest);
            expected.as_array_mut().unwrap().push("--permit-port-sharing=true".into());
            assert_eq!(words(&pod), expected);
            assert_eq!(pod.bind_address(), manifest.bind_address());
            assert_eq!(same_spec(&pod.daemonset(&target_of(own)), &live), Ok(()));
        }
    }
}

/// The members of an external etcd are the same for every node, in the same order.
#[test]
fn a_list_of_all_etcd_members_is_one_list_on_each_node() {
    let servers = "--etcd-servers=https://10.0.0.1:2379,https://10.0.0.2:2379,https://10.0.0.3:2379";
    let words = |own: &str| {
        let mut document = of_node(Component::ApiServer, own);
        document["spec"]["containers"][0]["command"] =
            json!(["kube-apiserver", format!("--advertise-address={own}"), servers]);
        let daemonset = parse(Component::ApiServer, &document).unwrap().daemonset(&target_of(own));
        daemonset["spec"]["template"]["spec"]["containers"][0]["command"].clone()
    };
    assert_eq!(words("10.0.0.1")[2], servers);
    assert_eq!(words("10.0.0.1"), words("10.0.0.3"));
}

/// The variable is the node's first address. Under another one, a server that listens there alone is not reached at it.
#[test]
fn a_second_address_of_the_node_stays() {
    let own = "192.0.2.99";
    let mut target = target_of("10.0.0.1");
    target.node_addresses.truncate(2);
    for component in Component::ALL {
        let daemonset = parse(component, &of_node(component, own)).unwrap().daemonset(&target);
        let container = &daemonset["spec"]["template"]["spec"]["containers"][0];
        assert!(!daemonset.to_string().contains("HOST_IP"), "{daemonset}");
        assert_eq!(container["livenessProbe"]["httpGet"]["host"], own);
        assert!(container["command"].to_string().contains(&format!("--bind-address={own}")));
    }
}

/// A variable that a script of the manifest reads as well stays in the standby. Words that do not refer to it stay.
#[test]
fn what_else_uses_the_variable_keeps_it() {
    let mut document = of_node(Component::Scheduler, "10.0.0.1");
    let container = &mut document["spec"]["containers"][0];
    container["env"] =
        json!([{ "name": "HOST_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.hostIP" } } }]);
    container["lifecycle"] = json!({ "preStop": { "exec": { "command": ["sh", "-c", "echo $HOST_IP"] } } });
    container["command"].as_array_mut().unwrap().push("--v=$$(HOST_IP)".into());
    let env = container["env"].clone();
    let target = target_of("10.0.0.1");
    let daemonset = parse(Component::Scheduler, &document).unwrap().daemonset(&target);
    let made = &daemonset["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&made["env"], &made["command"][1]), (&env, &json!("--bind-address=$(HOST_IP)")));
    let standby: Value =
        serde_json::from_str(&standby_of(Component::Scheduler, &daemonset, &target).unwrap()).unwrap();
    let container = &standby["spec"]["containers"][0];
    assert_eq!(container["env"], env);
    assert_eq!(container["command"][1], "--bind-address=10.0.0.1");
    assert_eq!(container["command"][3], "--v=$$(HOST_IP)");
}
