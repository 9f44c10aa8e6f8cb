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

use fulcrum_state::Commit;
use fulcrum_state::Journal;
use fulcrum_state::Reader;
use fulcrum_state::RunId;

const DIR: &str = "FULCRUM_STATE_KILL_DIR";
const OPENED: &str = "FULCRUM_STATE_OPENED_DIR";
const ROUNDS: u64 = 12;

fn body(seq: u64) -> String {
    format!("{{\"entry\":{seq},\"filler\":\"{}\"}}", "x".repeat((seq * 37 % 900) as usize))
}

/// Does nothing unless it is the child.
#[tokio::test]
async fn child() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let journal = Journal::open(&dir, "child").unwrap();
    let first = journal.reader().runs().unwrap().first().map(|header| header.run);
    let mut writer = match first {
        Some(run) => journal.continue_run(run).unwrap(),
        None => journal.begin("kill", Commit::default()).await.unwrap(),
    };
    let mut out = std::io::stdout();
    writeln!(out, "\nrun {}", writer.run()).unwrap();
    loop {
        let seq = writer.head().seq;
        let some: Vec<String> = (1..=1 + seq % 3).map(|n| body(seq + n)).collect();
        let blob = some.last().unwrap().clone();
        let head = writer.append(Commit::of(some).with_blob(blob)).await.unwrap();
        writer.checkpoint(body(head.seq).into_bytes());
        writeln!(out, "acknowledged {}", head.seq).unwrap();
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
        let before = Reader::open(root.path()).unwrap().verify(run).unwrap();
        let journal = Journal::open(root.path(), "look").unwrap();
        let reader = journal.reader();
        let head = reader.verify(run).unwrap();
        assert_eq!(head, before, "a reader that does not write sees the journal as it is recovered");
        assert_eq!(reader.damage().unwrap(), []);
        assert!(head.seq >= last, "round {round}: {last} acknowledged, {} kept", head.seq);
        for entry in reader.entries(run) {
            let entry = entry.unwrap();
            assert_eq!(entry.body, body(entry.seq));
        }
        let digest = fulcrum_state::Digest::of(body(last).as_bytes());
        assert_eq!(reader.blob(&digest).unwrap(), body(last).into_bytes());
    }
}

/// Does nothing unless it is the child: opens, and closes.
#[test]
fn opener() {
    let Some(dir) = std::env::var_os(OPENED).map(PathBuf::from) else { return };
    drop(Journal::open(&dir, "opener"));
}

/// SIGKILL at random instants of an opening, the first one among them. `FULCRUM_OPENINGS=<n>` makes it long.
#[test]
fn a_kill_while_it_is_opened_takes_nothing_away() {
    let openings = std::env::var("FULCRUM_OPENINGS").map_or(40, |n| n.parse::<u64>().unwrap());
    let root = tempfile::tempdir().unwrap();
    let mut runs: Vec<RunId> = Vec::new();
    let mut random = 88_172_645_463_325_252u64;
    let mut dir = root.path().join("0");
    for round in 0..openings {
        if round % 20 == 0 {
            (dir, runs) = (root.path().join(round.to_string()), Vec::new());
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "opener", "--nocapture"])
            .env(OPENED, &dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Marsaglia's xorshift; an opening takes some 10 ms.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(std::time::Duration::from_micros(random % 30_000));
        child.kill().unwrap();
        child.wait().unwrap();
        if round % 5 != 4 {
            continue;
        }
        let journal = Journal::open(&dir, "look").unwrap_or_else(|error| panic!("round {round}: {error}"));
        let found: Vec<RunId> = journal.reader().runs().unwrap().iter().map(|header| header.run).collect();
        assert_eq!(found, runs, "round {round}");
        found.iter().for_each(|run| _ = journal.reader().verify(*run).unwrap());
        let begun = journal.begin("kill", Commit::of(["1"]));
        let begun = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(begun);
        runs.push(begun.unwrap().run());
    }
}
