//! Entries found in the bytes of a damaged log, without sled.
//!
//! sled 0.34.7 gives up a damaged log in one of two ways (one byte flipped, some 900 places): while it has
//! no snapshot, up to the first reopening, it takes back everything from the damage on, without a word, and
//! cuts the file off there; later it refuses to open. Both say nothing of which entry is hit, and neither
//! needs to lose the others: an envelope is stored as it is, begins with a magic, names the one before it
//! by hash, and carries its own. So the chain can be followed from copy to copy through the bytes.
//!
//! The log holds several copies of most entries. A copy with the right place in the chain and the wrong
//! hash is damage, even if another copy is whole: it is what changed. Of two whole ones that differ the later
//! is the entry: a crash kept the earlier from being committed.

use std::collections::BTreeMap;

use crate::Digest;
use crate::Entry;
use crate::Head;
use crate::RunHeader;
use crate::RunId;
use crate::entry::ENTRY_MAGIC;
use crate::entry::MAX_ENTRY_BYTES;
use crate::entry::RawEntry;
use crate::entry::SCHEMA;

/// Every copy of an entry in some bytes, by the hash of the entry before it.
#[derive(Debug, Default)]
pub(crate) struct Copies<'a> {
    by_prev: BTreeMap<Digest, Vec<&'a [u8]>>,
}

/// What the bytes hold as the next entry of a run.
#[derive(Debug, PartialEq)]
pub(crate) enum Next<'a> {
    /// Only whole copies.
    Whole(Entry, &'a [u8]),
    /// A copy that has changed, and the entry if another copy is whole.
    Changed(Option<Entry>, &'a [u8]),
    /// None.
    Missing,
}

impl<'a> Copies<'a> {
    /// Finds them.
    pub(crate) fn find(bytes: &'a [u8]) -> Copies<'a> {
        let mut copies = Copies::default();
        let start = [ENTRY_MAGIC[0], ENTRY_MAGIC[1], SCHEMA];
        for place in memchr::memmem::find_iter(bytes, &start) {
            let rest = &bytes[place..bytes.len().min(place + MAX_ENTRY_BYTES)];
            if let Ok((entry, used)) = RawEntry::scan(rest) {
                copies.by_prev.entry(entry.prev).or_default().push(&rest[..used]);
            }
        }
        copies
    }

    /// True if there are none: then nothing is known of the entries.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_prev.is_empty()
    }

    /// The entry after `last`.
    pub(crate) fn next(&self, run: RunId, last: Head) -> Next<'a> {
        let mut whole = None;
        let mut changed = None;
        for copy in self.by_prev.get(&last.hash).into_iter().flatten() {
            match Entry::decode(run, last.seq + 1, copy) {
                Ok(entry)
                    if whole.as_ref().is_some_and(|(later, _): &(Entry, _)| later.time > entry.time) => {}
                Ok(entry) => whole = Some((entry, *copy)),
                Err(_) => changed = Some(*copy),
            }
        }
        match (whole, changed) {
            (whole, Some(copy)) => Next::Changed(whole.map(|(entry, _)| entry), copy),
            (Some((entry, copy)), None) => Next::Whole(entry, copy),
            (None, None) => Next::Missing,
        }
    }

    /// The first entry of a run that has a changed copy or none, if there is one up to its head.
    pub(crate) fn first_damage(&self, header: &RunHeader) -> Option<(u64, &'static str)> {
        let mut last = header.genesis();
        while last.seq < header.head.seq {
            match self.next(header.run, last) {
                Next::Whole(entry, _) => last = entry.head(),
                Next::Changed(Some(_), _) => {
                    return Some((last.seq + 1, "a copy of it in the log has changed"));
                }
                Next::Changed(None, _) => return Some((last.seq + 1, "it has changed in the log")),
                Next::Missing => return Some((last.seq + 1, "it is not in the log")),
            }
        }
        None
    }

    /// The entries of a run as they can be found, with their bytes; a changed copy goes before a whole one,
    /// and ends it if there is no other.
    pub(crate) fn of_run(&self, header: &RunHeader) -> Vec<(u64, &'a [u8])> {
        let mut last = header.genesis();
        let mut found = Vec::new();
        while last.seq < header.head.seq {
            let (entry, copy) = match self.next(header.run, last) {
                Next::Whole(entry, copy) => (Some(entry), copy),
                Next::Changed(entry, copy) => (entry, copy),
                Next::Missing => break,
            };
            found.push((last.seq + 1, copy));
            let Some(entry) = entry else { break };
            last = entry.head();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    /// A crash has left one that was never committed, wherever in the log.
    #[test]
    fn of_two_whole_copies_that_differ_the_later_is_the_entry() {
        let (run, last) = (RunId::new(), Head { seq: 4, hash: Digest::of(b"the one before") });
        let entry = |micros, body: &str| Entry::after(run, last, Timestamp::from_micros(micros), body.into());
        let (cut, committed) = (entry(1, "cut short"), entry(2, "committed"));
        for copies in [[&cut, &committed], [&committed, &cut]] {
            let log: Vec<u8> = copies.iter().flat_map(|entry| entry.encode()).collect();
            let Next::Whole(found, _) = Copies::find(&log).next(run, last) else { panic!("both are whole") };
            assert_eq!(found, committed);
        }
    }
}
