//! SIGKILL at any moment: what was acknowledged is there when the journal is opened again.
//!
//! The test runs its own program as a child, which appends and prints the number of every entry that was
//! acknowledged, and kills it after a number of lines that differs from round to round.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use fulcrum_state::Journal;
use fulcrum_state::RunId;

const DIR: &str = "FULCRUM_STATE_KILL_DIR";
const ROUNDS: u64 = 12;

fn body(seq: u64) -> String {
    format!("{{\"entry\":{seq},\"filler\":\"{}\"}}", "x".repeat((seq * 37 % 900) as usize))
}

/// Does nothing unless it is the child.
#[tokio::test]
async fn child() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let journal = Journal::open(&dir, "child").unwrap();
    let (run, mut seq) = match journal.runs().unwrap().first() {
        Some(header) => (header.run, header.head.seq),
        None => (journal.begin("kill", vec![]).await.unwrap().0, 0),
    };
    let mut out = std::io::stdout();
    writeln!(out, "\nrun {run}").unwrap();
    loop {
        let some = (1..=1 + seq % 3).map(|n| body(seq + n)).collect();
        seq = journal.append(run, some).await.unwrap().seq;
        journal.put_blob(body(seq).into_bytes()).await.unwrap();
        writeln!(out, "acknowledged {seq}").unwrap();
        out.flush().unwrap();
    }
}

/// Runs the child until it has acknowledged some times, kills it, and returns what it said last.
fn run_and_kill(dir: &std::path::Path, acknowledgements: usize) -> (Option<RunId>, u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut run, mut last, mut seen) = (None, 0, 0);
    // To the end, also after the kill: a line in the pipe was acknowledged.
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        if let Some(name) = line.strip_prefix("run ") {
            run = Some(name.parse().unwrap());
        }
        if let Some(seq) = line.strip_prefix("acknowledged ") {
            last = seq.parse().unwrap();
            seen += 1;
        }
        if seen == acknowledgements {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(seen >= acknowledgements, "the child ended by itself after {seen} acknowledgements");
    (run, last)
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let root = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let (run, last) = run_and_kill(root.path(), 1 + (round * 7 % 40) as usize);
        let run = run.expect("the child names its run first");
        let journal = Journal::open(root.path(), "look").unwrap();
        let head = journal.verify(run).unwrap();
        assert!(head.seq >= last, "round {round}: {last} acknowledged, {} kept", head.seq);
        for entry in journal.entries(run) {
            let entry = entry.unwrap();
            assert_eq!(entry.body, body(entry.seq));
        }
        let digest = fulcrum_state::Digest::of(body(last).as_bytes());
        assert_eq!(journal.blob(&digest).unwrap(), body(last).into_bytes());
    }
}
