//! Runs the test's own program as a child, and has it killed.

use crate::harness::{Talker, test_as_child};
use crate::workflow::{Acknowledge, Verb, carry_out, open};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

const DIR: &str = "FULCRUM_CRASH_DIR";
const WORKFLOW: &str = "FULCRUM_CRASH_WORKFLOW";
const VERB: &str = "FULCRUM_CRASH_VERB";
/// A child takes some 50 ms; one that hangs must not hang the test.
const CHILD_MAX: Duration = Duration::from_secs(60);
const SIGKILL: i32 = 9;

/// What a killed child has said.
pub(crate) struct Crash {
    /// The entries that it was told are durable, in order.
    pub(crate) acknowledged: Vec<String>,
}

/// The work of the child.
///
/// One thread runs engine and steps. So the points of one name are always passed in one order.
pub(crate) fn work() {
    let dir = std::env::var_os(DIR).unwrap();
    let dir = Path::new(&dir);
    let verb = Verb::named(&std::env::var(VERB).unwrap()).unwrap();
    let journal = open(dir);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let workflow = std::env::var(WORKFLOW).unwrap();
    let work = carry_out(&journal, dir, &workflow, verb, Arc::new(Acknowledge));
    runtime.block_on(async { tokio::time::timeout(CHILD_MAX, work).await }).unwrap();
}

/// Has a child die at `fault`.
pub(crate) fn kill(dir: &Path, workflow: &str, verb: Verb, fault: &str) -> Result<Crash, String> {
    let (status, acknowledged) = run(dir, workflow, verb, ("FULCRUM_FAULT", fault.as_ref()));
    match status.signal() {
        Some(SIGKILL) => Ok(Crash { acknowledged }),
        _ => Err(format!("the child should have died at {fault}, but: {status}; it said {acknowledged:#?}")),
    }
}

/// The points that a child passes in doing it, as `<name>@<n>`. Of some that are passed at the same instant
/// one is enough.
pub(crate) fn points_passed(dir: &Path, workflow: &str, verb: Verb) -> Vec<String> {
    let log = dir.join("points");
    let (status, _) = run(dir, workflow, verb, ("FULCRUM_FAULT_LOG", &log));
    assert!(status.success(), "{workflow}: the child that counts ended with {status}");
    let (mut passed, mut times) = (Vec::new(), BTreeMap::<String, usize>::new());
    let mut last = String::new();
    for name in std::fs::read_to_string(log).unwrap().lines() {
        let nth = times.entry(name.to_owned()).or_default();
        *nth += 1;
        let place = name.rsplit_once('/').unwrap().0;
        let same_instant = place.starts_with("journal") && place == last;
        place.clone_into(&mut last);
        if !same_instant || *nth == 1 {
            passed.push(format!("{name}@{nth}"));
        }
    }
    passed
}

fn run(dir: &Path, workflow: &str, verb: Verb, fault: (&str, &Path)) -> (ExitStatus, Vec<String>) {
    let mut command = test_as_child("child");
    command.env(DIR, dir).env(WORKFLOW, workflow).env(VERB, format!("{verb:?}")).env(fault.0, fault.1);
    let mut child = Talker::start(&mut command);
    let acknowledged =
        child.lines().filter_map(|line| Some(line.strip_prefix("acknowledged ")?.to_owned())).collect();
    (child.wait(), acknowledged)
}

/// A copy of a directory and all that is below it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => _ = std::fs::copy(entry.path(), to).unwrap(),
        }
    }
}
