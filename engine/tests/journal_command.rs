//! `fulcrum-journal` on real journals, while this process writes them.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use async_trait::async_trait;
use fulcrum_engine::state::{Commit, Journal, RunId};
use fulcrum_engine::{
    Context, Engine, Plan, ProbeResult, Question, Session, Step, StepError, StepSpec, Steps, step,
};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_fulcrum-journal");

struct Greet;

#[async_trait]
impl Step for Greet {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        Ok(json!({ "said": "hello" }))
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}

/// A run of the engine.
async fn workflow(journal: &Journal) -> RunId {
    let registry = |_: &StepSpec| Ok(Arc::new(Greet) as Arc<dyn Step>);
    let engine = Engine::new(journal.clone(), registry, Session::current("greeter").unwrap());
    let plan = Plan::new("greeting", vec![StepSpec::new("greet", Value::Null)]).unwrap();
    engine.start(plan).await.unwrap().run
}

/// A run of a program that has no steps, still open.
async fn log_of(journal: &Journal, entries: u64) -> RunId {
    let bodies = (1..=entries).map(|n| format!("{{\"sold\":{n}}}"));
    journal.begin("sales", Commit::of(bodies).with_blob("a receipt")).await.unwrap().run()
}

fn command(args: &[&str], dir: &Path) -> Output {
    Command::new(PROGRAM).args(args).arg(dir).output().unwrap()
}

fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

fn json_of(args: &[&str], dir: &Path) -> Value {
    let output =
        Command::new(PROGRAM).args(["-o", "json", args[0]]).arg(dir).args(&args[1..]).output().unwrap();
    let data: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(data["format_version"], 1, "{data}");
    data
}

#[tokio::test]
async fn any_journal_is_listed_shown_and_verified_while_its_program_writes() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), "test").unwrap();
    let (greeting, sales) = (workflow(&journal).await, log_of(&journal, 2).await);

    let list = text(&command(&["list"], dir.path()).stdout);
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[0].contains(&greeting.to_string()) && lines[0].ends_with("over"), "{list}");
    assert!(lines[1].contains("sales") && lines[1].ends_with("2 entries  open"), "{list}");
    assert_eq!(json_of(&["list"], dir.path())["runs"][1]["run"], json!(sales));

    let run = greeting.to_string();
    let shown = json_of(&["show", &run], dir.path());
    assert_eq!((&shown["outcome"], &shown["kind"]), (&json!("completed"), &json!("greeting")));
    assert_eq!(shown["attempts"][0]["step"], "greet");
    assert_eq!(shown["attempts"][0]["output"], json!({ "said": "hello" }));
    let raw = json_of(&["show", &run, "--entries"], dir.path());
    assert_eq!(raw["entry_list"][0]["body"]["event"], "begun");

    let shown = text(&command(&["show"], dir.path()).stdout);
    assert!(shown.lines().last().unwrap().ends_with("{\"sold\":2}"), "the last run, as it is: {shown}");

    let verified = json_of(&["verify"], dir.path());
    assert_eq!((&verified["whole"], verified["runs"].as_array().unwrap().len()), (&json!(true), 2));
    let holder = json_of(&["holder"], dir.path());
    assert_eq!(
        (&holder["holder"]["pid"], &holder["holder"]["purpose"]),
        (&json!(std::process::id()), &json!("test"))
    );
    drop(journal);
    // A process that another test is just starting has a copy of the lock until its program begins.
    let until = Instant::now() + Duration::from_secs(10);
    while json_of(&["holder"], dir.path())["holder"] != Value::Null {
        assert!(Instant::now() < until, "the lock is held for 10 s after the journal was closed");
    }
}

#[tokio::test]
async fn a_run_that_waits_is_shown_with_its_question_and_the_decision() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), "test").unwrap();
    let ask = step("ask").run(|cx| async move { Ok(cx.approval(&Question::new("ship it?"))?.by) });
    let engine = Engine::new(journal, Steps::new().with(ask), Session::current("asker").unwrap());
    let plan = Plan::new("asking", vec![StepSpec::new("ask", Value::Null)]).unwrap();
    let run = engine.start(plan).await.unwrap().run;
    let shown = text(&command(&["show"], dir.path()).stdout);
    assert!(shown.lines().last().unwrap().ends_with("ask waits for a decision: ship it?"), "{shown}");
    let listed = text(&command(&["list"], dir.path()).stdout);
    assert!(listed.trim_end().ends_with("entries  open, ask waits for a decision: ship it?"), "{listed}");
    assert_eq!(json_of(&["list"], dir.path())["runs"][0]["waits"][0]["step"], "ask");
    engine.approve(run, "ask", "ann", "seen").await.unwrap();
    let _ = engine.resume(run).await.unwrap();
    let shown = text(&command(&["show"], dir.path()).stdout);
    assert!(shown.contains("ask waited for") && shown.contains("approved by ann (seen)  pid "), "{shown}");
    let wait = &json_of(&["show"], dir.path())["waits"][0];
    assert_eq!((&wait["open"], &wait["decision"]["by"]), (&json!(false), &json!("ann")), "{wait}");
    assert_eq!(json_of(&["list"], dir.path())["runs"][0]["waits"], json!([]));
}

