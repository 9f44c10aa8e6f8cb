//! The log: segments, made ahead and filled with zeros, and how to read them from a place to the end.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::Damage;
use crate::DiskError;
use crate::disk::Disk;
use crate::disk::DiskFile;
use crate::index::Index;
use crate::meta::Meta;
use crate::place::LOG;
use crate::place::Place;
use crate::place::Position;
use crate::place::segment_name;
use crate::place::short;
use crate::record;
use crate::record::Kind;
use crate::record::Prefix;
use crate::record::SegmentContent;
use crate::scan::Found;
use crate::scan::Scanner;

/// The format of the log.
pub(crate) const FORMAT: u64 = 2;
/// The most bytes of one commit.
pub(crate) const MAX_COMMIT_BYTES: usize = 1024 * 1024;
/// The remains of a commit that a crash cut short lie this near behind the end. The record of a segment may be
/// a part of them.
pub(crate) const REMAINS_BYTES: u64 = MAX_COMMIT_BYTES as u64 + 512;
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
/// How often, and after how long, a reader looks again at a record that another process may be writing.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(4);
/// How much of a damaged record is searched for a hint of its place.
const HINT_BYTES: usize = 512;

/// The numbers of the segments in a log, in order.
pub(crate) fn segments(disk: &dyn Disk, log: &str) -> Result<Vec<u32>, DiskError> {
    let names = disk.list(log).map_err(|e| DiskError::new("list", disk.path(log), e))?;
    let number = |name: &String| {
        let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 10)?;
        digits.parse().ok()
    };
    let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes a segment of zeros, and returns when it and its name are on the disk.
pub(crate) fn make_segment(
    disk: &dyn Disk,
    log: &str,
    segment: u32,
    bytes: u64,
) -> Result<Box<dyn DiskFile>, DiskError> {
    make_filled(disk, &format!("{log}/{segment:010}.log"), bytes, &[])
}

/// Makes a file with this content and zeros behind it up to `bytes`. Replaces an existing file.
pub(crate) fn make_filled(
    disk: &dyn Disk,
    name: &str,
    bytes: u64,
    content: &[u8],
) -> Result<Box<dyn DiskFile>, DiskError> {
    let file = fill(disk, name, bytes, content)?;
    put_in_place(disk, name)?;
    Ok(file)
}

/// Makes a file for [`put_in_place`], and returns when its content is on the disk.
pub(crate) fn fill(
    disk: &dyn Disk,
    name: &str,
    bytes: u64,
    content: &[u8],
) -> Result<Box<dyn DiskFile>, DiskError> {
    let temporary = format!("{name}.tmp");
    let made = (|| {
        let file = disk.create(&temporary)?;
        file.write_at(content, 0)?;
        let mut at = content.len() as u64;
        while at < bytes {
            let some = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(ZEROS.len());
            file.write_at(&ZEROS[..some], at)?;
            at += some as u64;
        }
        file.sync()?;
        Ok(file)
    })();
    made.map_err(|error| {
        // Gives back room where there is none.
        let _ = disk.remove(&temporary);
        DiskError::new("make", disk.path(name), error)
    })
}

/// Gives a file that was made its name, and returns when that is on the disk. After an error the name may
/// stand for either file.
pub(crate) fn put_in_place(disk: &dyn Disk, name: &str) -> Result<(), DiskError> {
    let failed = |doing| move |e| DiskError::new(doing, disk.path(name), e);
    disk.rename(&format!("{name}.tmp"), name).map_err(failed("name"))?;
    crate::fault::point("segment/before-dir-sync");
    let dir = name.rsplit_once('/').map_or("", |(dir, _)| dir);
    disk.sync_dir(dir).map_err(failed("sync the name of"))
}

/// The first record of a segment.
pub(crate) fn segment_record(segment: u32, after: u64, emptied: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let content = SegmentContent { format: FORMAT, segment, after, emptied };
    record::write(&mut bytes, Kind::Segment, &content);
    bytes
}

/// The end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Where the last commit begins, if it was read now. Else the end.
    pub(crate) commit: u64,
    /// The last segment is damaged: no more records may go into it.
    pub(crate) damaged: bool,
    /// The end of the segment before the last one. 0 if it was not looked at.
    pub(crate) previous: u64,
}

