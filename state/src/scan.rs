//! The records of one segment, one after the other, and places without a record: the end, or damage.
//!
//! Space is zero before it is written, in blocks that are on the disk, and a record has no zero byte. The
//! disk writes pieces of 512 bytes as a whole or not at all. So a record that a crash cut short has a piece
//! that is zero. A record that differs from what was written and has no such piece is damaged. A commit
//! begins only when the one before is on the disk. So a record that begins a commit proves that everything
//! before it was whole. A piece that the disk cannot read is damage, too.

use std::io;

use crate::disk;
use crate::disk::DiskFile;
use crate::disk::UNREADABLE;
use crate::record::PREFIX_BYTES;
use crate::record::Prefix;

/// The bytes that the disk writes as a whole.
const PIECE_BYTES: u64 = 512;
/// The bytes that are read at once.
const WINDOW_BYTES: usize = 128 * 1024;

/// The finding at a place.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A whole record.
    Record { at: u64, prefix: Prefix, content: &'a [u8] },
    /// No record, where one was.
    Bad { from: u64, to: u64 },
    /// No more records. `clean` if everything behind is zero.
    End { at: u64, clean: bool },
}

/// Reads a segment from a place to a limit.
pub(crate) struct Scanner {
    file: Box<dyn DiskFile>,
    at: u64,
    limit: u64,
    window: Vec<u8>,
    window_at: u64,
    /// What the system said about the last piece that it could not read.
    refused: Option<io::Error>,
}

impl Scanner {
    pub(crate) fn new(file: Box<dyn DiskFile>, at: u64, limit: u64) -> Scanner {
        Scanner { file, at, limit, window: Vec::new(), window_at: 0, refused: None }
    }

    /// Goes on from a place, and reads it anew.
    pub(crate) fn look_again(&mut self, at: u64) {
        self.at = at;
        self.window.clear();
    }

    /// The next record, or why there is none. After [`Found::Bad`] the scanner goes on behind it.
    pub(crate) fn next(&mut self) -> io::Result<Found<'_>> {
        let at = self.at;
        if at >= self.limit {
            return Ok(Found::End { at, clean: true });
        }
        let Some(prefix) = self.valid(at)? else { return self.judge(at) };
        self.at = at + prefix.len as u64;
        let content = &self.bytes(at, prefix.len)?[PREFIX_BYTES..];
        Ok(Found::Record { at, prefix, content })
    }

    /// What the system said about the last piece that it could not read.
    pub(crate) fn refused(&self) -> Option<&io::Error> {
        self.refused.as_ref()
    }

    /// The place where the next record is expected.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The bytes at a place, as far as the file has them.
    pub(crate) fn bytes(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let end = (at + len as u64).min(self.limit);
        if at < self.window_at || end > self.window_at + self.window.len() as u64 {
            let wanted = (end.saturating_sub(at)).max(WINDOW_BYTES as u64).min(self.limit.saturating_sub(at));
            self.window.resize(usize::try_from(wanted).unwrap_or(WINDOW_BYTES), 0);
            let (read, refused) = disk::read_around(self.file.as_ref(), &mut self.window, at)?;
            self.refused = refused.or(self.refused.take());
            self.window.truncate(read);
            self.window_at = at;
        }
        let start = usize::try_from(at - self.window_at).unwrap_or(usize::MAX).min(self.window.len());
        let end = start.saturating_add(len).min(self.window.len());
        Ok(&self.window[start..end])
    }

    /// The prefix of a whole record at a place.
    fn valid(&mut self, at: u64) -> io::Result<Option<Prefix>> {
        let Some(prefix) = Prefix::read(self.bytes(at, PREFIX_BYTES)?) else { return Ok(None) };
        Ok(prefix.matches(self.bytes(at, prefix.len)?).then_some(prefix))
    }

    /// The meaning of a missing record at `at`.
    fn judge(&mut self, at: u64) -> io::Result<Found<'_>> {
        let Some(nonzero) = self.first_nonzero(at)? else { return Ok(Found::End { at, clean: true }) };
        let by_length = Prefix::read(self.bytes(at, PREFIX_BYTES)?)
            .map(|prefix| at + prefix.len as u64)
            .filter(|end| *end <= self.limit);
        let by_line = self.line_end(nonzero)?;
        let extent = by_line.or(by_length).unwrap_or(self.limit);
        let (resumes, proved) = self.later(by_length, by_line)?;
        if proved || !self.has_zero_piece(at, extent)? {
            let to = resumes.unwrap_or(extent);
            self.at = to;
            return Ok(Found::Bad { from: at, to });
        }
        Ok(Found::End { at, clean: false })
    }

    /// The first whole record behind, and whether one of the records behind begins a commit.
    fn later(&mut self, by_length: Option<u64>, by_line: Option<u64>) -> io::Result<(Option<u64>, bool)> {
        let mut places = [by_length, by_line];
        places.sort_unstable();
        let mut next = by_line;
        for place in places.into_iter().flatten() {
            if self.valid(place)?.is_some() {
                next = Some(place);
                break;
            }
        }
        let mut resumes = None;
        while let Some(place) = next {
            let Some(prefix) = self.valid(place)? else {
                next = self.line_end(place)?;
                continue;
            };
            resumes.get_or_insert(place);
            if prefix.first {
                return Ok((resumes, true));
            }
            next = Some(place + prefix.len as u64);
        }
        Ok((resumes, false))
    }

    /// The place after the next line feed.
    fn line_end(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        while at < self.limit {
            let bytes = self.bytes(at, WINDOW_BYTES)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            if let Some(index) = memchr::memchr(b'\n', bytes) {
                return Ok(Some(at + index as u64 + 1));
            }
            at += bytes.len() as u64;
        }
        Ok(None)
    }

    /// True if there is a piece that is zero, before any that a commit cannot have left so.
    fn has_zero_piece(&mut self, from: u64, to: u64) -> io::Result<bool> {
        let mut at = from;
        while at < to {
            let end = ((at / PIECE_BYTES + 1) * PIECE_BYTES).min(to);
            let len = usize::try_from(end - at).unwrap_or(usize::MAX);
            let piece = self.bytes(at, len)?;
            // Bytes beyond the file's end were not written either.
            if is_zero(piece) {
                return Ok(true);
            }
            if memchr::memchr(UNREADABLE, piece).is_some() {
                return Ok(false);
            }
            at = end;
        }
        Ok(false)
    }

    /// The first byte that is not zero.
    pub(crate) fn first_nonzero(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        while at < self.limit {
            let bytes = self.bytes(at, WINDOW_BYTES)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            if !is_zero(bytes)
                && let Some(index) = bytes.iter().position(|byte| *byte != 0)
            {
                return Ok(Some(at + index as u64));
            }
            at += bytes.len() as u64;
        }
        Ok(None)
    }
}

/// Written for the compiler, which then looks at many bytes at once.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(1024).all(|some| some.iter().fold(0, |all, byte| all | byte) == 0)
}
