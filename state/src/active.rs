//! The end of the log, where commits are written. Each commit takes one write and one sync, into space that
//! was made before.

use std::sync::Arc;
use std::thread::JoinHandle;

use crate::DiskError;
use crate::Options;
use crate::commit::Staged;
use crate::disk::Disk;
use crate::disk::DiskFile;
use crate::log;
use crate::log::Tail;
use crate::place;
use crate::place::LOG;
use crate::place::Place;
use crate::place::Position;
use crate::record;
use crate::shared::Shared;

/// The first segment is small: a new journal costs little. Each segment is twice the one before, up to the
/// limit.
const FIRST_BYTES: u64 = 2 * 1024 * 1024;

/// The segment that is being written, and the next one.
pub(crate) struct Active {
    disk: Arc<dyn Disk>,
    options: Options,
    segment: u32,
    file: Box<dyn DiskFile>,
    size: u64,
    end: u64,
    /// The end of the segment before, if it is known.
    previous: u64,
    spare: Spare,
}

type Made = Result<Box<dyn DiskFile>, DiskError>;

/// The segment after the one that is being written.
enum Spare {
    None,
    Making(JoinHandle<Made>),
    Ready(Box<dyn DiskFile>),
}

/// Why a commit was not written.
pub(crate) enum WriteError {
    /// The disk has no room. Nothing was written.
    NoRoom(DiskError),
    /// It is not known whether the commit is on the disk.
    Failed(DiskError),
}

impl WriteError {
    /// The error of something that was not written at all.
    pub(crate) fn not_written(error: DiskError) -> WriteError {
        match error.is_full() {
            true => WriteError::NoRoom(error),
            false => WriteError::Failed(error),
        }
    }

    pub(crate) fn error(self) -> DiskError {
        let (WriteError::NoRoom(error) | WriteError::Failed(error)) = self;
        error
    }
}

