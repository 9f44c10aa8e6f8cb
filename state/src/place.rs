//! Places in the log, and the names of its files.

use serde::Deserialize;
use serde::Serialize;

/// The directory of the segments.
pub(crate) const LOG: &str = "log";

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

/// The place of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: Position,
    pub(crate) len: u32,
}

/// A part of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extent {
    pub(crate) segment: u32,
    pub(crate) from: u32,
    pub(crate) to: u32,
}

/// The name of a segment.
pub(crate) fn segment_name(segment: u32) -> String {
    format!("{LOG}/{segment:010}.log")
}

/// Segments are shorter than 4 GiB.
pub(crate) fn short(offset: u64) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}
