//! A grammar of manifests: kubeadm's, dressed as real ones are, and mutated anywhere.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{Index, select, subsequence};
use serde_json::{Value, json};

use super::properties::manifest;
use crate::component::Component;

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

/// Fields that real pods have.
fn of_pods() -> Vec<(&'static str, Value)> {
    let required = |term: Value| json!({ "requiredDuringSchedulingIgnoredDuringExecution": term });
    let host_path = |name: &str, path: &str| json!({ "name": name, "hostPath": { "path": path, "type": "FileOrCreate" } });
    let hosts = json!([{ "ip": "192.0.2.50", "hostnames": ["etcd.internal"] }]);
    let resolver = json!({ "nameservers": ["192.0.2.53"], "options": [{ "name": "ndots", "value": "1" }] });
    vec![
        (
            "affinity",
            json!({ "podAntiAffinity": required(json!([{ "topologyKey": "kubernetes.io/hostname" }])) }),
        ),
        ("tolerations", json!([{ "effect": "NoExecute", "operator": "Exists" }])),
        ("tolerations", json!([{ "operator": "Exists" }])),
        ("nodeSelector", json!({ "node-role.kubernetes.io/master": "", "disk": "ssd" })),
        ("hostAliases", hosts),
        ("dnsConfig", resolver),
        ("dnsPolicy", "None".into()),
        ("dnsPolicy", "ClusterFirst".into()),
        ("dnsPolicy", "ClusterFirstWithHostNet".into()),
        ("dnsPolicy", Value::Null),
        ("priority", 2_000_000_000.into()),
        ("priorityClassName", "system-cluster-critical".into()),
        ("priorityClassName", "".into()),
        ("runtimeClassName", "runc".into()),
        (
            "securityContext",
            json!({ "seccompProfile": { "type": "RuntimeDefault" }, "fsGroup": 0, "sysctls": [] }),
        ),
        ("terminationGracePeriodSeconds", 0.into()),
        (
            "volumes",
            json!([host_path("log", "/var/log/kube-apiserver.log"), { "name": "run", "emptyDir": {} }]),
        ),
        ("volumes", json!([{ "name": "policy", "configMap": { "name": "policy", "defaultMode": 420 } }])),
        ("shareProcessNamespace", true.into()),
        ("hostPID", false.into()),
        ("nodeName", "cp-1".into()),
        ("restartPolicy", "OnFailure".into()),
        ("restartPolicy", Value::Null),
        ("automountServiceAccountToken", true.into()),
        ("serviceAccountName", "admin".into()),
        ("enableServiceLinks", false.into()),
        ("setHostnameAsFQDN", true.into()),
        ("imagePullSecrets", json!([{ "name": "registry" }])),
        ("imagePullSecrets", json!([])),
        (
            "topologySpreadConstraints",
            json!([{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway" }]),
        ),
        ("overhead", json!({ "cpu": "10m" })),
        ("preemptionPolicy", "PreemptLowerPriority".into()),
        ("readinessGates", json!([{ "conditionType": "example.org/ready" }])),
        ("os", json!({ "name": "linux" })),
    ]
}

/// Fields that real containers have.
fn of_containers() -> Vec<(&'static str, Value)> {
    let http = |host: &str, port: Value| json!({ "httpGet": { "host": host, "port": port, "path": "healthz", "scheme": "HTTPS" } });
    let field = |path: &str| json!({ "fieldRef": { "apiVersion": "v1", "fieldPath": path } });
    let ports =
        json!([{ "name": "https", "containerPort": 6443, "hostPort": 6443 }, { "containerPort": 3990 }]);
    let grown = json!({ "requests": { "cpu": 0.25, "memory": "1Gi" }, "limits": { "memory": "1.5Gi" } });
    let by_field = json!([
        { "name": "HOST_IP", "valueFrom": field("status.hostIP") },
        { "name": "PORT", "value": "7443" },
        { "name": "ADV", "value": "192.0.2.10" },
    ]);
    vec![
        ("livenessProbe", http("192.0.2.10", "https".into())),
        ("livenessProbe", http("", 6443.into())),
        ("livenessProbe", json!({ "exec": { "command": ["curl", "-k", "https://127.0.0.1:6443/livez"] } })),
        ("livenessProbe", Value::Null),
        ("readinessProbe", http("::1", "6443".into())),
        ("readinessProbe", json!({ "tcpSocket": { "host": "fd00::10", "port": 6443 }, "periodSeconds": 1 })),
        ("readinessProbe", json!({ "grpc": { "port": 6443, "service": "x" } })),
        ("startupProbe", http("localhost", 3990.into())),
        ("startupProbe", json!({ "httpGet": { "port": 6443 }, "failureThreshold": 0 })),
        ("ports", ports),
        ("ports", json!([])),
        ("ports", Value::Null),
        ("resources", grown),
        ("resources", json!({ "requests": {}, "limits": Value::Null, "claims": [{ "name": "gpu" }] })),
        ("env", by_field),
        ("env", json!([{ "name": "HOST_IP", "value": "198.51.100.1" }, { "name": "EMPTY", "value": "" }])),
        ("envFrom", json!([{ "prefix": "P_", "configMapRef": { "name": "env", "optional": true } }])),
        ("lifecycle", json!({ "preStop": { "exec": { "command": ["sleep", "5"] } } })),
        (
            "lifecycle",
            json!({ "postStart": { "httpGet": { "port": "https", "host": "192.0.2.10" } }, "preStop": { "sleep": { "seconds": 5 } } }),
        ),
        ("securityContext", json!({ "capabilities": { "drop": ["ALL"], "add": [] }, "runAsUser": 0 })),
        (
            "volumeMounts",
            json!([{ "name": "log", "mountPath": "/var/log/kube-apiserver.log", "readOnly": false }]),
        ),
        ("terminationMessagePath", "/dev/null".into()),
        ("workingDir", "/".into()),
        ("tty", true.into()),
        ("stdin", false.into()),
        ("imagePullPolicy", "Never".into()),
        ("restartPolicy", "Always".into()),
        ("resizePolicy", json!([{ "resourceName": "cpu", "restartPolicy": "NotRequired" }])),
    ]
}

/// Fields that a pod and two of its containers have.
type Clothes = Vec<(&'static str, Value)>;

fn clothes() -> impl Strategy<Value = (Clothes, Clothes, Clothes)> {
    (subsequence(of_pods(), 0..5), subsequence(of_containers(), 0..5), subsequence(of_containers(), 0..4))
}

fn put(into: &mut Value, fields: Clothes) {
    for (key, value) in fields {
        into[key] = value;
    }
}

/// A manifest as real ones are: with fields of every kind, and perhaps a container before or behind the component's.
fn dressed() -> impl Strategy<Value = (Component, Value)> {
    let aside = select(vec![None, Some(0), Some(1)]);
    (manifest(), starter(), clothes(), aside).prop_map(
        |((component, mut document), starter, clothes, aside)| {
            let (of_pod, of_component, of_other) = clothes;
            let spec = &mut document["spec"];
            put(spec, of_pod);
            put(&mut spec["containers"][0], of_component);
            if let Some(words) = spec["containers"][0]["command"].as_array_mut() {
                words.splice(0..0, starter.into_iter().map(Value::from));
            }
            if let (Some(at), Some(list)) = (aside, spec["containers"].as_array_mut()) {
                let mut other =
                    json!({ "name": "healthcheck", "image": "i", "args": ["--port=3990", "kube-scheduler"] });
                put(&mut other, of_other);
                list.insert(at, other);
            }
            (component, document)
        },
    )
}

/// A manifest in which some places hold anything at all.
pub(super) fn mutant() -> impl Strategy<Value = (Component, Value)> {
    let change = (any::<Index>(), value(), any::<bool>());
    (dressed(), vec(change, 0..4)).prop_map(|((component, mut document), changes)| {
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

/// The document in the ways in which people and tools write files, all with one meaning. Only those that begin with a
/// brace are JSON; the others are YAML, which has no control characters.
pub(super) fn writings(document: &Value) -> Vec<String> {
    let plain = document.to_string();
    let pretty = format!("{document:#}\n");
    let mut all = vec![format!("\n{pretty}"), pretty.replace('\n', "\r\n")];
    let is_text = |c: char| matches!(c, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}');
    if plain.chars().all(is_text) {
        all.push(format!("# a comment\n---\n{plain}\n---\n"));
        all.push(format!("\u{feff}--- # here\r\n{}...\r\n", pretty.replace('\n', "\r\n")));
        all.push(format!("%YAML 1.1\n---\n{pretty}"));
    }
    all
}
