//! SIGKILL at every fault point of five workflows, on the way forward and on the way back; then the run is
//! resumed (and then undone), or undone, or resumed and killed once more and then undone.
//!
//! The test runs its own program as a child that kills itself. A first run of each workflow counts the points
//! that it passes. There are more cases than there is time: a seed, which is printed, chooses among them.
//!
//! * `FULCRUM_CRASH_SEED=<n>`: the seed to use.
//! * `FULCRUM_CRASH_CASES=<n>`: how many cases; 0 is all of them (some minutes).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it is a test: it fails, and tells its seed")]

mod child;
#[path = "../../../tests/harness/mod.rs"]
mod harness;
mod model;
mod workflow;

use child::{Crash, kill, points_passed};
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::RunId;
use fulcrum_engine::{Outcome, Silent};
use model::Told;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use workflow::{Verb, WORKFLOWS, carry_out, open, plan, prepare, seen};

const CASES: usize = 200;
const CHILDREN_AT_ONCE: usize = 3;

/// The points of state and engine that the workflows pass, but for those around events, and those of a
/// resumed run. One that is added has its name here.
const POINTS: [&str; 11] = [
    "commit/before-answer",
    "commit/before-sync",
    "commit/before-write",
    "file/before-dir-sync",
    "file/before-rename",
    "load/begun",
    "load/done",
    "open/before-format",
    "open/locked",
    "open/recovered",
    "segment/before-dir-sync",
];
/// Events that the workflows journal, each with a point before and after it.
const EVENTS: [&str; 9] = [
    "attempt-done",
    "attempt-failed",
    "attempt-started",
    "begun",
    "ended",
    "resumed",
    "undo-done",
    "undo-started",
    "unwind-started",
];

/// What is done after the crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Then {
    Resume,
    RollBack,
    CrashAgainAndRollBack,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Case {
    workflow: &'static str,
    /// `<name>@<n>`.
    fault: String,
    then: Then,
    seed: u64,
}

#[test]
#[ignore = "the child of the other tests"]
fn child() {
    child::work();
}

