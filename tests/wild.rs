//! Manifests of real clusters, a directory a kind (`steps/tests/fixtures/wild`), as a person meets them: each is pivoted and
//! rolled back in the rehearsal, or refused with a reason that names the file.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// The words of the refusal; `None` where all of it is done, and taken back.
const CASES: [(&str, Option<&str>); 35] = [
    ("03-kms-sidecar", Some("kube-apiserver.yaml: container kms listens by itself (port 8787)")),
    ("11-two-word-flags", None),
    ("27-no-priority-class", None),
    ("28-typo-priorityClass", Some("kube-scheduler.yaml: the API server does not know spec.priorityClass")),
    ("38-droppings", None),
    ("40-backup-two-documents", Some("kube-apiserver.yaml.orig also makes the kubelet run")),
    ("42-backup-shell-wrapped", Some("apiserver-old.yaml also makes the kubelet run")),
    ("45-etcd-systemd-loopback", None),
    ("47-etcd-external-dns", None),
    ("52-shell-wrapper-tail", Some("kube-apiserver.yaml: no container runs kube-apiserver")),
    ("53-shell-exec-args", None),
    ("54-go-runner", None),
    ("57-renamed", None),
    ("61-anti-affinity", Some("take the rule out of DIR/kube-apiserver.yaml")),
    ("64-minikube-8443", None),
    ("69-reconciler-none", None),
    ("74-advertise-by-env", Some("DIR/kube-apiserver.yaml: the API server publishes 192.0.2.100")),
    ("79-command-is-a-string", Some("kube-apiserver.yaml: spec.containers[0].command is a string")),
    ("84-requests-too-large-twice", Some("ask for 1800m of cpu (DIR/kube-apiserver.yaml 1500m")),
    ("a05-doc-trailing-dashes", None),
    ("a09-probe-localhost", None),
    ("a11-v1.20-insecure-ports", Some("DIR/kube-scheduler.yaml: kube-scheduler opens port 10251")),
    (
        "a35-healthcheck-sidecar",
        Some("kube-apiserver.yaml: container healthcheck listens by itself (port 3990)"),
    ),
    (
        "b01-sidecar-port-in-words",
        Some("kube-apiserver.yaml: container konnectivity-server listens by itself (port 8132, 8133, 8134)"),
    ),
    (
        "b02-debugger",
        Some("kube-apiserver.yaml: spec.containers[0]: `--advertise-address=192.0.2.10` stands behind `--`"),
    ),
    ("b03-args-only", None),
    ("b04-wrong-type", Some("kube-apiserver.yaml: spec.priority: invalid type: string")),
    ("b05-service-account", Some("kube-apiserver.yaml: spec.serviceAccountName refers to a ServiceAccount")),
    ("b06-readiness-gate", Some("take them out of DIR/kube-apiserver.yaml")),
    ("b07-affinity-to-nobody", Some("take the rule out of DIR/kube-apiserver.yaml")),
    ("b08-both-variables-taken", None),
    ("b09-label-k8s-app", None),
    ("b10-init-waits-for-the-port", Some("kube-apiserver.yaml: init container setup looks for who listens")),
    ("b11-probe-of-a-sidecar", Some("kube-apiserver.yaml: container side listens by itself (port 3990)")),
    ("b12-first-document-empty", Some("kube-apiserver.yaml: the first YAML document is empty")),
];

/// What is warned of, where it is more than a word about the simulated machine.
const WARNINGS: [(&str, &str); 3] = [
    (
        "b09-label-k8s-app",
        "DIR/kube-scheduler.yaml: the label k8s-app=kube-scheduler becomes k8s-app=self-hosted-kube-scheduler",
    ),
    ("27-no-priority-class", "warning: priority: DIR/kube-scheduler.yaml has no priorityClassName"),
    (
        "38-droppings",
        "warning: foreign-file: DIR has what is no pod: #notes#, README, empty.yaml, old, x.tar.gz",
    ),
];

#[test]
fn every_kind_is_rehearsed_or_refused_by_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../steps/tests/fixtures/wild");
    let there = std::fs::read_dir(&root).unwrap().count();
    assert_eq!(there, CASES.len(), "each directory has its line");
    let scratch = tempfile::tempdir().unwrap();
    let started = CASES.map(|(case, expected)| {
        let dir = root.join(case);
        let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
        command.env_clear().env("TMPDIR", scratch.path()).args(["rehearse", "--manifests-dir"]).arg(&dir);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        (case, expected, dir, child)
    });
    let warnings = BTreeMap::from(WARNINGS);
    for (case, expected, dir, child) in started {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap().replace(&dir.display().to_string(), "DIR");
        assert_eq!(output.status.code(), Some(if expected.is_some() { 3 } else { 0 }), "{case}: {said}");
        let refused = expected.unwrap_or("everything is as it was before");
        let all = format!("{said}{}", String::from_utf8(output.stdout).unwrap());
        assert!(all.contains(refused), "{case}: {all}");
        assert!(warnings.get(case).is_none_or(|warning| said.contains(warning)), "{case}: {said}");
    }
}
