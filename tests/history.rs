//! `fulcrum history` as a person and a program read it. The texts are those of a kept journal, in
//! `tests/fixtures/history`: `FULCRUM_GOLDEN=write` writes them anew.

use crate::harness::copy_dir;
use crate::support::{TestSite, setup};
use fulcrum_simulator::rehearsal::SOON;
use fulcrum_steps::plan;
use fulcrum_steps::settings::{HandoverMode, Wanted};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("tests/fixtures")
}

fn history(state_dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
    command.env_clear().arg("history").arg("--state-dir").arg(state_dir).args(args).output().unwrap()
}

fn told(state_dir: &Path, args: &[&str]) -> String {
    let output = history(state_dir, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The text is the kept one.
pub(crate) fn golden(name: &str, text: &str) {
    let path = fixtures().join(name);
    if std::env::var_os("FULCRUM_GOLDEN").is_some_and(|word| word == "write") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (kept, text)) in kept.lines().zip(text.lines()).enumerate() {
        assert_eq!(text, kept, "{name}:{}", number + 1);
    }
    assert_eq!(text, kept, "{name}");
}

/// A completed pivot, three runs of the guard, and a rollback that is paused.
fn kept() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(&fixtures().join("kept/mid-rollback"), dir.path());
    dir
}

fn pretty(json: &str) -> String {
    format!("{:#}\n", serde_json::from_str::<Value>(json).unwrap())
}

#[test]
fn a_journal_is_told_in_words_as_ever() {
    let dir = kept();
    let list = told(dir.path(), &[]);
    golden("history/list.txt", &list);
    let pivot = list.split_whitespace().nth(1).unwrap();
    golden("history/pivot.txt", &told(dir.path(), &[pivot]));
    golden("history/last-long.txt", &told(dir.path(), &["last", "--long"]));
    golden("history/pivot-diff.txt", &told(dir.path(), &[pivot, "--diff"]));
    for text in [&list, &told(dir.path(), &[pivot])] {
        let long = text.lines().find(|line| line.chars().count() > 80);
        assert_eq!(long, None, "80 columns");
    }
}

#[test]
fn programs_read_a_journal_as_ever() {
    let dir = kept();
    let json = told(dir.path(), &["-o", "json"]);
    let runs = serde_json::from_str::<Value>(&json).unwrap()["runs"].as_array().unwrap().clone();
    // Two attempts of each run show their form.
    let mut short: Value = serde_json::from_str(&json).unwrap();
    for run in short["runs"].as_array_mut().unwrap() {
        run["attempts"].as_array_mut().unwrap().truncate(2);
    }
    golden("history/history.json", &format!("{short:#}\n"));
    let lines = told(dir.path(), &["-o", "jsonl"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), runs.len());
    for (mut line, run) in lines.into_iter().zip(runs) {
        assert_eq!(line.as_object_mut().unwrap().remove("format_version"), Some(1.into()));
        assert_eq!(line, run, "a line is a run");
    }
    let file = dir.path().join("trace.json");
    told(dir.path(), &["last", "--trace", file.to_str().unwrap()]);
    golden("history/last-trace.json", &pretty(&std::fs::read_to_string(&file).unwrap()));
}

#[test]
fn runs_are_found_by_time_actor_and_failure() {
    let dir = kept();
    let found = |args: &[&str]| {
        let lines = told(dir.path(), &[args, &["-o", "jsonl"]].concat());
        let kind =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()["kind"].as_str().unwrap().to_owned();
        lines.lines().map(kind).collect::<Vec<_>>()
    };
    assert_eq!(found(&["--actor", "command"]), ["pivot"]);
    assert_eq!(found(&["--actor", "guard"]), ["pivot", "hand-over", "fall-back", "hand-over"]);
    assert_eq!(found(&["--actor", "nobody"]), [""; 0]);
    // The pivot went on after that.
    assert_eq!(found(&["--since", "2026-11-28T23:02:35.5"]), ["pivot", "hand-over"]);
    assert_eq!(found(&["--since", "2026-11-29"]), [""; 0]);
    // It was completed before it was rolled back.
    assert_eq!(found(&["--failed"]), [""; 0]);
    assert_eq!(told(dir.path(), &["--failed", "-o", "json"]), "{\"format_version\":1,\"runs\":[]}\n");
    for wrong in [["--since", "soon"].as_slice(), &["last", "--failed"], &["--diff"], &["--long"]] {
        assert_eq!(history(dir.path(), wrong).status.code(), Some(2), "{wrong:?}");
    }
    let help = String::from_utf8(history(dir.path(), &["-h"]).stdout).unwrap();
    assert!(help.contains("fulcrum history last --diff"), "{help}");
    assert!(help.lines().count() <= 46, "it fits a screen: {help}");
}

