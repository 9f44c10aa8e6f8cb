//! `fulcrum rehearse`, as a person meets it. What it finds out is tested in `crash_matrix`.

use crate::harness::skipped;
use fulcrum_simulator::{SimulatorOptions, write_control_plane};
use fulcrum_steps::host::ManifestsDir;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A private place for temporary files, and manifests to rehearse with.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["tmp", "manifests"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        write_control_plane(&SimulatorOptions::new(dir.path().join("manifests"))).unwrap();
        Self { dir }
    }

    fn manifests(&self) -> PathBuf {
        self.dir.path().join("manifests")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
        command.env_clear().env("TMPDIR", self.dir.path().join("tmp")).args(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn rehearse(&self, args: &[&str]) -> Output {
        self.command(&[&["rehearse", "--manifests-dir", self.manifests().to_str().unwrap()], args].concat())
            .output()
            .unwrap()
    }

    fn assert_nothing_left(&self) {
        let left: Vec<PathBuf> = walk(&self.dir.path().join("tmp"));
        assert!(left.is_empty(), "{left:?}");
    }
}

/// What is in a directory. A process at work may remove the directory meanwhile.
fn walk(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// With numbers, random names and the columns' widths taken out.
fn redacted(text: &str) -> String {
    text.lines().map(|line| redacted_line(line) + "\n").collect()
}

/// The same of a line.
pub(crate) fn redacted_line(line: &str) -> String {
    let word = |word: &str| -> String {
        let shown = match word.rsplit_once('-') {
            Some((name, suffix)) if word.starts_with("self-hosted-") && suffix.len() == 5 => {
                format!("{name}-?")
            }
            _ => word.to_owned(),
        };
        let mut kept = String::new();
        for letter in shown.chars() {
            let letter = if letter.is_ascii_digit() { '0' } else { letter };
            if letter != '0' || !kept.ends_with('0') {
                kept.push(letter);
            }
        }
        kept
    };
    line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

const SUMMARY: &str = "\
step forward back
preflight 0 ms 0 ms
lock 0 ms 0 ms
archive 0 ms 0 ms
arm-guard 0 ms 0 ms
share-port/kube-apiserver 0 ms 0 ms
share-port/kube-controller-manager 0 ms 0 ms
share-port/kube-scheduler 0 ms 0 ms
prefer-static 0 ms 0 ms
label-node 0 ms 0 ms
create-daemonset/kube-apiserver 0 ms 0 ms
await-ready/kube-apiserver 0 ms 0 ms
create-daemonset/kube-controller-manager 0 ms 0 ms
await-ready/kube-controller-manager 0 ms 0 ms
create-daemonset/kube-scheduler 0 ms 0 ms
await-ready/kube-scheduler 0 ms 0 ms
switch 0 ms 0 ms
prepare-rollback/lower-bridge 0 ms 0 ms
prepare-rollback/end-redirect 0 ms 0 ms
prepare-rollback/restore-static/kube-apiserver 0 ms 0 ms
prepare-rollback/vacate-port/kube-apiserver 0 ms 0 ms
prepare-rollback/restore-static/kube-controller-manager 0 ms 0 ms
prepare-rollback/vacate-port/kube-controller-manager 0 ms 0 ms
prepare-rollback/restore-static/kube-scheduler 0 ms 0 ms
prepare-rollback/vacate-port/kube-scheduler 0 ms 0 ms
prepare-rollback/redirect 0 ms 0 ms
prepare-rollback/raise-bridge 0 ms 0 ms
retire-static/kube-controller-manager 0 ms 0 ms
retire-static/kube-scheduler 0 ms 0 ms
retire-static/kube-apiserver 0 ms 0 ms
prefer-serving 0 ms 0 ms
verify 0 ms 0 ms
record-head 0 ms 0 ms

requests to the API time sent failed gap
before 0 ms 0 0 0 ms
pivot 0 ms 0 0 0 ms
between 0 ms 0 0 0 ms
rollback 0 ms 0 0 0 ms
after 0 ms 0 0 0 ms

control plane
kube-apiserver
before static pod kube-apiserver-node-0 (pid 0)
between DaemonSet's pod self-hosted-kube-apiserver-?
(pid 0), shares its port
after static pod kube-apiserver-node-0 (pid 0)
kube-controller-manager
before static pod kube-controller-manager-node-0 (pid 0), leads
between DaemonSet's pod self-hosted-kube-controller-manager-?
(pid 0), shares its port, leads
after static pod kube-controller-manager-node-0 (pid 0), leads
kube-scheduler
before static pod kube-scheduler-node-0 (pid 0), leads
between DaemonSet's pod self-hosted-kube-scheduler-?
(pid 0), shares its port, leads
after static pod kube-scheduler-node-0 (pid 0), leads

pivot completed: every step is done
rollback rolled-back: rollback was asked for
everything is as it was before: files byte for byte, objects, processes
0.0 s for the pivot and the way back
a real cluster takes some hundred times as long
";

#[test]
fn there_and_back_is_shown_and_leaves_nothing_behind() {
    let place = Place::new();
    let before = ManifestsDir::new(place.manifests()).read("kube-apiserver.yaml").unwrap();
    let output = place.rehearse(&[]);
    let talk = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{talk}");
    assert_eq!(redacted(&text(&output.stdout)), SUMMARY, "a request that fails would be shown, too");
    let copies = format!("rehearsing Kubernetes 1.35.3 with copies of {}\n", place.manifests().display());
    assert!(talk.starts_with(&copies), "{talk}");
    for line in ["  done    record-head (", "  undone  preflight ("] {
        assert!(talk.contains(line), "{talk}");
    }
    assert_eq!(ManifestsDir::new(place.manifests()).read("kube-apiserver.yaml").unwrap(), before);
    assert_eq!(walk(&place.manifests()).len(), 4);
    place.assert_nothing_left();
}

#[test]
fn every_release_goes_there_and_back() {
    let place = Place::new();
    for version in ["1.20", "1.24", "1.30", "1.37"] {
        let output = place.command(&["rehearse", "--kubernetes", version, "-o", "json"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{version}: {}", text(&output.stderr));
        let lines = text(&output.stdout);
        let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let named = |name: &str| events.iter().filter(|event| event["event"] == name).count();
        assert_eq!((named("begun"), named("step-done"), named("undo-done")), (1, 32, 32), "{version}");
        let summary = events.last().unwrap();
        assert_eq!(summary["event"], "summary");
        assert!(summary["kubernetes"].as_str().unwrap().starts_with(version), "{summary}");
        assert_eq!(summary["as_before"], true, "{summary}");
        for phase in summary["requests"].as_array().unwrap() {
            assert_eq!(phase["failed"], serde_json::json!({}), "{summary}");
        }
        let between = &summary["control_plane"]["between"][0]["serving"][0];
        assert_eq!(between["is_static"], false, "{summary}");
    }
    place.assert_nothing_left();
}

#[test]
fn a_version_that_is_not_known_is_said() {
    let place = Place::new();
    let output = place.rehearse(&["--kubernetes", "1.19"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("say 1.20 to 1.37"));
    // A kubelet that a real pivot refuses is refused here.
    let output = place.rehearse(&["--kubernetes", "1.20.2"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("1.20.0 to 1.20.3 can reject DaemonSet pods"));
    edit(&place, "kube-apiserver.yaml", ":v1.35.3", ":latest");
    let output = place.rehearse(&[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("say it with --kubernetes"), "{}", text(&output.stderr));
    assert_eq!(place.rehearse(&["--kubernetes", "1.35"]).status.code(), Some(0));
}

/// What the real pivot would refuse is refused in its words: both are asked.
#[test]
fn a_manifest_is_refused_in_the_pivots_words() {
    let root = rustix::process::geteuid().is_root();
    for (name, from, to, check) in [
        ("kube-scheduler.yaml", "--leader-elect=true", "--leader-elect=false", "leader-election: "),
        ("kube-controller-manager.yaml", "hostNetwork: true", "hostNetwork: false", "manifest: "),
    ] {
        let place = Place::new();
        edit(&place, name, from, to);
        let output = place.rehearse(&[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(check), "{said}");
        place.assert_nothing_left();
        if !root {
            skipped("fulcrum refuses to pivot for anyone but root before it looks at anything else");
            continue;
        }
        let kubeconfig = place.dir.path().join("admin.conf");
        std::fs::write(&kubeconfig, crate::cli::kubeconfig("http://127.0.0.1:9")).unwrap();
        let state = place.dir.path().join("state");
        let mut pivot = place.command(&["pivot", "--yes", "--manifests-dir"]);
        pivot.arg(place.manifests());
        let output =
            pivot.arg("--kubeconfig").arg(kubeconfig).arg("--state-dir").arg(state).output().unwrap();
        // The pivot then goes on to what is not there: an API, serving pods, a place for the guard.
        assert_eq!(output.status.code(), Some(3));
        assert!(text(&output.stderr).starts_with(&said), "{said}\n{}", text(&output.stderr));
    }
}

/// What is kept can be looked at with the other commands.
#[test]
fn what_is_kept_is_the_node_and_its_journal() {
    let place = Place::new();
    let output = place.rehearse(&["--keep"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let [root] = &walk(&place.dir.path().join("tmp"))[..] else { panic!("one directory is kept") };
    assert!(text(&output.stderr).contains(root.to_str().unwrap()));
    let [world] = &walk(root)[..] else { panic!("it was one world") };
    assert_eq!(walk(&world.join("manifests")).len(), 4);
    let history = place.command(&["history", "last", "--state-dir", world.join("state").to_str().unwrap()]);
    let told = text(&{ history }.output().unwrap().stdout);
    assert!(told.contains("rolled-back") && told.contains("undone  preflight"), "{told}");
}

/// The form that a failed case is shown with.
#[test]
fn one_case_can_be_said_again() {
    let place = Place::new();
    let case = "retire-static/kube-apiserver@effect:kill:resume";
    let output = place.rehearse(&["--crash", case]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    let rows = redacted(&said);
    assert!(rows.contains("retire-static/kube-apiserver\n0/0 - - - - - 0.0 s\n"), "{rows}");
    assert!(rows.contains("0 passed, 0 failed; 0.0 s, 0 side by side\n"), "{rows}");
    assert!(said.contains("\n1 passed, 0 failed; "), "{said}");
    let output = place.rehearse(&["--crash", "record-head@noon"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("`noon` is none of started, effect, done"), "{output:?}");
    place.assert_nothing_left();
}

/// By the driver of `--all-nodes`, as a person and as a program see it.
#[test]
fn three_nodes_go_there_and_back_by_one_command() {
    let place = Place::new();
    let output = place.rehearse(&["--nodes", "3"]);
    let (said, talk) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}{talk}");
    let rows = redacted(&said);
    for row in [
        "before 0 ms 0 0 0 ms 0 0 0 ms\n",
        "pivot node-0 0 ms 0 0 0 ms 0 0 0 ms\n",
        "node-0 self-hosted 0/0 armed - pivot completed\n",
        "everything is as it was before, on each node: ",
    ] {
        assert!(rows.contains(row), "{row} is not in {rows}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 100), "{said}");
    assert!(talk.contains("in turn: node-") && talk.contains("node-2: done after "), "{talk}");
    let output = place.command(&["rehearse", "--nodes", "3", "-o", "json"]).output().unwrap();
    let summary: Value = serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap();
    assert_eq!((&summary["event"], &summary["as_before"]), (&"summary".into(), &true.into()), "{summary}");
    assert_eq!(summary["nodes"].as_array().unwrap().len(), 3, "{summary}");
    for phase in summary["requests"].as_array().unwrap() {
        for way in ["balanced", "direct"] {
            let asked = &phase[way];
            assert_eq!((&asked["failed"], &asked["away"]), (&serde_json::json!({}), &0.into()), "{summary}");
        }
    }
    for node in summary["between"]["nodes"].as_array().unwrap() {
        assert_eq!(node["is"], "self-hosted", "{summary}");
    }
    place.assert_nothing_left();
}

#[test]
fn a_case_on_one_of_three_nodes_can_be_said_again() {
    let place = Place::new();
    let output = place.rehearse(&["--nodes", "3", "--crash", "switch@effect:partition:resume"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    assert!(said.contains("    cut ") && said.contains("\n1 passed, 0 failed; "), "{said}");
    assert!(said.contains(" answered, 0 failed; with the lost node "), "{said}");
    for (args, code, why) in [
        (["--nodes", "2", "--crash", "switch"], 3, "say `--nodes 3` with --crash"),
        (["--nodes", "3", "--crash", "switch@effect:api"], 3, "`api` is none of kill, reboot, partition"),
        (["--nodes", "6", "--crash", "switch"], 2, "1..=5"),
    ] {
        let output = place.rehearse(&args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
    }
    place.assert_nothing_left();
}

/// Each story but the pivot's, there and back: no request fails that can be answered.
#[test]
fn each_story_is_rehearsed() {
    let place = Place::new();
    for (story, step) in
        [("upgrade", "upload-config"), ("certs", "prove-certs"), ("secrets", "create-secrets")]
    {
        let output = place.command(&["rehearse", "--story", story, "-o", "json"]).output().unwrap();
        let (said, talk) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{story}: {said}{talk}");
        let summary: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert_eq!(summary["story"], story, "{summary}");
        assert_eq!(summary["as_before"], true, "{summary}");
        for phase in summary["requests"].as_array().unwrap() {
            assert_eq!(phase["failed"], serde_json::json!({}), "{summary}");
            assert_eq!(phase["away"] != 0, phase["phase"] == "power-cut", "{summary}");
        }
        let steps = summary["steps"].as_array().unwrap();
        assert!(steps.iter().any(|one| one["step"] == step), "{summary}");
    }
    place.assert_nothing_left();
}

/// A point of each story, with each fault.
#[test]
fn a_change_that_is_broken_is_brought_to_its_end() {
    let place = Place::new();
    for (story, case) in [
        ("upgrade", "edit-daemonset/kube-apiserver@effect"),
        ("certs", "renew-certs/scheduler.conf@effect"),
        ("secrets", "retire-static/kube-apiserver@effect"),
    ] {
        let output = place.command(&["rehearse", "--story", story, "--crash", case]).output().unwrap();
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{story}, {case}: {said}{}", text(&output.stderr));
        assert!(said.contains("\n6 passed, 0 failed; "), "{said}");
    }
    let output = place.command(&["rehearse", "--story", "certs", "--crash", "signing"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    place.assert_nothing_left();
}

#[test]
fn interrupted_it_leaves_nothing_behind() {
    let place = Place::new();
    for args in [&["rehearse"][..], &["rehearse", "--crash", "everywhere", "--side-by-side", "3"]] {
        let child = place.command(args).spawn().unwrap();
        let pid = child.id();
        within("a journal", || walk(&place.dir.path().join("tmp")).iter().any(|root| has_journal(root)));
        let children = children_of(pid);
        kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{args:?}: {}", text(&output.stderr));
        place.assert_nothing_left();
        within("the children's end", || children.iter().all(|child| !alive(*child)));
    }
}

fn has_journal(root: &Path) -> bool {
    walk(root).iter().any(|world| world.join("state/log").exists())
}

fn children_of(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

fn alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.contains("State:") && !status.contains("State:\tZ")
}

fn within(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "waited 20 s for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn edit(place: &Place, name: &str, from: &str, to: &str) {
    let manifests = ManifestsDir::new(place.manifests());
    let image = manifests.read(name).unwrap().unwrap();
    assert!(image.content.contains(from), "{}", image.content);
    manifests.write(name, &image.with_content(image.content.replace(from, to))).unwrap();
}