impl Active {
    /// Opens the end of a log for writing, and clears what is behind it.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        options: Options,
        end: Option<Position>,
        tail: Tail,
    ) -> Result<Active, DiskError> {
        let end = end.unwrap_or(Position { segment: 1, offset: 0 });
        let segments = log::segments(disk.as_ref(), LOG)?;
        let name = place::segment_name(end.segment);
        let failed = |e| DiskError::new("open", disk.path(&name), e);
        let file = if segments.contains(&end.segment) {
            let file = disk.open(&name, true).map_err(failed)?;
            log::settle(file.as_ref(), tail.commit, end.offset.into()).map_err(failed)?;
            disk.sync_dir(LOG).map_err(|e| DiskError::new("sync", disk.path(LOG), e))?;
            file
        } else {
            log::make_segment(disk.as_ref(), LOG, end.segment, bytes_of(options, end.segment))?
        };
        let size = file.size().map_err(failed)?;
        let spare = match segments.contains(&(end.segment + 1)) {
            true => open_spare(disk.as_ref(), options, end.segment + 1)?.map_or(Spare::None, Spare::Ready),
            false => Spare::None,
        };
        let mut active = Active {
            disk,
            options,
            segment: end.segment,
            file,
            size,
            end: end.offset.into(),
            previous: tail.previous,
            spare,
        };
        if tail.damaged {
            // A segment that cannot be read to its end takes no more writes.
            active.size = active.end;
        }
        Ok(active)
    }

    /// The most bytes of one commit.
    pub(crate) fn commit_max(&self) -> usize {
        let half = usize::try_from(self.options.segment_bytes / 2).unwrap_or(usize::MAX);
        log::MAX_COMMIT_BYTES.min(half)
    }

    /// Keeps room: after so many more bytes, runs that are at work can still be ended on a disk that is full.
    pub(crate) fn reserve(&mut self, bytes: usize) -> Result<(), DiskError> {
        let reserve = (log::MAX_COMMIT_BYTES as u64).min(bytes_of(self.options, self.segment) / 2);
        if self.end + bytes as u64 + reserve <= self.size {
            return Ok(());
        }
        let spare = self.take_spare()?;
        self.spare = Spare::Ready(spare);
        Ok(())
    }

    /// Writes a commit, and returns when it is on the disk. `first` is the length of its first record, `last`
    /// the place where its last record begins. Returns the place where the commit begins.
    pub(crate) fn write(
        &mut self,
        mut bytes: Vec<u8>,
        first: usize,
        last: usize,
    ) -> Result<Position, WriteError> {
        record::mark_last(&mut bytes[last..]);
        let mut skipped = 0;
        if self.end == 0 || self.end + bytes.len() as u64 > self.size {
            if self.end > 0 {
                self.roll().map_err(WriteError::NoRoom)?;
            }
            let mut header = log::segment_record(self.segment, self.previous, false);
            record::mark_first(&mut header);
            skipped = header.len();
            header.append(&mut bytes);
            bytes = header;
        } else {
            record::mark_first(&mut bytes[..first]);
        }
        let failed = |e| WriteError::Failed(DiskError::new("write", self.path(), e));
        crate::fault::point("commit/before-write");
        self.file.write_at(&bytes, self.end).map_err(failed)?;
        crate::fault::point("commit/before-sync");
        let failed = |e| WriteError::Failed(DiskError::new("sync", self.path(), e));
        self.file.sync().map_err(failed)?;
        let at = Position { segment: self.segment, offset: place::short(self.end + skipped as u64) };
        self.end += bytes.len() as u64;
        if self.end > self.size / 2 {
            self.start_spare();
        }
        Ok(at)
    }

    /// Writes records as a commit. Takes them into the index when they are on the disk.
    pub(crate) fn write_staged(&mut self, staged: Staged, shared: &Shared) -> Result<(), WriteError> {
        let Staged { bytes, metas } = staged;
        let first = metas.first().map_or(0, |(_, _, len)| *len as usize);
        let last = metas.last().map_or(0, |(_, at, _)| *at as usize);
        let at = self.write(bytes, first, last)?;
        let mut index = shared.index_mut();
        for (meta, offset, len) in metas {
            let at = Position { segment: at.segment, offset: at.offset + offset };
            index.apply(meta, Place { at, len });
        }
        index.end = Some(self.end());
        Ok(())
    }

    /// The place of the next commit.
    pub(crate) fn end(&self) -> Position {
        Position { segment: self.segment, offset: place::short(self.end) }
    }

    /// Goes on with the file that has the segment's name now.
    pub(crate) fn reopen(&mut self) -> Result<(), DiskError> {
        let name = place::segment_name(self.segment);
        self.file = self.disk.open(&name, true).map_err(|e| DiskError::new("open", self.path(), e))?;
        Ok(())
    }

    fn path(&self) -> std::path::PathBuf {
        log::segment_path(self.disk.as_ref(), self.segment)
    }

    /// Goes on in the next segment.
    fn roll(&mut self) -> Result<(), DiskError> {
        let spare = self.take_spare()?;
        let next = self.segment + 1;
        let failed = |e| DiskError::new("open", log::segment_path(self.disk.as_ref(), next), e);
        // An earlier process may have failed to sync these zeros. They are synced with the commit.
        log::make_zero(spare.as_ref(), 0).map_err(failed)?;
        self.size = spare.size().map_err(failed)?;
        self.previous = self.end;
        (self.file, self.segment, self.end) = (spare, next, 0);
        Ok(())
    }

    /// The next segment. It is made now if it was not made before.
    fn take_spare(&mut self) -> Made {
        match std::mem::replace(&mut self.spare, Spare::None) {
            Spare::Ready(file) => Ok(file),
            // An attempt that failed for want of room may succeed now.
            Spare::Making(thread) => match thread.join() {
                Ok(Ok(file)) => Ok(file),
                _ => self.make_spare(),
            },
            Spare::None => self.make_spare(),
        }
    }

    fn make_spare(&self) -> Made {
        let (disk, next) = (self.disk.as_ref(), self.segment + 1);
        log::make_segment(disk, LOG, next, bytes_of(self.options, next))
    }

    /// Makes the next segment beside the commits.
    fn start_spare(&mut self) {
        if !matches!(self.spare, Spare::None) {
            return;
        }
        let (disk, next, options) = (self.disk.clone(), self.segment + 1, self.options);
        let make = move || log::make_segment(disk.as_ref(), LOG, next, bytes_of(options, next));
        match std::thread::Builder::new().name("fulcrum-segment".into()).spawn(make) {
            Ok(thread) => self.spare = Spare::Making(thread),
            Err(error) => tracing::warn!(%error, "the next segment of the journal is not made ahead"),
        }
    }
}

impl Drop for Active {
    /// Nothing is written after the journal is closed.
    fn drop(&mut self) {
        if let Spare::Making(thread) = std::mem::replace(&mut self.spare, Spare::None) {
            let _ = thread.join();
        }
    }
}

/// A segment that was made ahead. `None` without its whole length: it is made again when it is needed.
fn open_spare(
    disk: &dyn Disk,
    options: Options,
    segment: u32,
) -> Result<Option<Box<dyn DiskFile>>, DiskError> {
    let name = place::segment_name(segment);
    let failed = |e| DiskError::new("open", disk.path(&name), e);
    let file = disk.open(&name, true).map_err(failed)?;
    let size = file.size().map_err(failed)?;
    Ok((size >= bytes_of(options, segment).min(FIRST_BYTES)).then_some(file))
}

fn bytes_of(options: Options, segment: u32) -> u64 {
    let doubled = FIRST_BYTES.checked_shl(segment.saturating_sub(1).min(20)).unwrap_or(u64::MAX);
    doubled.min(options.segment_bytes)
}
