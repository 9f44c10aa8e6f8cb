//! What the journal asks of the kernel, and what it does when the kernel refuses: a child under strace.
//!
//! Skips, and says so, where there is no strace or it may not trace.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "what fails here fails the test, and a skip says why"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use fulcrum_state::Journal;
use fulcrum_state::RunId;

const DIR: &str = "FULCRUM_STATE_TRACED_DIR";
const APPENDS: u64 = 20;

fn body(seq: u64) -> String {
    format!("{{entry-{seq}-of-many}}")
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
    let (run, _) = match journal.begin("traced", vec![]).await {
        Ok(begun) => begun,
        Err(error) => return say(format!("failed {}", chain(&error))),
    };
    say(format!("run {run}"));
    for seq in 1..=APPENDS {
        match journal.append(run, vec![body(seq)]).await {
            Ok(head) => say(format!("acknowledged {}", head.seq)),
            Err(error) => say(format!("failed {}", chain(&error))),
        }
    }
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
        eprintln!("skipped: strace is not installed, or may not trace here");
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
            line.contains("pwrite64(") && line.contains("/db/db>") && line.contains(&body(seq))
        });
        let written = written.unwrap_or_else(|| panic!("entry {seq} is not written to the log"));
        let told = format!("\"acknowledged {seq}\\n\"");
        let told = after(written, &|line| line.contains("write(1<") && line.contains(&told));
        let told = told.unwrap_or_else(|| panic!("entry {seq} is acknowledged before it is written"));
        let begun = after(written + 1, &|line| line.contains("fdatasync(") && line.contains("/db/db>"));
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

/// The n-th write or sync fails, once or from then on: nothing is acknowledged after it, the message names the file, and a new process
/// finds everything that was.
#[test]
fn after_a_failed_write_or_sync_nothing_is_acknowledged() {
    if !can_trace() {
        return;
    }
    let cases: Vec<String> = ["pwrite64", "fdatasync", "fsync", "sync_file_range"]
        .iter()
        .flat_map(|call| (1..=12).map(move |n| (call, n)))
        .map(|(call, n)| {
            let error = if n % 2 == 0 { "EIO" } else { "ENOSPC" };
            let on = if n % 3 == 0 { "+" } else { "" };
            format!("{call}:error={error}:when={n}{on}")
        })
        .collect();
    let failed = std::thread::scope(|scope| {
        let halves = cases
            .chunks(cases.len() / 4)
            .map(|some| scope.spawn(move || some.iter().filter(|case| fails(case)).count()));
        halves.collect::<Vec<_>>().into_iter().map(|half| half.join().unwrap()).sum::<usize>()
    });
    assert!(failed >= 24, "only {failed} of {} cases made a call fail that is noticed", cases.len());
}

/// Checks one, and says whether a call failed that the child noticed.
fn fails(case: &str) -> bool {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("state");
    let trace = format!("trace={}", case.split(':').next().unwrap());
    let (status, said) = traced(&dir, &["-e", &trace, "-e", &format!("inject={case}"), "-o", "/dev/null"]);
    assert!(status.success(), "{case}: {status}, {said:?}");
    let failure = said.iter().position(|line| line.starts_with("failed "));
    if let Some(failure) = failure {
        assert!(said[failure..].iter().all(|line| !line.starts_with("acknowledged ")), "{case}: {said:?}");
        assert!(said[failure].contains(dir.to_str().unwrap()), "{case}: which file? {}", said[failure]);
        assert!(
            !said[failure].contains("panic") && !said[failure].contains("Os {"),
            "{case}: {}",
            said[failure]
        );
    }
    let acknowledged = said.iter().filter_map(|line| line.strip_prefix("acknowledged ")).next_back();
    let acknowledged = acknowledged.map_or(0, |seq| seq.parse::<u64>().unwrap());
    let run = said.iter().find_map(|line| line.strip_prefix("run "));
    let journal = Journal::open(&dir, "look").unwrap_or_else(|error| panic!("{case}: {}", chain(&error)));
    if let Some(run) = run {
        let run: RunId = run.parse().unwrap();
        let kept = journal.verify(run).unwrap_or_else(|error| panic!("{case}: {}", chain(&error))).seq;
        assert!(kept >= acknowledged, "{case}: {acknowledged} were acknowledged, {kept} are kept");
        let whole = journal.entries(run).all(|entry| entry.is_ok_and(|entry| entry.body == body(entry.seq)));
        assert!(whole, "{case}");
    }
    failure.is_some()
}
