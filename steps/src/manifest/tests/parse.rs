//! What a manifest says about its component, and every reason to refuse one.

use std::net::IpAddr;

use serde_json::json;

use super::{GOLDEN, HAND_EDITED, fixture, parse, scheduler};
use crate::component::Component;
use crate::manifest::{HealthProbe, ManifestError, StaticPod};

#[test]
fn kubeadms_manifests_are_understood() {
    let node: Option<IpAddr> = Some("192.0.2.10".parse().unwrap());
    let loopback: Option<IpAddr> = Some("127.0.0.1".parse().unwrap());
    let health = |host: &str, port, path: &str| HealthProbe {
        host: Some(host.to_owned()),
        port,
        path: path.to_owned(),
        tls: true,
    };
    for (component, minor, bytes, _) in GOLDEN.into_iter().filter(|(_, _, bytes, _)| *bytes != HAND_EDITED) {
        let pod = StaticPod::parse(component, bytes).unwrap();
        assert_eq!((pod.component(), pod.name()), (component, component.name()));
        assert_eq!(pod.namespace(), "kube-system");
        assert_eq!(pod.port(), component.default_port());
        assert!(pod.leader_elect() && !pod.permits_port_sharing());
        let image = if minor == 20 { "k8s.gcr.io/NAME:v1.20.2" } else { "registry.k8s.io/NAME:v1.35.3" };
        assert_eq!(pod.image(), image.replace("NAME", component.name()));
        let expected = match (component, minor) {
            (Component::ApiServer, _) => health("192.0.2.10", 6443, "/readyz"),
            (Component::ControllerManager, _) => health("127.0.0.1", 10257, "/healthz"),
            (Component::Scheduler, 20) => health("127.0.0.1", 10259, "/healthz"),
            (Component::Scheduler, _) => health("127.0.0.1", 10259, "/readyz"),
        };
        assert_eq!(pod.health(), expected);
        let addresses = (pod.advertise_address(), pod.bind_address());
        assert_eq!(
            addresses,
            if component == Component::ApiServer { (node, None) } else { (None, loopback) }
        );
    }
}

#[test]
fn a_manifest_that_people_edited_is_understood() {
    let pod = StaticPod::parse(Component::ApiServer, HAND_EDITED).unwrap();
    assert_eq!(pod.image(), "registry.example.org/kube-apiserver:v1.35.3-patched");
    assert_eq!((pod.port(), pod.health().port), (7443, 7443));
    assert_eq!(pod.advertise_address(), Some("192.0.2.10".parse().unwrap()));
    assert_eq!(pod.flag("profiling").as_deref(), Some("true"));
    assert_eq!(pod.flag("permit-port-sharing").as_deref(), Some("false"));
}

#[test]
fn without_probes_and_namespace_the_defaults_hold() {
    let mut document = scheduler(&["kube-scheduler", "--secure-port=11259"], &[]);
    document["metadata"]["namespace"] = json!(null);
    // A probe of another kind says nothing about where to ask.
    document["spec"]["containers"][0]["readinessProbe"] = json!({ "exec": { "command": ["true"] } });
    let pod = parse(Component::Scheduler, &document).unwrap();
    assert_eq!(pod.namespace(), "default");
    let expected = HealthProbe { host: None, port: 11259, path: "/healthz".to_owned(), tls: true };
    assert_eq!(pod.health(), expected);
}

#[test]
fn what_is_no_pod_of_the_component_is_refused_with_what_was_seen() {
    let cases: [(&[u8], &str); 8] = [
        (b"---\n---\na: 1\n", "the first YAML document is empty"),
        (b"apiVersion: [v1", "not readable as YAML"),
        (b"kind: Pod\n\tname: x", "not readable as YAML"),
        (b"{apiVersion: v1}", "takes a file that begins with `{` as JSON"),
        (b"# gone\n", "no YAML document"),
        (b"a: 1\n---\nb: 2\n", "2 YAML documents"),
        (b"- a\n", "found a list"),
        (b"apiVersion: apps/v1\nkind: DaemonSet\n", "found apiVersion apps/v1, kind DaemonSet"),
    ];
    for (bytes, expected) in cases {
        let error = StaticPod::parse(Component::ApiServer, bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains('\n'), "{error:?} is more than one line");
    }
}

