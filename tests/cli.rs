//! The command: exit codes and words, as a person or a script meets them. What needs a real node is in
//! `tests/lab`; what needs root skips without it, and says so.

use crate::harness::skipped;
use crate::support::TestSite;
use fulcrum_engine::state::Journal;
use std::path::Path;
use std::process::{Command, Output};

struct Fulcrum {
    dir: tempfile::TempDir,
}

impl Fulcrum {
    /// The command with a state directory, a kubeconfig that leads nowhere, and an empty manifests directory.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("manifests")).unwrap();
        std::fs::write(dir.path().join("admin.conf"), kubeconfig("http://127.0.0.1:9")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
        command.env_clear().env("FULCRUM_STATE_DIR", self.path("state")).args(args);
        if matches!(args[0], "pivot" | "preflight" | "status") {
            for (flag, name) in [("--kubeconfig", "admin.conf"), ("--manifests-dir", "manifests")] {
                if !args.contains(&flag) {
                    command.arg(flag).arg(self.path(name));
                }
            }
        }
        command.output().unwrap()
    }

    /// Exit code and stderr.
    fn refused(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("panicked"), "{said}");
        (output.status.code().unwrap(), said)
    }
}

pub(crate) fn kubeconfig(server: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
    )
}

pub(crate) fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped("fulcrum refuses to pivot for anyone but root before it looks at anything else");
    }
    root
}

#[test]
fn help_names_every_command_and_exit_code() {
    let fulcrum = Fulcrum::new();
    let output = fulcrum.run(&["help"]);
    let help = String::from_utf8(output.stdout).unwrap();
    for word in
        ["pivot", "resume", "rollback", "status", "history", "rehearse", "--state-dir", "FULCRUM_STATE_DIR"]
    {
        assert!(help.contains(word), "{word} is missing: {help}");
    }
    for code in 0..=12 {
        assert!(help.contains(&format!("\n  {code}  ")), "exit code {code} is missing: {help}");
    }
    assert_eq!(fulcrum.run(&["pivot", "--sideways"]).status.code(), Some(2));
}