/// True if nothing was written behind the index's end. Then the space there need not be searched.
pub(crate) fn is_read(disk: &dyn Disk, index: &Index) -> Result<bool, DiskError> {
    let Some(end) = index.end else { return Ok(false) };
    if segments(disk, LOG)?.contains(&(end.segment + 1)) && is_begun(disk, end.segment + 1, 0, 1)? {
        return Ok(false);
    }
    Ok(!is_begun(disk, end.segment, end.offset, 1)?)
}

/// Takes the records behind the index's end into the index.
pub(crate) fn read(disk: &dyn Disk, index: &mut Index, patient: bool) -> Result<Tail, DiskError> {
    let numbers = segments(disk, LOG)?;
    if let Some(end) = index.end
        && numbers.contains(&end.segment)
        && size_of(disk, end.segment)? < end.offset.into()
    {
        // A prune has emptied the segment since. What was in it behind the end is at another place now.
        *index = Index::default();
    }
    let mut last = None;
    for number in numbers.iter().rev() {
        if is_begun(disk, *number, 0, REMAINS_BYTES)? {
            last = Some(*number);
            break;
        }
    }
    let start = index.end.unwrap_or(Position { segment: 1, offset: 0 });
    let mut last = last.unwrap_or(start.segment).max(start.segment);
    // Each segment is made after the one before. So a later one proves that these are missing.
    let made = numbers.last().copied().unwrap_or(0);
    if (last..made).any(|segment| !numbers.contains(&segment)) {
        last = made;
    }
    let mut reading = Reading { disk, index, pending: Vec::new(), patient, after: None, emptied: false };
    let mut tail = Tail { commit: start.offset.into(), damaged: false, previous: 0 };
    for segment in start.segment..=last {
        if !numbers.contains(&segment) {
            if segment != last || index_has_more(reading.index, segment) {
                reading.damaged(segment, 0, "the segment is missing".into(), &[]);
                reading.after = None;
            }
            continue;
        }
        let from = if segment == start.segment { start.offset } else { 0 };
        tail = reading.segment(segment, from, segment == last)?;
    }
    Ok(tail)
}

fn index_has_more(index: &Index, segment: u32) -> bool {
    index.end.is_some_and(|end| end.segment >= segment && end.offset > 0)
}

fn size_of(disk: &dyn Disk, segment: u32) -> Result<u64, DiskError> {
    let name = segment_name(segment);
    let size = disk.open(&name, false).and_then(|file| file.size());
    size.map_err(|e| DiskError::new("look at", disk.path(&name), e))
}

/// True if something was written into the segment at a place, or up to so many bytes behind it.
fn is_begun(disk: &dyn Disk, segment: u32, offset: u32, bytes: u64) -> Result<bool, DiskError> {
    let name = segment_name(segment);
    let failed = |e| DiskError::new("read", disk.path(&name), e);
    let file = disk.open(&name, false).map_err(failed)?;
    let offset = u64::from(offset);
    let mut scanner = Scanner::new(file, offset, offset + bytes);
    Ok(scanner.first_nonzero(offset).map_err(failed)?.is_some())
}

/// The state of reading segments in order.
struct Reading<'a> {
    disk: &'a dyn Disk,
    index: &'a mut Index,
    /// The records of a commit whose last record has not come yet.
    pending: Vec<(Meta, Place)>,
    patient: bool,
    /// The end of the segment before. Unknown for an emptied segment.
    after: Option<u64>,
    emptied: bool,
}

