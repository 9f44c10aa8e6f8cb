//! What the journal asks of the kernel, and what it does when the kernel refuses: a child under strace.
//!
//! Skips, and says so, where there is no strace or it may not trace.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "what fails here fails the test, and a run of many cases says how many"
)]

#[path = "../../tests/harness/mod.rs"]
mod harness;

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use fulcrum_state::Commit;
use fulcrum_state::Journal;
use fulcrum_state::Reader;
use fulcrum_state::RunId;

const DIR: &str = "FULCRUM_STATE_TRACED_DIR";
const APPENDS: u64 = 8;
const LOG: &str = "/log/0000000001.log>";

fn body(seq: u64) -> String {
    format!("\"entry-{seq}-of-many\"")
}

/// Does nothing unless it is the child: appends, says what it was told of each, and goes on after a failure.
#[tokio::test]
async fn child() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let mut out = std::io::stdout();
    let mut say = |line: String| {
        writeln!(out, "\n{line}").unwrap();
        out.flush().unwrap();
    };
    let journal = match Journal::open(&dir, "child") {
        Ok(journal) => journal,
        Err(error) => return say(format!("failed {}", chain(&error))),
    };
    let old: Vec<RunId> = journal.reader().runs().unwrap().iter().map(|header| header.run).collect();
    let mut writer = match journal.begin("traced", Commit::default()).await {
        Ok(begun) => begun,
        Err(error) => return say(format!("failed {}", chain(&error))),
    };
    say(format!("run {}", writer.run()));
    for seq in 1..=APPENDS {
        let commit = Commit::of([body(seq)]);
        let commit = if seq == 3 { commit.with_blob(vec![3; 100_000]) } else { commit.with_blob(body(seq)) };
        match writer.append(commit).await {
            Ok(head) => say(format!("acknowledged {}", head.seq)),
            Err(error) => say(format!("failed {}", chain(&error))),
        }
    }
    match journal.prune(old, "traced").await {
        Ok(()) => say("pruned".into()),
        Err(error) => say(format!("failed {}", chain(&error))),
    }
    drop((writer, journal));
    say("closed".into());
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

/// The child under strace with these options, and what it said. It is killed if it hangs.
fn traced(dir: &Path, options: &[&str]) -> (std::process::ExitStatus, Vec<String>) {
    let limit = Duration::from_secs(60).as_secs().to_string();
    let output = Command::new("timeout")
        .args(["-s", "KILL", &limit, "strace", "-f", "-y", "-q"])
        .args(options)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(DIR, dir)
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status, said.lines().map(str::to_owned).collect())
}

fn can_trace() -> bool {
    let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let can = traced.is_ok_and(|status| status.success());
    if !can {
        harness::skipped("strace is not installed, or may not trace here");
    }
    can
}

/// Between the write of an entry and its acknowledgement the log is synced.
#[test]
fn every_acknowledgement_follows_a_sync() {
    if !can_trace() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let (dir, log) = (root.path().join("state"), root.path().join("trace"));
    let calls = "trace=pwrite64,write,fdatasync";
    let (status, said) = traced(&dir, &["-s", "1000000", "-e", calls, "-o", log.to_str().unwrap()]);
    assert!(status.success(), "{said:?}");
    let trace = std::fs::read_to_string(log).unwrap();
    let trace: Vec<&str> = trace.lines().collect();
    let after = |from: usize, what: &dyn Fn(&str) -> bool| {
        trace[from..].iter().position(|line| what(line)).map(|at| from + at)
    };
    for seq in 1..=APPENDS {
        let written = after(0, &|line| {
            line.contains("pwrite64(") && line.contains(LOG) && line.contains(&format!("entry-{seq}-of-many"))
        });
        let written = written.unwrap_or_else(|| panic!("entry {seq} is not written to the log"));
        let told = format!("\"acknowledged {seq}\\n\"");
        let told = after(written, &|line| line.contains("write(1<") && line.contains(&told));
        let told = told.unwrap_or_else(|| panic!("entry {seq} is acknowledged before it is written"));
        let begun = after(written + 1, &|line| line.contains("fdatasync(") && line.contains(LOG));
        let begun = begun.unwrap_or_else(|| panic!("the log is not synced after entry {seq}"));
        let thread = trace[begun].split(' ').next().unwrap();
        let ended = after(begun, &|line| {
            line.starts_with(thread) && line.contains("fdatasync") && line.ends_with("= 0")
        });
        assert!(
            ended.is_some_and(|ended| ended < told),
            "entry {seq} was acknowledged before the sync ended: {:?}",
            &trace[written..=told]
        );
    }
}

const CALLS: [&str; 14] = [
    "openat",
    "read",
    "pread64",
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "rename",
    "unlink",
    "mkdir",
    "ftruncate",
    "sync_file_range",
    "flock",
    "clone3",
];