#[test]
fn every_missing_piece_has_its_own_error() {
    let component = Component::Scheduler;
    let refused = |path: &str, value: serde_json::Value| {
        let mut document = fixture(component);
        *document.pointer_mut(path).unwrap() = value;
        parse(component, &document).unwrap_err()
    };
    let container = "/spec/containers/0";
    assert_eq!(refused("/metadata/name", json!("")), ManifestError::NoName { component });
    assert_eq!(
        refused("/spec/hostNetwork", json!(false)),
        ManifestError::NotHostNetwork { seen: "false".to_owned() }
    );
    assert_eq!(
        refused("/spec/containers", json!([])),
        ManifestError::NoContainers { seen: "empty".to_owned(), component }
    );
    assert_eq!(
        refused(container, json!("x")),
        ManifestError::NoContainers { seen: "a list with a string in it".to_owned(), component }
    );
    assert_eq!(refused("/spec", json!(null)), ManifestError::NotHostNetwork { seen: "absent".to_owned() });
    assert_eq!(
        refused(&format!("{container}/command/2"), json!(true)),
        ManifestError::WordNotAString {
            at: "spec.containers[0].command[2]".to_owned(),
            seen: "true".to_owned()
        }
    );
    assert_eq!(
        refused(&format!("{container}/image"), json!(null)),
        ManifestError::NoImage { container: "kube-scheduler".to_owned() }
    );
    assert_eq!(
        refused(&format!("{container}/livenessProbe/httpGet/port"), json!("metrics")),
        ManifestError::UnknownPort {
            at: "spec.containers[0].livenessProbe.httpGet".to_owned(),
            seen: "\"metrics\"".to_owned()
        }
    );
    let shell =
        refused(&format!("{container}/command"), json!(["/bin/sh", "-c", "exec kube-scheduler --v=2"]));
    assert!(matches!(&shell, ManifestError::NotTheComponent { .. }));
    assert!(
        shell.to_string().contains("container kube-scheduler running `/bin/sh -c exec kube-scheduler --v=2`")
    );
}

#[test]
fn a_manifest_of_another_component_is_refused() {
    let (component, runs) = (Component::ControllerManager, Component::Scheduler);
    let error = parse(component, &fixture(runs)).unwrap_err();
    assert_eq!(error, ManifestError::AnotherComponent { component, runs });
    assert!(error.to_string().contains("name each file after what it holds"), "{error}");
}

#[test]
fn a_port_that_is_none_is_refused() {
    // A leading zero: the component reads octal digits.
    for port in ["0", "65536", "", "https", "-1", "$(PORT)", "010259"] {
        let document = scheduler(&["kube-scheduler", &format!("--secure-port={port}")], &[]);
        let error = parse(Component::Scheduler, &document).unwrap_err();
        assert_eq!(error, ManifestError::BadPort { component: Component::Scheduler, seen: port.to_owned() });
    }
}

/// The kubelet does not run such a pod. What it runs comes from an earlier version of the file, or nothing does.
#[test]
fn a_value_of_the_wrong_type_is_refused_by_its_path() {
    for (path, value, expected) in [
        ("/spec/priority", json!("2000001000"), "spec.priority: invalid type: string"),
        ("/spec/terminationGracePeriodSeconds", json!("30"), "spec.terminationGracePeriodSeconds: "),
        ("/spec/initContainers", json!({ "name": "x" }), "spec.initContainers: "),
        ("/spec/tolerations", json!({ "operator": "Exists" }), "spec.tolerations: "),
        ("/spec/securityContext", json!({ "runAsUser": "0" }), "spec.securityContext.runAsUser: "),
        (
            "/spec/containers/0/env",
            json!([{ "name": "GOGC", "value": 100 }]),
            "spec.containers[0].env[0].value: ",
        ),
        (
            "/spec/containers/0/livenessProbe/timeoutSeconds",
            json!("15"),
            "spec.containers[0].livenessProbe.timeoutSeconds: ",
        ),
        (
            "/spec/containers/0/resources",
            json!({ "requests": { "cpu": "250 m" } }),
            "spec.containers[0].resources.requests.cpu: ",
        ),
        (
            "/spec/dnsPolicy",
            json!("clusterfirst"),
            "spec.dnsPolicy: \"clusterfirst\" is none of ClusterFirst, ",
        ),
        (
            "/spec/containers/0/livenessProbe/httpGet/scheme",
            json!("https"),
            "spec.containers[0].livenessProbe.httpGet.scheme: ",
        ),
        ("/metadata/labels/tier", json!(7), "metadata.labels.tier: "),
    ] {
        let mut document = fixture(Component::Scheduler);
        let (parent, key) = path.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[key] = value;
        let error = parse(Component::Scheduler, &document).unwrap_err().to_string();
        assert!(error.starts_with(expected) && error.contains("the kubelet refuses such a pod"), "{error}");
    }
}

#[test]
fn what_the_kubelet_decodes_is_no_wrong_type() {
    let mut document = fixture(Component::Scheduler);
    document["status"] = json!("anything");
    document["spec"]["fancy"] = json!({ "not": ["known"] });
    document["spec"]["volumes"][0]["emptyDir"] = json!({ "sizeLimit": 1 });
    let container = &mut document["spec"]["containers"][0];
    container["resources"] = json!({ "requests": { "cpu": 0.5, "memory": 1024 }, "limits": null });
    container["env"] = json!([{ "name": "A", "value": null }]);
    container["ports"] = json!(null);
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        container[probe] = json!(null);
    }
    assert_eq!(parse(Component::Scheduler, &document).map(|pod| pod.port()), Ok(10259));
}
