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
/// The most bytes of one commit. The remains of a commit that a crash cut short lie this near behind the end.
pub(crate) const MAX_COMMIT_BYTES: usize = 1024 * 1024;
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
    let failed = |doing| move |e| DiskError::new(doing, disk.path(name), e);
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
        disk.rename(&temporary, name)?;
        Ok(file)
    })();
    match made {
        Ok(file) => {
            crate::fault::point("segment/before-dir-sync");
            let dir = name.rsplit_once('/').map_or("", |(dir, _)| dir);
            disk.sync_dir(dir).map_err(failed("sync the name of"))?;
            Ok(file)
        }
        Err(error) => {
            // Gives back room where there is none.
            let _ = disk.remove(&temporary);
            Err(failed("make")(error))
        }
    }
}

/// The first record of a segment.
pub(crate) fn segment_record(segment: u32, after: u64, emptied: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let content = SegmentContent { format: FORMAT, segment, after, emptied };
    record::write(&mut bytes, Kind::Segment, &record::json(&content));
    bytes
}

/// The end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// There are bytes behind the end that are not zero: the rest of a commit that was cut short.
    pub(crate) torn: bool,
    /// The last segment is damaged: no more records may go into it.
    pub(crate) damaged: bool,
    /// The end of the segment before the last one. 0 if it was not looked at.
    pub(crate) previous: u64,
}

/// True if nothing was written behind the index's end. Then the space there need not be searched.
pub(crate) fn is_read(disk: &dyn Disk, index: &Index) -> Result<bool, DiskError> {
    let Some(end) = index.end else { return Ok(false) };
    if segments(disk, LOG)?.contains(&(end.segment + 1)) && is_begun(disk, end.segment + 1, 0)? {
        return Ok(false);
    }
    Ok(!is_begun(disk, end.segment, end.offset)?)
}

/// Takes the records behind the index's end into the index.
pub(crate) fn read(disk: &dyn Disk, index: &mut Index, patient: bool) -> Result<Tail, DiskError> {
    let numbers = segments(disk, LOG)?;
    let mut last = None;
    for number in numbers.iter().rev() {
        if is_begun(disk, *number, 0)? {
            last = Some(*number);
            break;
        }
    }
    let start = index.end.unwrap_or(Position { segment: 1, offset: 0 });
    let last = last.unwrap_or(start.segment).max(start.segment);
    let mut reading = Reading { disk, index, pending: Vec::new(), patient, after: None, emptied: false };
    let mut tail = Tail { torn: false, damaged: false, previous: 0 };
    for segment in start.segment..=last {
        if !numbers.contains(&segment) {
            if segment != last || index_has_more(reading.index, segment) {
                reading.damaged(segment, 0, "the segment is missing".into(), &[]);
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

/// True if something was written into the segment at a place.
fn is_begun(disk: &dyn Disk, segment: u32, offset: u32) -> Result<bool, DiskError> {
    let name = segment_name(segment);
    let failed = |e| DiskError::new("read", disk.path(&name), e);
    let file = disk.open(&name, false).map_err(failed)?;
    let mut start = [0; 512];
    let read = file.read_at(&mut start, offset.into()).map_err(failed)?;
    Ok(start[..read].iter().any(|byte| *byte != 0))
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
        let mut looks = if self.patient { LOOKS } else { 0 };
        let mut tail = Tail { torn: false, damaged: false, previous: self.after.unwrap_or(0) };
        loop {
            match scanner.next().map_err(failed)? {
                Found::Record { at, prefix, content } => {
                    if prefix.first {
                        commit_at = at;
                    }
                    self.record(segment, at, prefix, content);
                    if prefix.last {
                        commit_at = at + prefix.len as u64;
                    }
                }
                Found::Bad { from, proved, .. } if !proved && is_last && looks > 0 => {
                    // Another process may be writing it.
                    looks -= 1;
                    std::thread::sleep(PAUSE);
                    scanner.look_again(from);
                }
                Found::Bad { from, to, .. } => {
                    let len = usize::try_from(to - from).unwrap_or(usize::MAX);
                    let bytes = scanner.bytes(from, len.min(HINT_BYTES)).map_err(failed)?.to_vec();
                    self.flush();
                    tail.damaged = true;
                    commit_at = to;
                    self.damaged(segment, from, format!("{len} bytes are no record"), &bytes);
                }
                Found::End { at, clean } => {
                    tail.torn = !clean || !self.pending.is_empty();
                    let end = self.end(segment, at, commit_at, is_last, tail.torn);
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

/// Overwrites the remains of a commit that was cut short with zeros, and returns when that is on the disk.
pub(crate) fn clear(disk: &dyn Disk, end: Position) -> Result<(), DiskError> {
    let name = segment_name(end.segment);
    let failed = |e| DiskError::new("clear the end of", disk.path(&name), e);
    let file = disk.open(&name, true).map_err(failed)?;
    let limit = file.size().map_err(failed)?;
    let mut at = u64::from(end.offset);
    let mut bytes = vec![0; ZEROS.len()];
    while at < limit {
        let read = file.read_at(&mut bytes, at).map_err(failed)?;
        if read == 0 {
            break;
        }
        if bytes[..read].iter().any(|byte| *byte != 0) {
            file.write_at(&ZEROS[..read], at).map_err(failed)?;
        }
        at += read as u64;
    }
    file.sync().map_err(failed)
}