#[tokio::test]
async fn damage_and_a_run_that_is_not_there_have_exit_codes_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), "test").unwrap();
    let (greeting, sales) = (workflow(&journal).await, log_of(&journal, 1).await);
    drop(journal);
    rewrite(dir.path(), |log| log.replace("{\"sold\":1}", "{\"sold\":9}"));

    let verified = command(&["verify"], dir.path());
    assert_eq!(verified.status.code(), Some(1));
    let said = text(&verified.stdout);
    assert!(
        said.contains(&format!("{greeting}  whole")) && said.contains(&format!("{sales}  WRONG")),
        "{said}"
    );
    assert_eq!(command(&["list"], dir.path()).status.code(), Some(1));

    let missing = Command::new(PROGRAM).arg("show").arg(dir.path()).arg("ffff").output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    let said = text(&missing.stderr);
    assert!(said.contains("no run \"ffff\"") && said.contains("list"), "{said}");
    assert_eq!(command(&["list"], &dir.path().join("log/none")).status.code(), Some(2));
}

/// The hash of a run's beginning covers the run before it. A run that was taken out with all its records,
/// as if it had never been, so leaves a hole.
#[tokio::test]
async fn a_run_that_was_taken_out_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), "test").unwrap();
    let (first, second) = (log_of(&journal, 1).await, log_of(&journal, 1).await);
    let third = log_of(&journal, 1).await;
    drop(journal);
    assert_eq!(command(&["verify"], dir.path()).status.code(), Some(0));
    let own = format!("\"run\":\"{second}\",");
    rewrite(dir.path(), |log| log.split_inclusive('\n').map(|line| blank_if(line, &own)).collect());

    let verified = command(&["verify"], dir.path());
    let said = text(&verified.stdout);
    assert_eq!(verified.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("{first}  whole")) && said.contains(&format!("{third}  whole")), "{said}");
    assert!(said.contains(&format!("{second}  WRONG  is not in the journal")), "{said}");
}

#[tokio::test]
async fn a_run_is_followed_from_its_first_entry_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), "test").unwrap();
    let mut writer = journal.begin("sales", Commit::of(["{\"sold\":1}"])).await.unwrap();
    let run = writer.run().to_string();

    let (mut one, mut of_one) = follow(dir.path(), &["-o", "json"], Some(&run));
    let (mut all, mut of_all) = follow(dir.path(), &[], None);
    let waits = BufReader::new(all.stderr.take().unwrap()).lines().next().unwrap().unwrap();
    assert_eq!(waits, "waiting for entries");

    for n in 1..=3 {
        let line: Value = serde_json::from_str(&of_one.next().unwrap().unwrap()).unwrap();
        assert_eq!(
            (&line["seq"], &line["body"]["sold"], &line["format_version"]),
            (&json!(n), &json!(n), &json!(1))
        );
        if n < 3 {
            let commit = Commit::of([format!("{{\"sold\":{}}}", n + 1)]);
            writer.append(if n == 2 { commit.over() } else { commit }).await.unwrap();
        }
    }
    assert!(of_one.next().is_none() && one.wait().unwrap().success(), "it ends with the run");

    let other = log_of(&journal, 1).await.to_string();
    for (run, sold) in [(&run, 2), (&run, 3), (&other, 1)] {
        let line = of_all.next().unwrap().unwrap();
        assert!(line.starts_with(run) && line.ends_with(&format!("{{\"sold\":{sold}}}")), "{line}");
    }
    all.kill().unwrap();
    all.wait().unwrap();
}

fn follow(dir: &Path, options: &[&str], run: Option<&str>) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = Command::new(PROGRAM);
    command.args(options).arg("follow").arg(dir).args(run).stdout(Stdio::piped());
    if run.is_none() {
        command.stderr(Stdio::piped());
    }
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

/// Changes the log behind the journal's back. The index, which may be lost at any time, is lost.
fn rewrite(dir: &Path, change: impl Fn(&str) -> String) {
    let log = dir.join("log/0000000001.log");
    let before = std::fs::read_to_string(&log).unwrap();
    let after = change(&before);
    assert!(before != after && before.len() == after.len());
    std::fs::write(&log, after).unwrap();
    let _ = std::fs::remove_file(dir.join("index"));
}

/// A record of spaces in the place of a record of that run, with a checksum that fits.
fn blank_if(line: &str, own: &str) -> String {
    let (head, content) = line.split_at(line.len().min(18));
    if !content.starts_with(&format!("{{{own}")) {
        return line.to_owned();
    }
    let kind = if head.starts_with(|kind: char| kind.is_ascii_uppercase()) { 'X' } else { 'x' };
    let head = format!("{kind}{}", &head[1..9]);
    let content = format!("{}\n", " ".repeat(content.len() - 1));
    format!("{head}{:08x} {content}", crc32(&[head.as_bytes(), content.as_bytes()].concat()))
}

/// The checksum of zlib, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}
