//! How long finished runs are kept.

use crate::error::EngineError;
use crate::event::Event;
use crate::load::{decode, unread};
use fulcrum_state::{Reader, RunHeader, RunId, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Which finished runs are kept. Without a limit: all.
///
/// A run that is unfinished, or waits for a person, is always kept. So is a run with a child
/// ([`ChildRun`](crate::ChildRun)) that is unfinished, and each child of a run that is kept: a completed run may
/// still be rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    age: Option<Duration>,
    runs: Option<usize>,
}

/// A retention that an engine carries out once. Its clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Automatic {
    retention: Retention,
    was_due: Arc<AtomicBool>,
}

impl Automatic {
    pub(crate) fn new(retention: Retention) -> Self {
        Self { retention, was_due: Arc::default() }
    }

    /// The retention, the first time.
    pub(crate) fn due(&self) -> Option<Retention> {
        (!self.was_due.swap(true, Ordering::Relaxed)).then_some(self.retention)
    }
}

impl Retention {
    /// Runs are kept this long after their end.
    #[must_use]
    pub fn for_time(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }

    /// At most this many finished runs are kept, not counting children: those that were begun last.
    #[must_use]
    pub fn at_most(mut self, runs: usize) -> Self {
        self.runs = Some(runs);
        self
    }
}

impl Retention {
    /// The families of runs to remove: each a run with its children, and theirs.
    pub(crate) fn chosen(self, reader: &Reader, now: Timestamp) -> Result<Vec<Vec<RunId>>, EngineError> {
        let mut chosen = Vec::new();
        let mut newer = 0;
        for family in families(reader)?.into_iter().rev() {
            if !family.iter().all(|header| header.over && header.damage.is_none()) {
                continue;
            }
            newer += 1;
            if self.runs.is_some_and(|most| newer > most) || self.is_too_old(reader, &family, now)? {
                chosen.push(family.iter().map(|header| header.run).collect());
            }
        }
        Ok(chosen)
    }

    /// Whether the last of these runs ended too long ago.
    fn is_too_old(self, reader: &Reader, family: &[RunHeader], now: Timestamp) -> Result<bool, EngineError> {
        let Some(age) = self.age else { return Ok(false) };
        let is_old = |time: Timestamp| now.since(time) > age;
        for header in family {
            // A run does not end before it begins: most need no reading.
            if !is_old(header.created) {
                return Ok(false);
            }
            for entry in reader.entries(header.run) {
                if !is_old(entry.map_err(|source| unread(header.run, source))?.time) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// The runs in the order in which they were begun, each with its children behind it.
fn families(reader: &Reader) -> Result<Vec<Vec<RunHeader>>, EngineError> {
    let headers = reader.runs()?;
    let mut place_of: BTreeMap<RunId, usize> = BTreeMap::new();
    let mut families: Vec<Vec<RunHeader>> = Vec::new();
    for header in headers {
        // A child is begun after the run above it.
        let above = above(reader, &header).and_then(|run| place_of.get(&run).copied());
        let place = above.unwrap_or(families.len());
        place_of.insert(header.run, place);
        match families.get_mut(place) {
            Some(family) => family.push(header),
            None => families.push(vec![header]),
        }
    }
    Ok(families)
}

/// The run above, by the key of the child.
fn above(reader: &Reader, header: &RunHeader) -> Option<RunId> {
    let first = reader.entries(header.run).next()?.ok()?;
    match decode(&first).ok()? {
        Event::Begun { key: Some(key), .. } => key.split_once('/')?.0.parse().ok(),
        _ => None,
    }
}
