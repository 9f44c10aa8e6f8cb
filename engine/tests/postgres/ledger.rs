//! The world outside of the journal: a device for each run, which refuses what comes with an old fencing token.

use fulcrum_engine::Context;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// What a device has taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) step: String,
    pub(crate) token: u64,
    pub(crate) process: u32,
    /// `begin`, `end`, or `refused`.
    pub(crate) what: String,
}

/// Has an effect on the device of this run. `Err` if a later claim was there before.
pub(crate) fn effect(dir: &Path, cx: &Context, what: &str) -> Result<(), String> {
    let token = cx.fencing_token().unwrap();
    let mut file = File::options()
        .create(true)
        .read(true)
        .append(true)
        .open(device(dir, &cx.run().to_string()))
        .unwrap();
    file.lock().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    let greatest = lines(&text).iter().map(|line| line.token).max().unwrap_or(0);
    let refused = token < greatest;
    let what = if refused { "refused" } else { what };
    file.write_all(format!("{} {token} {} {what}\n", cx.step(), std::process::id()).as_bytes()).unwrap();
    if refused { Err(format!("token {token} is old: the device has seen {greatest}")) } else { Ok(()) }
}

fn device(dir: &Path, run: &str) -> PathBuf {
    dir.join(format!("device-{run}"))
}

/// What the device of this run has taken in.
pub(crate) fn read(dir: &Path, run: &str) -> Vec<Line> {
    lines(&std::fs::read_to_string(device(dir, run)).unwrap_or_default())
}

fn lines(text: &str) -> Vec<Line> {
    let line = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next();
        let (step, token, process, what) = (word()?, word()?.parse().ok()?, word()?.parse().ok()?, word()?);
        Some(Line { step, token, process, what })
    };
    text.lines().filter_map(line).collect()
}

/// Checks that no step was at work in two processes at once: what a process does between its begin and its end
/// is not interrupted, and a process that was interrupted never comes to its end.
pub(crate) fn check(lines: &[Line]) {
    let mut owners: BTreeMap<u64, u32> = BTreeMap::new();
    let mut at_work: Option<&Line> = None;
    for line in lines.iter().filter(|line| line.what != "refused") {
        let owner = *owners.entry(line.token).or_insert(line.process);
        assert_eq!(owner, line.process, "two processes have token {}: {lines:#?}", line.token);
        match line.what.as_str() {
            "begin" => at_work = Some(line),
            _ => {
                let begun = at_work.take();
                assert!(
                    begun.is_some_and(|begun| (&begun.step, begun.token) == (&line.step, line.token)),
                    "a step has ended that another one had replaced: {lines:#?}"
                );
            }
        }
    }
    let tokens: Vec<u64> =
        lines.iter().filter(|line| line.what != "refused").map(|line| line.token).collect();
    assert!(tokens.is_sorted(), "an old token was taken: {lines:#?}");
}
