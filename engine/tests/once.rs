//! Starting twice is starting once: [`Engine::run_or_resume`].

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it is a test, and the child of one")]

#[path = "../../tests/harness/mod.rs"]
mod harness;
mod world;

use fulcrum_engine::history::History;
use fulcrum_engine::state::{Journal, Options};
use fulcrum_engine::{Ending, Engine, EngineError, Outcome, Phase, Plan, Session, StepSpec, Steps, step};
use harness::{Talker, test_as_child};
use serde_json::Value;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use world::{Shared, calls, diamond, script};

const DIR: &str = "FULCRUM_ONCE_DIR";
const KEY: &str = "order 7";

fn is(ending: &Ending, outcome: Outcome) -> bool {
    matches!(&ending.phase, Phase::Ended(found, _) if *found == outcome)
}

#[tokio::test]
async fn a_key_starts_one_run_and_gives_its_ending_for_ever() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    let engine = world::engine(&journal, &world);
    let first = engine.run_or_resume(KEY, diamond()).await.unwrap();
    assert!(is(&first, Outcome::Completed));
    assert_eq!(first.run, Engine::run_of(KEY));
    assert_eq!(History::read(&journal.reader(), first.run).unwrap().key.as_deref(), Some(KEY));
    calls(&world);
    assert_eq!(engine.run_or_resume(KEY, diamond()).await.unwrap(), first);
    let back = engine.roll_back(first.run, "asked to").await.unwrap();
    assert_eq!(engine.run_or_resume(KEY, diamond()).await.unwrap(), back, "it is not started anew");
    assert_eq!(calls(&world).iter().filter(|call| call.starts_with("run")).count(), 0);
    journal.prune(vec![first.run], "old").await.unwrap();
    let error = engine.run_or_resume(KEY, diamond()).await.unwrap_err();
    assert!(matches!(error, EngineError::Load(_)), "{error:?}");
    assert!(journal.reader().runs().unwrap().is_empty(), "a pruned run is not started anew");
}

#[tokio::test]
async fn calls_at_once_start_one_run() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    let engine = world::engine(&journal, &world);
    let (one, two) = tokio::join!(engine.run_or_resume(KEY, diamond()), engine.run_or_resume(KEY, diamond()));
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(journal.reader().runs().unwrap().len(), 1);
    let mut runs = calls(&world);
    runs.retain(|call| call.starts_with("run"));
    assert_eq!(runs.len(), 4, "{runs:?}");
}

#[tokio::test]
async fn a_run_that_needs_a_person_is_not_tried_again_by_its_key() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    script(&world, "d", &[world::Script::Fatal]);
    world::script_undo(&world, "b", &[world::Script::Fail, world::Script::Fail]);
    let engine = world::engine(&journal, &world);
    let ending = engine.run_or_resume(KEY, diamond()).await.unwrap();
    assert!(is(&ending, Outcome::NeedsOperator));
    let entries = journal.reader().entries(ending.run).count();
    assert_eq!(engine.run_or_resume(KEY, diamond()).await.unwrap(), ending);
    assert_eq!(journal.reader().entries(ending.run).count(), entries);
    assert!(is(&engine.resume(ending.run).await.unwrap(), Outcome::RolledBack));
}

#[tokio::test]
async fn a_key_of_another_workflow_is_refused_by_name() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    let engine = world::engine(&journal, &world);
    let _ = engine.run_or_resume(KEY, diamond()).await.unwrap();
    let other = Plan::new("other", vec![world::step("a", &[])]).unwrap();
    let error = engine.run_or_resume(KEY, other).await.unwrap_err().to_string();
    assert!(error.contains("of workflow \"diamond\", not \"other\""), "{error}");
}

/// A step that appends a line, once: it looks before it writes.
fn lines(dir: &Path) -> Steps {
    let file = dir.join("lines");
    Steps::new().with(step("line").run(move |cx| {
        let file = file.clone();
        async move {
            let line = format!("{}\n", cx.step());
            if !std::fs::read_to_string(&file).unwrap_or_default().contains(&line) {
                std::fs::File::options().create(true).append(true).open(&file)?.write_all(line.as_bytes())?;
            }
            Ok(())
        }
    }))
}

#[test]
#[ignore = "the child of the other tests"]
fn child() {
    let dir = std::env::var_os(DIR).unwrap();
    let dir = Path::new(&dir);
    let journal = Journal::open_with(
        dir.join("journal"),
        "once",
        Options { segment_bytes: 256 * 1024, ..Options::default() },
    )
    .unwrap();
    let engine = Engine::new(journal, lines(dir), Session::current("once").unwrap());
    let line = |name: &str| StepSpec::new(name, Value::Null);
    let plan = Plan::new("lines", vec![line("line/1"), line("line/2").after(["line/1"])]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ending = runtime.block_on(engine.run_or_resume(KEY, plan)).unwrap();
    println!("\nended {}", ending.phase);
}

/// Every process makes the one call that a program makes at its start.
#[test]
fn a_program_that_is_killed_at_any_point_and_started_again_has_one_run() {
    for fault in [
        "journal/before/begun@1",
        "commit/before-write@1",
        "commit/before-sync@1",
        "commit/before-answer@1",
        "journal/after/begun@1",
        "journal/after/attempt-started@2",
        "journal/before/attempt-done@1",
        "journal/before/ended@1",
        "journal/after/ended@1",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let process = |fault: Option<&str>| {
            let mut command = test_as_child("child");
            command.env(DIR, dir.path());
            fault.map(|fault| command.env("FULCRUM_FAULT", fault));
            let mut child = Talker::start(&mut command);
            let ended = child.lines().find_map(|line| Some(line.strip_prefix("ended ")?.to_owned()));
            (child.wait(), ended)
        };
        assert_eq!(process(Some(fault)).0.signal(), Some(9), "{fault}");
        for _ in 0..2 {
            assert_eq!(process(None).1.as_deref(), Some("completed"), "{fault}");
        }
        let journal = fulcrum_engine::state::Reader::open(dir.path().join("journal")).unwrap();
        assert_eq!(journal.runs().unwrap().len(), 1, "{fault}");
        let lines = std::fs::read_to_string(dir.path().join("lines")).unwrap();
        assert_eq!(lines, "line/1\nline/2\n", "{fault}");
    }
}