#[test]
fn a_kill_anywhere_leaves_a_run_that_can_be_resumed_and_undone() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("FULCRUM_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    let most = number("FULCRUM_CRASH_CASES").map_or(CASES, |count| count as usize);
    let all = every_case(seed);
    let names: BTreeSet<&str> = all.iter().filter_map(|case| case.fault.split('@').next()).collect();
    let of_the_engine = names.iter().filter(|name| !name.starts_with("effect/"));
    let around =
        EVENTS.iter().flat_map(|event| ["before", "after"].map(|when| format!("journal/{when}/{event}")));
    let expected: BTreeSet<String> = POINTS.iter().map(ToString::to_string).chain(around).collect();
    assert_eq!(of_the_engine.map(ToString::to_string).collect::<BTreeSet<_>>(), expected);
    let (total, cases) = (all.len(), chosen(all, most, seed));
    println!("FULCRUM_CRASH_SEED={seed}: {} of {total} cases", cases.len());
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(why) = check(case) {
                panic!("FULCRUM_CRASH_SEED={seed}: {case:?}: {why}");
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..CHILDREN_AT_ONCE).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

/// A step was cut short, and the process that looks at what it left dies before that is recorded.
#[test]
fn a_kill_between_a_look_and_its_record_leaves_a_run_that_can_be_resumed_and_undone() {
    for second in ["probe/unrecorded@1", "journal/before/probed@1", "journal/after/probed@1"] {
        for (then, verb) in [(Then::Resume, Verb::Resume), (Then::RollBack, Verb::RollBack)] {
            let case = Case { workflow: "saves", fault: "effect/half-changed@2".into(), then, seed: 0 };
            let dir = fresh_dir();
            prepare(dir.path(), &plan(case.workflow));
            let crash = kill(dir.path(), case.workflow, Verb::ThereAndBack, &case.fault).unwrap();
            let told = after_crash(dir.path(), &case, &[], &crash).unwrap();
            let crash = kill(dir.path(), case.workflow, Verb::Resume, second).unwrap();
            let told = after_crash(dir.path(), &case, &told, &crash).unwrap();
            carry_on(dir.path(), &case, &told, verb).unwrap_or_else(|why| panic!("{second}: {why}"));
        }
    }
}

/// In memory, where that is possible. A kill loses nothing that was written, synced or not. Another test
/// covers the losses of a power cut.
fn fresh_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn every_case(seed: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    for workflow in WORKFLOWS {
        let dir = fresh_dir();
        prepare(dir.path(), &plan(workflow));
        for fault in points_passed(dir.path(), workflow, Verb::ThereAndBack) {
            for then in [Then::Resume, Then::RollBack, Then::CrashAgainAndRollBack] {
                let seed = seed ^ cases.len() as u64;
                cases.push(Case { workflow, fault: fault.clone(), then, seed });
            }
        }
        assert_eq!(seen(dir.path()), workflow::before(&plan(workflow)), "{workflow}, there and back");
    }
    cases
}

/// At most `most` cases, among them one of every point with everything that can follow.
fn chosen(mut cases: Vec<Case>, most: usize, seed: u64) -> Vec<Case> {
    fastrand::Rng::with_seed(seed).shuffle(&mut cases);
    let mut met = BTreeSet::new();
    // A stable sort: what is the first of its kind comes first.
    cases.sort_by_key(|case| {
        let name = case.fault.split('@').next().unwrap_or_default().to_owned();
        !met.insert((name, case.then))
    });
    if most > 0 {
        assert!(met.len() <= most, "{} kinds of cases do not fit into {most}", met.len());
        cases.truncate(most);
    }
    cases
}

fn check(case: &Case) -> Result<(), String> {
    let dir = fresh_dir();
    let dir = dir.path();
    prepare(dir, &plan(case.workflow));
    let crash = kill(dir, case.workflow, Verb::ThereAndBack, &case.fault)?;
    let mut told = after_crash(dir, case, &[], &crash)?;
    let verb = match case.then {
        Then::Resume => Verb::Resume,
        Then::RollBack => Verb::RollBack,
        Then::CrashAgainAndRollBack => {
            let copy = fresh_dir();
            child::copy(dir, copy.path());
            let faults = points_passed(copy.path(), case.workflow, Verb::Resume);
            let fault = &faults[fastrand::Rng::with_seed(case.seed).usize(..faults.len())];
            let again = kill(dir, case.workflow, Verb::Resume, fault)?;
            told = after_crash(dir, case, &told, &again).map_err(|why| format!("then {fault}: {why}"))?;
            Verb::RollBack
        }
    };
    let kept = carry_on(dir, case, &told, verb)?;
    // What was resumed can still be taken back, exactly.
    carry_on(dir, case, &kept, Verb::RollBack).map(drop)
}

/// What the crash has left: every entry that was acknowledged, after those that were there before; effects
/// that have an intent. Returns the entries.
fn after_crash(dir: &Path, case: &Case, before: &[String], crash: &Crash) -> Result<Vec<String>, String> {
    let (_, bodies) = read(dir)?;
    let acknowledged: Vec<String> = before.iter().chain(&crash.acknowledged).cloned().collect();
    if !bodies.starts_with(&acknowledged) {
        return Err(format!("acknowledged: {acknowledged:#?}, kept: {bodies:#?}"));
    }
    Told::by(&bodies).check_effects(&plan(case.workflow), &seen(dir))?;
    Ok(bodies)
}

/// The only run, verified, and its entries.
fn read(dir: &Path) -> Result<(Option<RunId>, Vec<String>), String> {
    let journal = open(dir);
    let runs = journal.reader().runs().unwrap();
    let Some(header) = runs.last() else { return Ok((None, Vec::new())) };
    let head = journal.reader().verify(header.run).map_err(|error| error.to_string())?;
    let bodies: Vec<String> = journal.reader().entries(header.run).map(|entry| entry.unwrap().body).collect();
    if runs.len() > 1 || head.seq != bodies.len() as u64 {
        return Err(format!("{} runs, {} entries, the head is {}", runs.len(), bodies.len(), head.seq));
    }
    Ok((Some(header.run), bodies))
}

/// Takes the run up in this process, and compares what comes of it with the model.
fn carry_on(dir: &Path, case: &Case, bodies: &[String], verb: Verb) -> Result<Vec<String>, String> {
    let (told, plan) = (Told::by(bodies), plan(case.workflow));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let journal = open(dir);
    let go = |verb| runtime.block_on(carry_out(&journal, dir, case.workflow, verb, Arc::new(Silent)));
    let ending = go(verb);
    if ending.is_none() != told.is_over(verb) {
        return Err(format!("{verb:?} gives {ending:?} after {bodies:#?}"));
    }
    let again = go(verb);
    if again.is_some() {
        return Err(format!("{verb:?} a second time finds something to do: {again:?}"));
    }
    drop(journal);
    let (run, kept) = read(dir)?;
    let ended = |outcome: &Outcome| kept.last().is_some_and(|last| last.contains(&format!("\"{outcome}\"")));
    let (outcome, files) = told.must_end(&plan, verb);
    let right = match (&ending, outcome) {
        (Some(ending), Some(outcome)) => {
            Some(ending.run) == run && matches!(&ending.phase, Phase::Ended(is, _) if *is == outcome)
        }
        (Some(_), None) => false,
        (None, _) => true,
    };
    if !right || !outcome.as_ref().is_none_or(ended) || !kept.starts_with(bodies) {
        return Err(format!("should be {outcome:?}, but is {ending:?}: {kept:#?}"));
    }
    if seen(dir) != files {
        return Err(format!("{outcome:?} with {:#?} there", seen(dir)));
    }
    Told::by(&kept).check_effects(&plan, &files)?;
    Ok(kept)
}