#[test]
fn a_place_where_nothing_was_done_says_so() {
    let fulcrum = Fulcrum::new();
    let output = fulcrum.run(&["history", "-o", "json"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), r#"{"format_version":1,"runs":[]}"#);
    assert!(!fulcrum.path("state").exists(), "looking made a state directory");
    let status = fulcrum.run(&["status", "-o", "json"]);
    assert_eq!(status.status.code(), Some(0));
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((status["state"].as_str(), status["run"].is_null()), (Some("unknown"), true));
    if root() {
        assert_eq!(fulcrum.run(&["rollback", "--yes"]).status.code(), Some(0));
    }
}

#[test]
fn what_is_missing_is_named_with_a_remedy() {
    if !root() {
        return;
    }
    let fulcrum = Fulcrum::new();
    let missing = fulcrum.path("none").display().to_string();
    for (args, words) in [
        (vec!["pivot", "--yes", "--kubeconfig", &missing], "/none could not be read"),
        (vec!["pivot", "--yes", "--manifests-dir", &missing], "staticPodPath"),
        (vec!["pivot", "--yes"], "kube-apiserver.yaml"),
    ] {
        let (code, said) = fulcrum.refused(&args);
        assert_eq!(code, 3, "{args:?}: {said}");
        assert!(said.contains(words) && said.contains("; "), "{args:?}: {said}");
    }
    std::fs::write(fulcrum.path("admin.conf"), "clusters: [").unwrap();
    let (code, said) = fulcrum.refused(&["pivot", "--yes"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("admin.conf cannot be used"), "{said}");
}

#[test]
fn a_cluster_that_does_not_answer_is_named_with_what_to_do() {
    let (code, said) = Fulcrum::new().refused(&["status", "--cluster"]);
    assert_eq!(code, 1, "{said}");
    for words in ["could not be asked about its nodes", "`fulcrum status` on each node", "--kubeconfig"] {
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn an_api_that_does_not_answer_is_named() {
    if !root() {
        return;
    }
    let fulcrum = Fulcrum::new();
    let options = fulcrum_simulator::SimulatorOptions::new(fulcrum.path("manifests"));
    fulcrum_simulator::write_control_plane(&options).unwrap();
    let (code, said) = fulcrum.refused(&["pivot", "--yes"]);
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains("api: ") && said.contains("was not reached") && said.contains("must answer"),
        "{said}"
    );
}

/// Whatever is missing, every other check is made, and what could not be learned is named.
#[test]
fn preflight_makes_every_check_and_changes_nothing() {
    let fulcrum = Fulcrum::new();
    let options = fulcrum_simulator::SimulatorOptions::new(fulcrum.path("manifests"));
    fulcrum_simulator::write_control_plane(&options).unwrap();
    drop(Journal::open(fulcrum.path("state"), "pivot").unwrap());
    std::fs::write(fulcrum.path("state/format"), r#"{"format":99}"#).unwrap();
    let output = fulcrum.run(&["preflight", "-o", "json", "--node-name", "cp1"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["format_version"], &said["passed"]), (&1.into(), &false.into()));
    let level = |check: &str| {
        let checks = said["checks"].as_array().unwrap();
        let found =
            checks.iter().find(|one| one["check"] == check).unwrap_or_else(|| panic!("{check}: {said}"));
        found["level"].as_str().unwrap().to_owned()
    };
    for (check, expected) in [
        ("journal", "refuse"),
        ("api", "refuse"),
        ("manifest", "pass"),
        ("leader-election", "pass"),
        ("lock", "not-checked"),
    ] {
        assert_eq!(level(check), expected, "{check}: {said}");
    }
    let root = rustix::process::geteuid().is_root();
    assert_eq!(level("root"), if root { "pass" } else { "refuse" });
    let missing = fulcrum.path("none").display().to_string();
    let (code, _) = fulcrum.refused(&["preflight", "--kubeconfig", &missing]);
    assert_eq!(code, 3);
    for (names, words) in [("lock", "cannot be ignored, since two runs"), ("tain", "there is no check")] {
        let (code, said) = fulcrum.refused(&["preflight", "--ignore-preflight-errors", names]);
        assert!(code == 3 && said.contains(words), "{code}: {said}");
    }
    let explained = fulcrum.run(&["preflight", "--explain", "Taint"]);
    assert!(String::from_utf8(explained.stdout).unwrap().starts_with("## taint"), "{:?}", explained.status);
}

#[test]
fn a_state_directory_that_cannot_be_used_is_named() {
    if !root() {
        return;
    }
    let fulcrum = Fulcrum::new();
    std::fs::write(fulcrum.path("state"), "a file").unwrap();
    let (code, said) = fulcrum.refused(&["pivot", "--yes"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("state") && said.contains("must be a directory"), "{said}");
}

#[test]
fn a_journal_that_is_open_elsewhere_or_newer_is_left_alone() {
    if !root() {
        return;
    }
    let fulcrum = Fulcrum::new();
    let journal = Journal::open(fulcrum.path("state"), "pivot").unwrap();
    let (code, said) = fulcrum.refused(&["rollback", "--yes"]);
    assert_eq!(code, 7, "{said}");
    assert!(
        said.contains(&format!("pid {}", std::process::id())) && said.contains("fulcrum resume"),
        "{said}"
    );
    drop(journal);
    std::fs::write(fulcrum.path("state/format"), r#"{"format":99}"#).unwrap();
    let (code, said) = fulcrum.refused(&["pivot", "--yes"]);
    assert_eq!(code, 8, "{said}");
    assert!(said.contains("format 99") && said.contains("use the version"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_is_found_and_the_entry_named() {
    let world = crate::support::TestSite::boot().await;
    let journal = world.journal();
    let run = world.pivot(&journal).await.run;
    let head = journal.reader().verify(run).unwrap();
    drop(journal);
    let verify = |dir: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
        command.arg("--state-dir").arg(dir).args(["history", "--verify"]).output().unwrap()
    };
    let output = verify(&world.state_dir());
    assert_eq!(output.status.code(), Some(11), "it was never signed: {output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains(&format!("run {run}: {} entries, their chain and their blobs", head.seq)),
        "{said}"
    );
    assert!(said.contains("not checked:") && !said.contains("WRONG"), "{said}");
    let db = world.state_dir().join("log/0000000001.log");
    let db = if db.exists() { db } else { world.state_dir().join("log/0000000000.log") };
    let bytes = std::fs::read(&db).unwrap();
    // In entries; the stored plan names the step otherwise.
    let text = b"\"step\":\"retire-static/kube-scheduler";
    let mut changed = bytes.clone();
    let places: Vec<usize> =
        (0..bytes.len() - text.len()).filter(|at| bytes[*at..].starts_with(text)).collect();
    assert!(!places.is_empty());
    for place in places {
        changed[place + 12] ^= 1;
    }
    std::fs::write(&db, changed).unwrap();
    let output = verify(&world.state_dir());
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(said.contains("WRONG:") && said.contains("entry "), "{said}");
    // What comes before is told all the same, and the message says where the rest should be.
    let mut history = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
    let output =
        history.arg("--state-dir").arg(world.state_dir()).args(["history", "last"]).output().unwrap();
    let (told, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(told.contains(" await-ready/kube-scheduler\n") && !told.contains(" record-head\n"), "{told}");
    assert!(
        said.contains("damaged at entry ") && said.contains(world.state_dir().to_str().unwrap()),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn old_runs_are_pruned_and_the_others_stay_whole() {
    if !root() {
        return;
    }
    let world = TestSite::boot().await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        let journal = world.journal();
        let run = world.pivot(&journal).await.run;
        if runs.len() < 2 {
            let _ = world.rollback(&journal, run).await;
            world.settle().await.unwrap();
        }
        runs.push(run);
    }
    let state_dir = world.state_dir();
    let fulcrum = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_fulcrum"))
            .arg("--state-dir")
            .arg(&state_dir)
            .args(args)
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        fulcrum(&["history", "prune", "--keep", "2", "--yes"]),
        format!("run {} is removed\n", runs[0])
    );
    // Three pivots, two ways back and the prune have signed. What the pruned run said cannot be checked.
    let mut verify = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
    let verified = verify.arg("--state-dir").arg(&state_dir).args(["history", "--verify"]).output().unwrap();
    let said = String::from_utf8(verified.stdout).unwrap();
    assert_eq!(verified.status.code(), Some(11), "{said}");
    assert_eq!(said.matches("their chain and their blobs").count(), 2, "{said}");
    assert!(
        said.contains(&format!("run {}: it was pruned at", runs[0])) && said.contains("6 checkpoints"),
        "{said}"
    );
    assert!(!state_dir.join("archive").join(runs[0].to_string()).exists());
    // The last one completed: it is what a rollback goes by.
    assert_eq!(
        fulcrum(&["history", "prune", "--keep", "0", "--yes"]),
        format!("run {} is removed\n", runs[1])
    );
    assert_eq!(fulcrum(&["history", "prune", "--keep", "0", "--yes"]), "");
    let kept: serde_json::Value = serde_json::from_str(&fulcrum(&["history", "-o", "json"])).unwrap();
    assert_eq!(kept["runs"].as_array().unwrap().len(), 1);
    assert_eq!(kept["runs"][0]["run"], runs[2].to_string());
    let _ = world.rollback(&world.journal(), runs[2]).await;
    world.assert_static("after pruning").await;
}

#[test]
fn a_renewal_is_refused_on_a_static_node_and_by_an_unknown_name() {
    if !root() {
        return;
    }
    let fulcrum = Fulcrum::new();
    let (code, said) = fulcrum.refused(&["certs", "renew", "all", "--yes"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("not self-hosted: run `kubeadm certs renew`"), "{said}");
    let (code, said) = fulcrum.refused(&["certs", "renew", "apisever"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("it renews apiserver, apiserver-kubelet-client,"), "{said}");
}
