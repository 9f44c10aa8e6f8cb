//! The journal of fulcrum: what a run did, in order, on the disk before anything depends on it.
//!
//! It is for one process on one node that appends small entries and must find every acknowledged one
//! after a kill or a power cut. It is not a database for queries, not a log shared by processes, and it
//! knows nothing of steps, plans or Kubernetes: a body is text.
//!
//! # Promises
//!
//! * [`Journal::append`] and [`Journal::begin`] return when their entries are on the disk, all of them;
//!   if they fail, either all of them or none are there.
//! * [`Journal::put_blob`] returns when the blob and its name are on the disk.
//! * Reading never returns an entry that was not appended, and never leaves one out in silence: what is
//!   damaged, missing or too new is an error that names the run and the number of the entry.
//! * After a failed commit nothing is claimed any more: the journal is poisoned until it is opened again.
//!
//! # Invariants
//!
//! For every run, at every instant, on the disk:
//!
//! ```text
//! entries of the run            = 1 ..= header.head.seq, without a gap
//! entry[1].prev                 = genesis(run, kind, created)
//! entry[n].prev                 = entry[n-1].hash
//! entry[n].hash                 = link(run, n, prev, time, body)
//! header.head.hash              = entry[header.head.seq].hash
//! witness.head.seq             <= header.head.seq          (else acknowledged entries are gone)
//! length of an encoded entry   <= 4 KiB
//! ```
//!
//! # What is assumed of the disk
//!
//! * What `fsync`, or `fdatasync` for the content of a file, has returned for is kept through a power cut.
//! * A rename within one directory is atomic.
//! * Bytes may change behind our back; this is found when they are read, not repaired.
//! * Nobody else writes below the state directory while the lock is held.

// What a run and an entry are called.
mod id;

// What is kept: entries and headers as values, and as bytes.
mod entry;

// How entries hang together.
mod chain;

// The only I/O seam: what a place that keeps entries must do, and what may go wrong there.
mod store;

pub mod conformance;

// The place that keeps entries on the disk: sled, and the facts that it needs.
mod sled_store;

// Panics of sled as errors.
mod panics;

// The heads that were acknowledged, beside the database.
mod witness;

// Which entry of a damaged log is the damaged one; the log as it was found; what can be read of it.
mod salvage;

mod evidence;

mod salvaged_store;

// Large values by their hash.
mod blob;

// Which of them nobody names any more.
mod prune;

// The place that keeps entries in memory, with faults on request.
mod memory;

// Places to die at, for tests.
pub mod fault;

pub mod fsync;

// One process at a time, and who it is.
mod lock;

// One thread that commits in groups.
mod writer;

// The format of the directory.
mod format;

// The handle: open, append, read.
mod journal;

// What a store has, against what its witness says.
mod reader;

// Reading a run, checked.
mod entries;

mod error;

pub use entries::Entries;
pub use entry::Entry;
pub use entry::Head;
pub use entry::MAX_ENTRY_BYTES;
pub use entry::MAX_KIND_BYTES;
pub use entry::RunHeader;
pub use error::AppendError;
pub use error::OpenError;
pub use error::ReadError;
pub use id::Digest;
pub use id::ParseIdError;
pub use id::RunId;
pub use id::Timestamp;
pub use journal::Journal;
pub use lock::LockHolder;
pub use lock::lock_holder;
pub use memory::MemoryStore;
pub use sled_store::SledStore;
pub use store::Batch;
pub use store::Store;
pub use store::StoreError;