/// What is read in a browser has all of it, and is small.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_a_pivot_and_its_rollback() {
    let world = TestSite::boot().await;
    let journal = world.journal();
    let run = world.pivot(&journal).await.run;
    let _ = world.rollback(&journal, run).await;
    let plan = fulcrum_engine::load::load(&journal.reader(), run).unwrap().plan().clone();
    drop(journal);
    let [page, trace] = ["page.html", "trace.json"].map(|name| world.state_dir().with_file_name(name));
    let (page_file, trace_file) = (page.to_str().unwrap(), trace.to_str().unwrap());
    told(&world.state_dir(), &["--html", page_file, "--trace", trace_file]);
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.len() < 200_000, "{} bytes", page.len());
    let trace: Value = serde_json::from_str(&std::fs::read_to_string(&trace).unwrap()).unwrap();
    let slices: Vec<&Value> =
        trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X").collect();
    assert_eq!(slices.len(), 2 * plan.steps().len(), "each step, there and back");
    for step in plan.steps() {
        let name = fulcrum_steps::step_name::shown(&step.id);
        assert!(page.contains(&format!("<summary>{name}<span class=\"done\">done</span>")), "{name}");
        let undo = format!("undo {name}");
        assert!(slices.iter().any(|slice| slice["name"] == undo.as_str() && slice["dur"].is_u64()), "{undo}");
    }
    for words in ["rolled back", "--permit-port-sharing=true", "the hash chain of all", "Not checked"] {
        assert!(page.contains(words), "{words}");
    }
    let nowhere = history(&world.state_dir(), &["--html", "/nowhere/page.html"]);
    assert_eq!(nowhere.status.code(), Some(1));
    let said = String::from_utf8(nowhere.stderr).unwrap();
    assert!(said.contains("write /nowhere/page.html; name a file in a directory that is there"), "{said}");
}

/// A restarted static pod has a rewritten manifest, until it is taken away.
#[tokio::test(flavor = "multi_thread")]
async fn a_rewritten_manifest_is_compared_with_the_one_before() {
    let world = TestSite::boot_with(&setup().with_handover(Wanted::Way(HandoverMode::Restart))).await;
    let journal = world.journal();
    let settings = world.preflight().await.unwrap().settings;
    let plan = plan::pivot(&settings, SOON).unwrap();
    let engine = world.engine(&journal, settings).await.pause_after(["share-port/kube-scheduler".into()]);
    let _ = engine.start(plan).await.unwrap();
    drop(journal);
    let diff = told(&world.state_dir(), &["last", "--diff"]);
    let scheduler = diff.rsplit("\nkube-scheduler\n").next().unwrap();
    assert!(scheduler.contains("\n+") && scheduler.contains("--permit-port-sharing=true"), "{diff}");
    assert!(!diff.contains('\x1b') && !scheduler.contains("removed"), "{diff}");
    let json = told(&world.state_dir(), &["last", "--diff", "-o", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let change = json["changes"].as_array().unwrap().iter().find(|one| one["component"] == "kube-scheduler");
    let what = &change.unwrap()["what"];
    assert_eq!((json["format_version"].as_u64(), what["kind"].as_str()), (Some(1), Some("file")));
    assert!(what["after"]["content"].as_str().unwrap().contains("permit-port-sharing"), "{what}");
}
