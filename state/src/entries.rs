//! Reads a run from an entry to the last, and checks it on the way.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Damage;
use crate::DiskError;
use crate::Entry;
use crate::Head;
use crate::ReadError;
use crate::RunId;
use crate::Store;
use crate::chain;
use crate::log;
use crate::place;
use crate::place::Extent;
use crate::place::Place;
use crate::place::Position;
use crate::record::BlobContent;
use crate::record::EntryContent;
use crate::record::Kind;
use crate::scan::Found;
use crate::scan::Scanner;
use crate::shared::Shared;
use crate::store::Rows;

/// The entries of a run in order: those that are whole up to the first damage, then the error, then nothing.
/// At any time, one entry and a part of the log are in memory.
///
/// The iterator ends with the entry that was the last when it was made. It does not keep the journal open.
#[must_use = "nothing is read until it is iterated"]
pub struct Entries {
    source: Source,
}

enum Source {
    Log(LogEntries),
    Store(Rows),
    Done(Option<Head>),
}

/// The entries of a run in the log.
struct LogEntries {
    shared: Arc<Shared>,
    run: RunId,
    after: Option<Head>,
    state: State,
    head: Option<Head>,
}

enum State {
    Start,
    At(Box<Reading>),
}

/// The state of the reading.
struct Reading {
    extents: VecDeque<Extent>,
    scanner: Option<(Scanner, u32)>,
    /// The last entry that was read. `None` before the one that the caller named.
    last: Option<Head>,
    /// The last entry of the run.
    until: Head,
    /// The known damage behind that entry.
    damage: Option<Damage>,
    /// The first place on the way that has no record.
    bad: Option<(u32, u64)>,
}

impl Entries {
    pub(crate) fn of_log(shared: Arc<Shared>, run: RunId, after: Option<Head>) -> Entries {
        let source = Source::Log(LogEntries { shared, run, after, state: State::Start, head: None });
        Entries { source }
    }

    pub(crate) fn of_store(store: Arc<dyn Store>, run: RunId, after: Option<Head>) -> Entries {
        Entries { source: Source::Store(Rows::new(store, run, after)) }
    }

    /// The last entry that was read, or the run's head at the start.
    pub(crate) fn head(&self) -> Option<Head> {
        match &self.source {
            Source::Log(log) => log.head,
            Source::Store(rows) => rows.head(),
            Source::Done(head) => *head,
        }
    }
}

impl LogEntries {
    fn advance(&mut self) -> Result<Option<Entry>, ReadError> {
        if matches!(self.state, State::Start) {
            self.state = State::At(Box::new(self.start()?));
        }
        loop {
            let State::At(reading) = &mut self.state else { return Ok(None) };
            if let Some(last) = reading.last {
                self.head = Some(last);
                if last.seq >= reading.until.seq {
                    let damage = reading.damage.take();
                    return damage.map_or(Ok(None), |damage| Err(self.error(&damage)));
                }
            }
            let Some(entry) = reading.next_entry(&self.shared, self.run)? else {
                return Err(self.missing());
            };
            let (after, found) = (self.after, entry.head());
            let State::At(reading) = &mut self.state else { return Ok(None) };
            match (reading.last, after) {
                (None, Some(after)) if found.seq < after.seq => continue,
                (None, Some(after)) => {
                    if found != after || chain::link(&entry) != found.hash {
                        let detail =
                            format!("entry {} is {:.12}, not {:.12}", found.seq, found.hash, after.hash);
                        return Err(self.damaged(after.seq, detail));
                    }
                    reading.last = Some(found);
                }
                (Some(last), _) => {
                    self.check(&entry, last)?;
                    let State::At(reading) = &mut self.state else { return Ok(None) };
                    reading.last = Some(found);
                    self.head = Some(found);
                    return Ok(Some(entry));
                }
                (None, None) => return Err(self.missing()),
            }
        }
    }

    fn start(&self) -> Result<Reading, ReadError> {
        self.shared.refresh()?;
        let index = self.shared.index();
        let Some(state) = index.run(self.run) else { return Err(self.shared.unknown(&index, self.run)) };
        let (header, mut extents) = (&state.header, VecDeque::from(state.extents.clone()));
        let genesis = header.genesis();
        if let Some(damage) = header.damage.as_ref().filter(|damage| damage.seq == Some(0)) {
            return Err(self.error(damage));
        }
        let last = match self.after {
            Some(after) if after != genesis => {
                if let Some(kept) = self.shared.state(self.run).filter(|kept| kept.head == after) {
                    skip_to(&mut extents, kept.at);
                }
                None
            }
            _ => Some(genesis),
        };
        let (until, damage) = (header.head, header.damage.clone());
        Ok(Reading { extents, scanner: None, last, until, damage, bad: None })
    }