/// How often one thread of a child calls each, at most, as strace counts by thread. The child is a first one,
/// and a second one on what the first has left.
fn counts() -> Vec<usize> {
    let root = tempfile::tempdir().unwrap();
    let (dir, log) = (root.path().join("state"), root.path().join("trace"));
    let trace = format!("trace={}", CALLS.join(","));
    let mut most = vec![0; CALLS.len()];
    for _ in 0..2 {
        let (status, said) = traced(&dir, &["-e", &trace, "-o", log.to_str().unwrap()]);
        assert!(status.success(), "{said:?}");
        let trace = std::fs::read_to_string(&log).unwrap();
        for (most, call) in most.iter_mut().zip(CALLS) {
            let mut by_thread: HashMap<&str, usize> = HashMap::new();
            for line in trace.lines() {
                let (thread, rest) = line.split_once(' ').unwrap();
                *by_thread.entry(thread).or_default() +=
                    usize::from(rest.trim_start().starts_with(&format!("{call}(")));
            }
            *most = by_thread.into_values().fold(*most, usize::max);
        }
    }
    most
}

/// How the n-th call of a kind goes wrong. `FULCRUM_CALLS=1` takes every call, and each in every way.
fn cases() -> Vec<String> {
    let long = std::env::var("FULCRUM_CALLS").is_ok();
    let faults = ["error=EIO", "error=ENOSPC", "signal=KILL"];
    let case = |call: &str, n: usize, at: usize| format!("{call}:{}:when={n}", faults[at]);
    let numbered: Vec<(&str, usize)> = if long {
        let all = CALLS.into_iter().zip(counts());
        all.flat_map(|(call, count)| (1..=count).map(move |n| (call, n))).collect()
    } else {
        // Those that change something.
        CALLS[3..10].iter().flat_map(|call| [2, 5, 11].map(|n| (*call, n))).collect()
    };
    let mut cases = Vec::new();
    for (count, (call, n)) in numbered.into_iter().enumerate() {
        match (long, call) {
            // The runtime's own wake-up is one, and it does not live without.
            (_, "write") => cases.push(case(call, n, 2)),
            (true, _) => cases.extend((0..3).map(|at| case(call, n, at))),
            (false, _) => cases.push(case(call, n, count % 3)),
        }
    }
    cases
}

/// The n-th call of open, begin, append, save, prune or close fails or kills, and another in the recovery: nothing is
/// acknowledged after a failure of the log, and everything that was is found afterwards.
#[test]
fn a_call_that_fails_or_kills_takes_nothing_away() {
    if !can_trace() {
        return;
    }
    let cases = cases();
    let hits = std::thread::scope(|scope| {
        let halves = cases.chunks(cases.len() / 2 + 1);
        let halves =
            halves.map(|some| scope.spawn(move || some.iter().filter(|case| goes_wrong(case)).count()));
        halves.collect::<Vec<_>>().into_iter().map(|half| half.join().unwrap()).sum::<usize>()
    });
    eprintln!("{} cases, {hits} of them hit: 0 failures", cases.len());
    assert!(hits >= cases.len() / 4, "only {hits} of {} cases hit a call", cases.len());
}

/// Checks one, and says whether a call was hit.
fn goes_wrong(case: &str) -> bool {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("state");
    let trace = format!("trace={}", case.split(':').next().unwrap());
    let inject = format!("inject={case}");
    let options = ["-e", &trace, "-e", &inject, "-o", "/dev/null"];
    let mut acknowledged: Vec<(RunId, u64)> = Vec::new();
    let mut hit = false;
    for _ in 0..2 {
        let (status, said) = traced(&dir, &options);
        let failure = said.iter().position(|line| line.starts_with("failed "));
        hit |= failure.is_some() || !status.success();
        let run = said.iter().find_map(|line| line.strip_prefix("run ")).map(|run| run.parse().unwrap());
        let last = said.iter().filter_map(|line| line.strip_prefix("acknowledged ")).next_back();
        if said.iter().any(|line| line == "pruned") {
            acknowledged.clear();
        }
        if let Some(run) = run {
            acknowledged.push((run, last.map_or(0, |seq| seq.parse().unwrap())));
        }
    }
    let journal = Journal::open(&dir, "look").unwrap_or_else(|error| panic!("{case}: {}", chain(&error)));
    let other = Reader::open(&dir).unwrap();
    for reader in [journal.reader(), other] {
        assert_eq!(reader.damage().unwrap(), [], "{case}");
        for (run, least) in &acknowledged {
            match reader.verify(*run) {
                Ok(kept) => assert!(kept.seq >= *least, "{case}: {least} acknowledged, {} kept", kept.seq),
                // Its prune was recorded, and what came after that failed.
                Err(fulcrum_state::ReadError::Pruned { .. }) => {}
                Err(error) => panic!("{case}: {}", chain(&error)),
            }
        }
    }
    hit
}
