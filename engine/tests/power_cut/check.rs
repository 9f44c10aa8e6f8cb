//! Checks after a cut.

use crate::child::engine;
use crate::workflow::{all_files, effects, effects_dir, files_of};
use fulcrum_engine::load::{decode, load};
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{Ending, Event, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Every event that must be in the journal: what was there after the last cut, then what a child said was.
#[derive(Default)]
pub(crate) struct Told {
    events: BTreeMap<RunId, Vec<Event>>,
    /// Runs that a child was about to remove: they are there as a whole, or not at all.
    removing: BTreeSet<RunId>,
}

impl Told {
    /// Takes in a line of a child. The last one may have been cut off by the kill.
    pub(crate) fn hear(&mut self, line: &str) {
        let Some((run, event)) = line.split_once(' ') else { return };
        let Ok(run) = run.parse() else { return };
        match serde_json::from_str(event) {
            Ok(event) => self.events.entry(run).or_default().push(event),
            Err(_) if event == "removing" => _ = self.removing.insert(run),
            Err(_) => {}
        }
    }
}

/// Checks the disk. With `finish`, the last run is then brought to its end, in a direction drawn from that.
pub(crate) fn after_cut(
    disk: &Path,
    told: &mut Told,
    finish: Option<&mut fastrand::Rng>,
) -> Result<(), String> {
    if !disk.join("state").exists() && told.events.is_empty() {
        return Ok(()); // It was cut before there was anything.
    }
    let journal =
        Journal::open(disk.join("state"), "check").map_err(|error| format!("not opened: {error:?}"))?;
    let runs = journal.reader().runs().map_err(|error| error.to_string())?;
    let removed = |run| told.removing.contains(&run) && runs.iter().all(|header| header.run != run);
    told.events.retain(|run, _| !removed(*run));
    for (run, acknowledged) in &told.events {
        prefix(&journal, *run, acknowledged)?;
    }
    for header in &runs {
        journal.reader().verify(header.run).map_err(|error| error.to_string())?;
    }
    if let Some(last) = runs.last().map(|header| header.run) {
        effects_are_as_journalled(&journal, last, &effects_dir(disk))?;
        if let Some(random) = finish {
            bring_to_an_end(&journal, last, disk, random.bool())?;
        }
    }
    // What was committed but not said any more is there all the same.
    for header in runs {
        told.events.insert(header.run, events(&journal, header.run)?);
    }
    Ok(())
}

fn events(journal: &Journal, run: RunId) -> Result<Vec<Event>, String> {
    let decoded = journal
        .reader()
        .entries(run)
        .map(|entry| decode(&entry.map_err(|error| error.to_string())?).map_err(|error| error.to_string()));
    decoded.collect()
}

/// What was acknowledged is the beginning of what is there.
fn prefix(journal: &Journal, run: RunId, acknowledged: &[Event]) -> Result<(), String> {
    let kept = events(journal, run)?;
    if kept.len() < acknowledged.len() {
        return Err(format!("run {run}: {} were acknowledged, {} are kept", acknowledged.len(), kept.len()));
    }
    match acknowledged.iter().zip(&kept).enumerate().find(|(_, (said, found))| said != found) {
        Some((n, (said, found))) => {
            Err(format!("run {run}: event {} was {said:?}, kept is {found:?}", n + 1))
        }
        None => Ok(()),
    }
}

/// A step that is done, and whose undo has not begun, has its files. A step that never began, or is undone,
/// has none.
fn effects_are_as_journalled(journal: &Journal, run: RunId, dir: &Path) -> Result<(), String> {
    let found = effects(dir)?;
    let mut expected: BTreeMap<String, Option<bool>> = BTreeMap::new();
    for event in events(journal, run)? {
        let there = match &event {
            Event::AttemptDone { .. } => Some(true),
            Event::UndoDone { .. } => Some(false),
            _ => None, // Begun: some of it may be there.
        };
        if let Some(step) = event.step() {
            expected.insert(step.to_string(), there);
        }
    }
    for (step, there) in expected {
        let Some(there) = there else { continue };
        if let Some(wrong) = files_of(&step).into_iter().find(|file| found.contains(file) != there) {
            return Err(format!("step {step} is {}, but for {wrong}", if there { "done" } else { "undone" }));
        }
    }
    Ok(())
}

fn bring_to_an_end(journal: &Journal, run: RunId, disk: &Path, back: bool) -> Result<(), String> {
    let state = load(&journal.reader(), run).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if !state.is_over() || (back && !state.is_rolled_back()) {
        let engine = engine(journal, disk, "boot-check");
        let ending = runtime.block_on(async {
            if back { engine.roll_back(run, "as drawn").await } else { engine.resume(run).await }
        });
        let _: Ending = ending.map_err(|error| error.to_string())?;
    }
    let state = load(&journal.reader(), run).map_err(|error| error.to_string())?;
    let expected = match state.phase() {
        Phase::Ended(Outcome::Completed, _) if !back => all_files(),
        Phase::Ended(Outcome::RolledBack, _) => Default::default(),
        other => return Err(format!("the run ended as {other}")),
    };
    let found = effects(&effects_dir(disk))?;
    if found != expected {
        return Err(format!("the run ended as {}, and there is {found:?}", state.phase()));
    }
    Ok(())
}
