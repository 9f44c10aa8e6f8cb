//! Times for people and programs.

use fulcrum_engine::state::Timestamp;
use std::time::Duration;

/// RFC 3339, UTC, to the millisecond.
pub(super) fn rfc3339(time: Timestamp) -> String {
    written(time, |time| format!("{time:.3}"))
}

/// `2026-11-29 07:41:31 UTC`.
pub(super) fn for_people(time: Timestamp) -> String {
    written(time, |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

fn written(time: Timestamp, with: impl FnOnce(jiff::Timestamp) -> String) -> String {
    let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), with)
}

/// As people say it: `0.2 s`, `12.3 s`, `5 min 12 s`, `3 h 4 min`, `2 d 3 h`.
pub(super) fn took(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86400, seconds % 86400 / 3600),
    }
}
