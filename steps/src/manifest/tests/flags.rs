//! The forms of a flag, and the place of a new one.

use serde_json::{Value, json};

use super::{parse, scheduler};
use crate::component::Component;
use crate::manifest::StaticPod;

fn flag(words: &[&str], name: &str) -> Option<String> {
    let words = [&["kube-scheduler"], words].concat();
    parse(Component::Scheduler, &scheduler(&words, &[])).unwrap().flag(name)
}

/// The command and the args with sharing permitted.
fn shared(command: &[&str], args: &[&str]) -> (Value, Value) {
    let pod = parse(Component::Scheduler, &scheduler(command, args)).unwrap();
    let again = StaticPod::parse(Component::Scheduler, &pod.with_port_sharing()).unwrap();
    assert!(again.permits_port_sharing());
    let container = &again.document["spec"]["containers"][0];
    (container["command"].clone(), container["args"].clone())
}

#[test]
fn flags_are_read_in_all_their_forms() {
    let value = |words: &[&str]| flag(words, "kubeconfig");
    assert_eq!(value(&["--kubeconfig=/a=b"]).as_deref(), Some("/a=b"));
    assert_eq!(value(&["--kubeconfig", "/a"]).as_deref(), Some("/a"));
    assert_eq!(value(&["--kubeconfig="]).as_deref(), Some(""));
    assert_eq!(value(&["--kubeconfig=/a", "-v=2", "--kubeconfig", "/b"]).as_deref(), Some("/b"));
    assert_eq!(value(&["--kubeconfig", "--v=2"]).as_deref(), Some("true"));
    assert_eq!(value(&["--kubeconfig"]).as_deref(), Some("true"));
    assert_eq!(value(&["--kubeconfig-x=/a", "--"]), None);
    assert_eq!(flag(&["--secure_port", "11259"], "secure-port").as_deref(), Some("11259"));
    assert_eq!(flag(&["--weight", "-5"], "weight").as_deref(), Some("-5"));
}

#[test]
fn the_program_need_not_be_the_first_word() {
    for (command, args) in [
        (&["/usr/local/bin/kube-scheduler", "--v=3"][..], &[][..]),
        (&["/go-runner", "--log-file=/var/log/kube-scheduler", "kube-scheduler", "--v=3"], &[]),
        (&["hyperkube"], &["kube-scheduler", "--v=3"]),
        (&["kube-scheduler"], &["--v=3"]),
        (&[], &["--v=3"]),
    ] {
        let pod = parse(Component::Scheduler, &scheduler(command, args)).unwrap();
        assert_eq!(pod.flag("v").as_deref(), Some("3"), "{command:?} {args:?}");
        assert_eq!(pod.flag("log-file"), None);
    }
}

/// A debugger hands such words on. What is appended before the `--` would go to the debugger.
#[test]
fn words_behind_the_end_of_the_flags_are_refused() {
    for words in [
        &["dlv", "--listen=:2345", "exec", "kube-scheduler", "--", "--v=2"][..],
        &["kube-scheduler", "--v=2", "--", "--kubeconfig=/b"],
    ] {
        let error = parse(Component::Scheduler, &scheduler(words, &[])).unwrap_err().to_string();
        assert!(error.starts_with("spec.containers[0]: `--"), "{error}");
        assert!(error.contains("stands behind `--`"), "{error}");
    }
}

#[test]
fn booleans_are_gos() {
    for (words, elects) in [
        (&[][..], true),
        (&["--leader-elect"], true),
        (&["--leader-elect=T"], true),
        (&["--leader-elect=0"], false),
        (&["--leader-elect=false", "--leader-elect=true"], true),
        (&["--leader-elect=true", "--leader-elect=false"], false),
    ] {
        let words = [&["kube-scheduler"], words].concat();
        let pod = parse(Component::Scheduler, &scheduler(&words, &[])).unwrap();
        assert_eq!(pod.leader_elect(), elects, "{words:?}");
    }
}

#[test]
fn sharing_is_added_after_the_last_flag_of_the_list_that_has_them() {
    let added = "--permit-port-sharing=true";
    let program = "kube-scheduler";
    assert_eq!(shared(&[program], &[]), (json!([program, added]), Value::Null));
    assert_eq!(shared(&[program, "--v=2"], &[]), (json!([program, "--v=2", added]), Value::Null));
    assert_eq!(shared(&[program], &["--v=2"]), (json!([program]), json!(["--v=2", added])));
    assert_eq!(shared(&[], &["--v=2"]), (Value::Null, json!(["--v=2", added])));
    assert_eq!(shared(&[], &[]), (Value::Null, json!([added])));
    assert_eq!(shared(&[program, "--v=2", "--"], &[]), (json!([program, "--v=2", added, "--"]), Value::Null));
}

#[test]
fn sharing_that_was_refused_is_changed_in_its_place() {
    let added = "--permit-port-sharing=true";
    let program = "kube-scheduler";
    assert_eq!(
        shared(&[program, "--permit-port-sharing=false", "--v=2"], &[]),
        (json!([program, added, "--v=2"]), Value::Null)
    );
    assert_eq!(
        shared(&[program, "--permit-port-sharing=true"], &["--permit_port_sharing=false", "--v=2"]),
        (json!([program]), json!([added, "--v=2"]))
    );
}

#[test]
fn sharing_that_is_permitted_already_changes_nothing() {
    for words in
        [&["kube-scheduler", "--permit-port-sharing"][..], &["kube-scheduler", "--permit-port-sharing=1"]]
    {
        let document = scheduler(words, &[]);
        let pod = parse(Component::Scheduler, &document).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&pod.with_port_sharing()).unwrap(), document);
    }
}
