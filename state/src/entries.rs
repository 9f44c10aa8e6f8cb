//! Reading a run from the first entry to the last, checked on the way.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::Entry;
use crate::Head;
use crate::ReadError;
use crate::RunHeader;
use crate::RunId;
use crate::StoreError;
use crate::journal::Inner;
use crate::reader::Page;

/// The entries of a run in order: those that are whole up to the first damage, then the error, then
/// nothing. One page of entries is in memory at a time.
///
/// Entries that are appended meanwhile may be seen or not. It keeps the journal open, with its lock.
#[must_use = "nothing is read until it is iterated"]
pub struct Entries {
    journal: Arc<Inner>,
    run: RunId,
    state: State,
}

enum State {
    Start,
    /// The header when it was read last, the last entry that was yielded, and what was read beyond it.
    At {
        header: RunHeader,
        last: Head,
        page: Page,
    },
    /// What was found without the store, which failed, and the error after it.
    Salvaged {
        rest: VecDeque<Entry>,
        error: Option<ReadError>,
    },
    Done,
}

impl Entries {
    pub(crate) fn new(journal: Arc<Inner>, run: RunId) -> Entries {
        Entries { journal, run, state: State::Start }
    }

    /// Reads to the end, and returns the last entry.
    pub(crate) fn verify(mut self) -> Result<Head, ReadError> {
        let mut head = self.journal.reader.header(self.run)?.map(|header| header.genesis());
        while let Some(entry) = self.advance()? {
            head = Some(entry.head());
        }
        head.ok_or_else(|| self.journal.unknown(self.run))
    }

    fn advance(&mut self) -> Result<Option<Entry>, ReadError> {
        if matches!(self.state, State::Start) {
            let Some(header) = self.journal.reader.header(self.run)? else {
                return Err(self.journal.unknown(self.run));
            };
            self.state = State::At { last: header.genesis(), header, page: Page::new() };
        }
        match &mut self.state {
            State::At { header, last, page } => {
                match self.journal.reader.entry_after(self.run, header, *last, page) {
                    Ok(next) => {
                        *last = next.as_ref().map_or(*last, Entry::head);
                        return Ok(next);
                    }
                    Err(ReadError::Store(StoreError::Damaged { detail, .. })) => {
                        let (rest, error) = self.journal.reader.salvaged(header, *last, &detail)?;
                        self.state = State::Salvaged { rest, error };
                    }
                    Err(error) => return Err(error),
                }
            }
            State::Start | State::Salvaged { .. } | State::Done => {}
        }
        match &mut self.state {
            State::Salvaged { rest, error } => match rest.pop_front() {
                Some(entry) => Ok(Some(entry)),
                None => error.take().map_or(Ok(None), Err),
            },
            State::Start | State::At { .. } | State::Done => Ok(None),
        }
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Result<Entry, ReadError>> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.state = State::Done;
        }
        next
    }
}