impl Reading<'_> {
    fn segment(&mut self, segment: u32, from: u32, is_last: bool) -> Result<Tail, DiskError> {
        let name = segment_name(segment);
        let failed = |e: io::Error| DiskError::new("read", self.disk.path(&name), e);
        let file = self.disk.open(&name, false).map_err(failed)?;
        let limit = file.size().map_err(failed)?;
        let mut scanner = Scanner::new(file, from.into(), limit);
        let mut commit_at = u64::from(from);
        let mut whole_at = commit_at;
        let mut looks = if self.patient { LOOKS } else { 0 };
        let mut tail = Tail { commit: commit_at, damaged: false, previous: self.after.unwrap_or(0) };
        loop {
            match scanner.next().map_err(failed)? {
                Found::Record { at, prefix, content } => {
                    if prefix.first {
                        commit_at = at;
                    }
                    self.record(segment, at, prefix, content);
                    if prefix.last {
                        (whole_at, commit_at) = (commit_at, at + prefix.len as u64);
                    }
                }
                Found::Bad { from, .. } if looks > 0 => {
                    // Another process may be writing it, or have written it while this one read on.
                    looks -= 1;
                    std::thread::sleep(PAUSE);
                    scanner.look_again(from);
                }
                Found::Bad { from, to, .. } => {
                    let len = usize::try_from(to - from).unwrap_or(usize::MAX);
                    let bytes = scanner.bytes(from, len.min(HINT_BYTES)).map_err(failed)?.to_vec();
                    self.flush();
                    tail.damaged = true;
                    (whole_at, commit_at) = (to, to);
                    let detail = match scanner.refused() {
                        Some(error) => format!("{len} bytes are no record; the system says: {error}"),
                        None => format!("{len} bytes are no record"),
                    };
                    self.damaged(segment, from, detail, &bytes);
                }
                Found::End { at, clean } => {
                    let torn = !clean || !self.pending.is_empty();
                    let end = self.end(segment, at, commit_at, is_last, torn);
                    tail.commit = whole_at.min(end);
                    self.after = (!std::mem::take(&mut self.emptied)).then_some(end);
                    self.index.end = Some(Position { segment, offset: short(end) });
                    return Ok(tail);
                }
            }
        }
    }

    fn record(&mut self, segment: u32, at: u64, prefix: Prefix, content: &[u8]) {
        if prefix.first && !self.pending.is_empty() {
            self.damaged(segment, at, "the commit before has no last record".into(), &[]);
            self.flush();
        }
        match Meta::read(prefix.kind, content) {
            Some(meta) => self.take(meta, segment, at, prefix.len),
            None => {
                let detail = "its checksum is right, its content cannot be read".to_owned();
                self.damaged(segment, at, detail, content);
            }
        }
        if prefix.last {
            self.flush();
        }
    }

    /// The end of a segment. A commit that was cut short there was never acknowledged, unless a later segment
    /// proves that it was.
    fn end(&mut self, segment: u32, at: u64, commit_at: u64, is_last: bool, torn: bool) -> u64 {
        if !is_last {
            if torn {
                self.damaged(segment, at, "the rest of the segment cannot be read".into(), &[]);
            }
            self.flush();
            return at;
        }
        self.pending.clear();
        commit_at.min(at)
    }

    fn take(&mut self, meta: Meta, segment: u32, at: u64, len: usize) {
        if let Meta::Segment(content) = &meta {
            self.emptied = content.emptied;
        }
        if let Meta::Segment(content) = &meta
            && let Some(after) = self.after
            && after != content.after
            && segment > 1
        {
            let missing = format!("it has records to {after}, the next segment says to {}", content.after);
            self.damaged(segment - 1, after, missing, &[]);
        }
        let place = Place { at: Position { segment, offset: short(at) }, len: short(len as u64) };
        self.pending.push((meta, place));
    }

    fn flush(&mut self) {
        for (meta, place) in self.pending.drain(..) {
            self.index.apply(meta, place);
        }
    }

    fn damaged(&mut self, segment: u32, at: u64, detail: String, bytes: &[u8]) {
        let path = self.disk.path(&segment_name(segment));
        tracing::error!(path = %path.display(), offset = at, detail, "the journal is damaged");
        let place = Place { at: Position { segment, offset: short(at) }, len: 0 };
        let damage = Damage { run: None, seq: None, path, offset: at, detail };
        self.index.note(damage, bytes, place);
    }
}

/// The path of a segment.
pub(crate) fn segment_path(disk: &dyn Disk, segment: u32) -> PathBuf {
    disk.path(&segment_name(segment))
}

/// Writes the last commit anew, and zeros behind it, and returns when both are on the disk. A process before
/// this one may have failed to sync them: then the kernel has them, and says that the disk has them, too.
pub(crate) fn settle(file: &dyn DiskFile, commit: u64, end: u64) -> io::Result<()> {
    let mut bytes = vec![0; usize::try_from(end - commit).unwrap_or(usize::MAX)];
    let read = file.read_at(&mut bytes, commit)?;
    file.write_at(&bytes[..read], commit)?;
    make_zero(file, end)?;
    file.sync()
}

/// Writes zeros where the remains of a commit may lie.
pub(crate) fn make_zero(file: &dyn DiskFile, end: u64) -> io::Result<()> {
    let (mut at, to) = (end, file.size()?.min(end + REMAINS_BYTES));
    while at < to {
        let some = usize::try_from(to - at).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_at(&ZEROS[..some], at)?;
        at += some as u64;
    }
    Ok(())
}
