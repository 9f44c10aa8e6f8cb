//! Times for people and programs.

use fulcrum_engine::state::Timestamp;

/// RFC 3339, UTC, to the millisecond.
pub(super) fn rfc3339(time: Timestamp) -> String {
    let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |time| format!("{time:.3}"))
}