    fn check(&self, entry: &Entry, last: Head) -> Result<(), ReadError> {
        match entry.unlike_next(last) {
            Some(detail) => Err(self.damaged(last.seq + 1, detail)),
            None => Ok(()),
        }
    }

    /// Why the next entry is not at its place in the index.
    fn missing(&self) -> ReadError {
        if let Err(error) = self.shared.refresh() {
            return error;
        }
        let index = self.shared.index();
        if index.run(self.run).is_none() {
            return self.shared.unknown(&index, self.run);
        }
        drop(index);
        let seq = match &self.state {
            State::At(reading) => reading.last.or(self.after).map_or(0, |last| last.seq + 1),
            State::Start => 0,
        };
        self.damaged(seq, "it is missing".into())
    }

    fn damaged(&self, seq: u64, detail: String) -> ReadError {
        let (segment, offset) = match &self.state {
            State::At(reading) => reading.place(),
            State::Start => (1, 0),
        };
        let path = PathBuf::from(place::segment_name(segment));
        self.error(&Damage { run: Some(self.run), seq: Some(seq), path, offset, detail })
    }

    fn error(&self, damage: &Damage) -> ReadError {
        let path = self.shared.path_of(&damage.path);
        ReadError::damaged(self.run, &Damage { path, ..damage.clone() })
    }
}

impl Reading {
    /// The next entry of the run in the log. `None` behind the last part that has any.
    fn next_entry(&mut self, shared: &Shared, run: RunId) -> Result<Option<Entry>, ReadError> {
        loop {
            let (mut scanner, segment) = match self.scanner.take() {
                Some(open) => open,
                None => match self.extents.pop_front() {
                    Some(extent) => (shared.scanner(extent)?, extent.segment),
                    None => return Ok(None),
                },
            };
            let failed = |e| {
                let path = log::segment_path(shared.disk.as_ref(), segment);
                ReadError::Disk(DiskError::new("read", path, e))
            };
            let found = loop {
                match scanner.next().map_err(failed)? {
                    Found::Record { at, prefix, content } if is_of(content, run) => match prefix.kind {
                        Kind::Entry => break Some(entry(content)),
                        Kind::Blob => remember(shared, content, segment, at, prefix.len),
                        _ => {}
                    },
                    Found::Record { .. } => {}
                    Found::Bad { from, .. } => self.bad = Some((segment, from)),
                    Found::End { .. } => break None,
                }
            };
            match found {
                Some(Some(entry)) => {
                    self.scanner = Some((scanner, segment));
                    return Ok(Some(entry));
                }
                // A record that is no entry shows when the next entry does not follow.
                Some(None) => self.scanner = Some((scanner, segment)),
                None => {}
            }
        }
    }

    fn place(&self) -> (u32, u64) {
        let here = self.scanner.as_ref().map(|(scanner, segment)| (*segment, scanner.at()));
        self.bad.or(here).unwrap_or((1, 0))
    }
}

/// True if the content is that of a record of this run: its first field names it.
fn is_of(content: &[u8], run: RunId) -> bool {
    let named = content.strip_prefix(b"{\"run\":\"").and_then(|rest| rest.get(..36));
    let mut text = [0; 36];
    named.is_some_and(|named| named == run.text(&mut text).as_bytes())
}

fn entry(content: &[u8]) -> Option<Entry> {
    serde_json::from_slice::<EntryContent<'_>>(content).ok()?.entry()
}

fn remember(shared: &Shared, content: &[u8], segment: u32, at: u64, len: usize) {
    if let Ok(blob) = serde_json::from_slice::<BlobContent>(content) {
        let at = Position { segment, offset: place::short(at) };
        let place = Place { at, len: place::short(len as u64) };
        shared.index_mut().remember_blob(blob.digest, place);
    }
}

/// Drops what lies before a place.
fn skip_to(extents: &mut VecDeque<Extent>, at: Position) {
    while let Some(first) = extents.front_mut() {
        if first.segment < at.segment || (first.segment == at.segment && first.to <= at.offset) {
            extents.pop_front();
            continue;
        }
        if first.segment == at.segment {
            first.from = first.from.max(at.offset);
        }
        break;
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Result<Entry, ReadError>> {
        let next = match &mut self.source {
            Source::Log(log) => log.advance().transpose(),
            Source::Store(rows) => rows.advance().transpose(),
            Source::Done(_) => None,
        };
        if !matches!(next, Some(Ok(_))) {
            self.source = Source::Done(self.head());
        }
        next
    }
}
