//! [format]: crate::format
#![doc = include_str!("../README.md")]
//!
//! # Promises
//!
//! * [`RunWriter::append`] and [`Journal::begin`] return when their entries and blobs are on the disk, all of
//!   them. If they fail, either all of them or none are there.
//! * Reading never returns an entry that was not appended, and never leaves one out in silence. Damage or a
//!   missing entry is an error that names the run, the number of the entry, and the place in the file.
//! * Damage to one run hides no other.
//! * After a failed sync the journal claims nothing any more: it is poisoned until it is opened again.
//! * A run that is at work can be ended on a disk that is full: only commits that end a run take the last
//!   room.
//!
//! # Invariants
//!
//! For every run, at every instant, on the disk:
//!
//! ```text
//! entries of the run            = 1 ..= header.head.seq, without a gap
//! entry[1].prev                 = genesis(run, kind, created, after)
//! entry[n].prev                 = entry[n-1].hash
//! entry[n].hash                 = link(run, n, prev, time, over, blobs, body)
//! ```
//!
//! # Assumptions about the disk
//!
//! * A power cut preserves everything for which `fsync`, or `fdatasync` for the content of a file, has
//!   returned.
//! * An aligned piece of 512 bytes is written as a whole or not at all.
//! * A rename within one file system is atomic.
//! * Bytes may change behind our back. Reading finds such a change, and does not repair it.
//! * Only this user writes below the state directory, and only while the lock is held.

#[cfg(doc)]
#[doc = include_str!("../docs/format.md")]
pub mod format {}

// The names of runs and entries.
mod id;

// Entries and headers, as values.
mod entry;

// The links between entries.
mod chain;

// A record of the log, as a line of text.
mod record;

// A caller's commit, as records.
mod commit;

// The data of a record, without its body.
mod meta;

// Places in the log.
mod place;

// The index of places.
mod index;

// The only I/O seam: a directory with files.
mod disk;

// A disk in memory, with faults on request.
mod memory;

// The records of a segment, and the places without one.
mod scan;

// Segments, and reading them in order.
mod log;

// The end of the log, where commits are written.
mod active;

// Large blobs.
mod blob;

// Removes runs from the log.
mod prune;

// The earlier index as a file, and states in sled.
mod checkpoint;

// Journals of format 1.
mod carry;

// Panics of sled as errors.
mod panics;

// Places to die at, for tests.
pub mod fault;

pub mod fsync;

#[cfg(feature = "testing")]
pub mod testing;

// The state directory: its owner and its format.
mod dir;

// One process at a time, and its name.
mod lock;

// One writer of a run at a time.
mod claim;

// One thread that commits in groups.
mod writer;

// The writer's handle: open, begin, append, prune.
mod journal;

// How a journal is opened.
mod options;

// The seam to a database.
mod store;

// The writer of one run.
mod run_writer;

// The journal in a directory, and the way to its thread.
mod inner;

// The repairs of an opening.
mod recover;

// The knowledge of a journal that writer and readers share.
mod shared;

// The reader's handle.
mod reader;

// What another process has written, as an event.
mod changes;

// Reads a run, with checks.
mod entries;

// The whole log, record by record.
mod records;

mod error;

pub use changes::Changes;
pub use commit::Commit;
pub use disk::Disk;
pub use disk::DiskFile;
pub use entries::Entries;
pub use entry::Entry;
pub use entry::Head;
pub use entry::MAX_BODY_BYTES;
pub use entry::MAX_INLINE_BLOB_BYTES;
pub use entry::MAX_KIND_BYTES;
pub use entry::Predecessor;
pub use entry::RunHeader;
pub use error::AppendError;
pub use error::DiskError;
pub use error::OpenError;
pub use error::ReadError;
pub use id::Digest;
pub use id::ParseIdError;
pub use id::RunId;
pub use id::Timestamp;
pub use index::Damage;
pub use journal::Journal;
pub use lock::LockHolder;
pub use lock::lock_holder;
pub use memory::MemoryDisk;
pub use options::CommitOn;
pub use options::Options;
pub use reader::Reader;
pub use records::Pruned;
pub use records::Record;
pub use records::Told;
pub use run_writer::RunWriter;
pub use store::Answer;
pub use store::Batch;
pub use store::Lease;
pub use store::Store;
pub use store::StoreError;
