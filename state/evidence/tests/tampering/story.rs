//! A journal with several runs, blobs and a prune, signed at the end of each run.

use fulcrum_evidence::leaves::keep_leaves;
use fulcrum_evidence::note::Note;
use fulcrum_evidence::seal::seal;
use fulcrum_state::{Commit, Journal, RunId};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub(crate) struct Story {
    dir: TempDir,
    /// What was signed last.
    pub(crate) note: Note,
    /// What was signed at each run's end.
    pub(crate) notes: Vec<Note>,
    /// The directory as it was three runs before the end.
    pub(crate) older: TempDir,
    /// The run that was pruned.
    pub(crate) pruned: RunId,
}

impl Story {
    pub(crate) async fn tell() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let older = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), "test").unwrap();
        let (mut notes, mut runs) = (Vec::new(), Vec::new());
        for number in 0..7 {
            runs.push(one_run(&journal, number).await);
            notes.push(seal(&journal.reader(), dir.path()).unwrap());
            if number == 2 {
                keep_leaves(&journal.reader(), dir.path(), &runs[1..2]).unwrap();
                journal.prune(runs[1..2].to_vec(), "it is old").await.unwrap();
                notes.push(seal(&journal.reader(), dir.path()).unwrap());
            }
            if number == 4 {
                copy(dir.path(), older.path());
            }
        }
        drop(journal);
        Self { dir, note: notes[notes.len() - 1].clone(), notes, older, pruned: runs[1] }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }
}

async fn one_run(journal: &Journal, number: usize) -> RunId {
    let body = |text: &str| format!("{{\"event\":\"{text}\",\"number\":{number}}}");
    let plan = format!("plan {number}").into_bytes();
    let large = vec![b'a' + u8::try_from(number).unwrap(); 70_000];
    let begun = Commit { bodies: vec![body("begun")], blobs: vec![plan, large], ..Commit::default() };
    let mut run = journal.begin("pivot", begun).await.unwrap();
    for step in 0..5 {
        let commit = Commit { bodies: vec![body(&format!("step {step}"))], ..Commit::default() };
        run.append(commit).await.unwrap();
    }
    run.append(Commit { bodies: vec![body("ended")], over: true, ..Commit::default() }).await.unwrap();
    run.run()
}

/// Copies a directory with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
