//! Our DaemonSet against an API server's version of it, and against changes by others.

use serde_json::{Value, json};

use crate::manifest::same_spec;

const PAIRS: [(&str, &str); 2] = [
    (
        include_str!("../fixtures/v1.35/kube-apiserver.daemonset.json"),
        include_str!("../fixtures/v1.35/kube-apiserver.live.json"),
    ),
    (
        include_str!("../fixtures/hand-edited.daemonset.json"),
        include_str!("../fixtures/hand-edited.live.json"),
    ),
];

fn pair(index: usize) -> (Value, Value) {
    let (ours, live) = PAIRS[index];
    (serde_json::from_str(ours).unwrap(), serde_json::from_str(live).unwrap())
}

fn differences(ours: &Value, live: &Value) -> Vec<String> {
    same_spec(ours, live).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn what_an_api_server_defaults_is_no_difference() {
    for index in 0..PAIRS.len() {
        let (ours, live) = pair(index);
        assert_eq!(same_spec(&ours, &live), Ok(()));
        assert_eq!(same_spec(&ours, &ours), Ok(()));
    }
}

#[test]
fn what_others_added_is_no_difference() {
    let (ours, mut live) = pair(0);
    live["spec"]["template"]["metadata"]["annotations"] =
        json!({ "kubectl.kubernetes.io/restartedAt": "2025-01-01T00:00:00Z" });
    live["spec"]["template"]["spec"]["nodeSelector"]["disk"] = "ssd".into();
    assert_eq!(same_spec(&ours, &live), Ok(()));
}

#[test]
fn what_others_changed_is_found_and_named() {
    let container = "/spec/template/spec/containers/0";
    for (path, value, expected) in [
        ("/spec/minReadySeconds", json!(0), "spec.minReadySeconds: ours 20, live 0".to_owned()),
        (
            &format!("{container}/image"),
            json!("evil"),
            "spec.template.spec.containers[0].image: ours \"registry.k8s.io/kube-apiserver:v1.35.3\", live \"evil\""
                .to_owned(),
        ),
        (
            &format!("{container}/resources/requests/cpu"),
            json!("251m"),
            "spec.template.spec.containers[0].resources.requests.cpu: ours \"250m\", live \"251m\"".to_owned(),
        ),
        (
            "/spec/template/spec/nodeSelector",
            json!({ "node-role.kubernetes.io/control-plane": "" }),
            "spec.template.spec.nodeSelector[fulcrum.example/self-hosted]: ours \"\", live absent".to_owned(),
        ),
        (
            "/spec/template/spec/tolerations",
            json!([]),
            "spec.template.spec.tolerations[0]: ours {\"effect\":\"NoSchedule\",\"key\":\
             \"node-role.kubernetes.io/control-plane\",\"operator\":\"Exists\"}, live absent"
                .to_owned(),
        ),
        ("/spec/updateStrategy/type", json!(null), "spec.updateStrategy.type: ours \"RollingUpdate\", live null".to_owned()),
    ] {
        let (ours, mut live) = pair(0);
        *live.pointer_mut(path).unwrap() = value;
        assert_eq!(differences(&ours, &live), [expected]);
    }
}

#[test]
fn a_longer_list_is_a_difference() {
    let (ours, mut live) = pair(0);
    let command =
        live.pointer_mut("/spec/template/spec/containers/0/command").unwrap().as_array_mut().unwrap();
    let at = command.len();
    command.push("--anonymous-auth=true".into());
    let expected = format!(
        "spec.template.spec.containers[0].command[{at}]: ours absent, live \"--anonymous-auth=true\""
    );
    assert_eq!(differences(&ours, &live), [expected]);
}

#[test]
fn zero_means_absent_only_where_go_cannot_tell() {
    let spec = |key: &str, value: Value| json!({ "spec": { key: value } });
    let nothing = json!({ "spec": {} });
    for (key, value, same) in [
        ("readOnly", json!(false), true),
        ("readOnlyRootFilesystem", json!(false), false),
        ("initialDelaySeconds", json!(0), true),
        ("runAsUser", json!(0), false),
        ("host", json!(""), true),
        ("securityContext", json!({}), true),
        ("env", json!([]), true),
        ("emptyDir", json!({}), false),
        ("creationTimestamp", Value::Null, true),
    ] {
        assert_eq!(same_spec(&spec(key, value), &nothing).is_ok(), same, "{key}");
    }
    assert_eq!(same_spec(&spec("timeoutSeconds", json!(0)), &spec("timeoutSeconds", json!(1))), Ok(()));
    assert!(same_spec(&spec("readOnly", json!(false)), &spec("readOnly", json!(true))).is_err());
}
