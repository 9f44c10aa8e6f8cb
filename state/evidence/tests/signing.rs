//! Kills a signing process at every place where that makes a difference, and sees to it that nothing is called
//! wrong, that nothing unsigned is called verified, and that the next signing does the rest.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "../../../tests/harness/mod.rs"]
mod harness;

use fulcrum_evidence::note::Note;
use fulcrum_evidence::seal::{rotate, seal};
use fulcrum_evidence::verify::{Elsewhere, Report, Standing, verify};
use fulcrum_evidence::{export, import};
use fulcrum_state::{Commit, Journal, Reader};
use harness::{Talker, copy_dir, test_as_child};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use tempfile::TempDir;

const DIR: &str = "FULCRUM_SIGNING_DIR";
const VERB: &str = "FULCRUM_SIGNING_VERB";
const SIGKILL: i32 = 9;

/// The child.
#[test]
#[ignore = "it is a part of the other tests"]
fn child() {
    let dir = std::env::var_os(DIR).unwrap();
    let (dir, journal) = (Path::new(&dir), Reader::open(&dir).unwrap());
    match std::env::var(VERB).unwrap().as_str() {
        "seal" => drop(seal(&journal, dir).unwrap()),
        _ => drop(rotate(&journal, dir).unwrap()),
    }
}

/// A child that signs, or makes a new key, with this order about fault points. Returns the signal that ended it.
fn sign(dir: &Path, verb: &str, fault: (&str, &Path)) -> Option<i32> {
    let mut child = test_as_child("child");
    child.env(DIR, dir).env(VERB, verb).env(fault.0, fault.1);
    let status = Talker::start(&mut child).wait();
    assert!(status.success() || status.signal().is_some(), "{verb} ended with {status}");
    status.signal()
}

/// The points that such a child passes, as `<name>@<n>`.
fn points(from: &Path, verb: &str) -> Vec<String> {
    let (dir, log) = (copied(from), tempfile::NamedTempFile::new().unwrap());
    assert_eq!(sign(dir.path(), verb, ("FULCRUM_FAULT_LOG", log.path())), None);
    let mut times = BTreeMap::<String, usize>::new();
    let mut nth = |name: &str| {
        let times = times.entry(name.to_owned()).or_default();
        *times += 1;
        format!("{name}@{times}")
    };
    std::fs::read_to_string(log.path()).unwrap().lines().map(&mut nth).collect()
}

fn copied(from: &Path) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(from, dir.path());
    dir
}

/// A journal with one more run.
async fn with_a_run(from: &Path) -> TempDir {
    let dir = copied(from);
    let journal = Journal::open(dir.path(), "test").unwrap();
    let body = "{\"event\":\"ended\"}".to_owned();
    let ended = Commit { bodies: vec![body], over: true, ..Commit::default() };
    drop(journal.begin("pivot", ended).await.unwrap());
    drop(journal);
    dir
}

fn signed(dir: &Path) -> Note {
    seal(&Reader::open(dir).unwrap(), dir).unwrap()
}

fn report(dir: &Path, known: &Note) -> Report {
    let known = Elsewhere { place: "a mail".into(), note: Ok(known.clone()) };
    verify(&Reader::open(dir).unwrap(), dir, &[known]).unwrap()
}

/// After the next signing all is verified, also in an export, and no key is left beside the key.
fn assert_whole(dir: &Path, note: &Note, context: &str) {
    let report = report(dir, note);
    assert_eq!(report.worst(), Standing::Verified, "{context}: {report:#?}");
    let names = std::fs::read_dir(dir.join("evidence")).unwrap();
    let names: Vec<String> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with(".fulcrum-key-")), "{context}: {names:?}");
    let to = tempfile::tempdir().unwrap();
    export::export(&Reader::open(dir).unwrap(), dir, &[], to.path()).unwrap();
    let known = Elsewhere { place: "a mail".into(), note: Ok(note.clone()) };
    let checked = import::check(to.path(), &[known]).unwrap();
    assert_eq!(checked.worst(), Standing::Verified, "{context}, its export: {checked:#?}");
}

#[tokio::test]
async fn a_signing_that_is_killed_anywhere_is_done_by_the_next() {
    let nothing = tempfile::tempdir().unwrap();
    let first = with_a_run(nothing.path()).await;
    signed(first.path());
    let second = with_a_run(first.path()).await;
    std::fs::remove_dir_all(first.path().join("evidence")).unwrap();
    for (from, points_max) in [(&first, 6), (&second, 2)] {
        let all = points(from.path(), "seal");
        assert_eq!(all.len(), points_max, "each file has two: {all:?}");
        for point in all {
            let dir = copied(from.path());
            assert_eq!(sign(dir.path(), "seal", ("FULCRUM_FAULT", point.as_ref())), Some(SIGKILL), "{point}");
            let left = verify(&Reader::open(dir.path()).unwrap(), dir.path(), &[]).unwrap();
            assert_eq!(left.worst(), Standing::NotChecked, "{point}: {left:#?}");
            let note = signed(dir.path());
            assert_whole(dir.path(), &note, &point);
        }
    }
}

#[tokio::test]
async fn a_rotation_that_is_killed_anywhere_is_forgotten_or_done() {
    let nothing = tempfile::tempdir().unwrap();
    let from = with_a_run(nothing.path()).await;
    let known = signed(from.path());
    let all = points(from.path(), "rotate");
    assert_eq!(all.len(), 8, "the old key's word, the keys, the key, the checkpoint: {all:?}");
    for point in all {
        let left = copied(from.path());
        assert_eq!(sign(left.path(), "rotate", ("FULCRUM_FAULT", point.as_ref())), Some(SIGKILL), "{point}");
        let seen = report(left.path(), &known);
        assert_eq!(seen.worst(), Standing::Verified, "{point}: what was signed before still is: {seen:#?}");
        // A run follows, or a person tries again.
        let next = with_a_run(left.path()).await;
        let note = signed(next.path());
        assert_whole(next.path(), &note, &format!("{point}, then a run"));
        let again = copied(left.path());
        let (note, old) = rotate(&Reader::open(again.path()).unwrap(), again.path()).unwrap();
        assert!(old.is_some(), "{point}: the key before the new one is there");
        assert_whole(again.path(), &note, &format!("{point}, then again"));
    }
}
