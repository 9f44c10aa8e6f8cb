//! Which runs are shown.

use super::{Actor, Story};
use fulcrum_engine::state::Timestamp;
use jiff::tz::TimeZone;
use jiff::{Span, Zoned, civil};

/// What a run must be to be shown. Without any of these every run is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// Begun, or changed, since then.
    pub(crate) since: Option<Timestamp>,
    /// Worked on by an actor of this name.
    pub(crate) actor: Option<String>,
    /// Did not do what it was for.
    pub(crate) failed: bool,
}

impl Filter {
    pub(crate) fn takes(&self, story: &Story) -> bool {
        self.since.is_none_or(|since| story.last >= since)
            && self
                .actor
                .as_ref()
                .is_none_or(|name| story.sessions().any(|one| Actor::of(one).is_called(name)))
            && (!self.failed || story.failed())
    }
}

/// The instant that a person names: `2026-11-01`, `2026-11-01T10:00`, RFC 3339, or a time before `now`, as in
/// `90m` or `7d`. What says no time zone is UTC, as all times that are shown.
///
/// # Errors
/// When the text is none of these.
pub(crate) fn since(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let micros = |time: jiff::Timestamp| {
        u64::try_from(time.as_microsecond()).map(Timestamp::from_micros).map_err(|_| before_1970())
    };
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return micros(time);
    }
    let date_time = text.parse::<civil::DateTime>();
    if let Ok(time) = date_time.and_then(|time| time.to_zoned(TimeZone::UTC)) {
        return micros(time.timestamp());
    }
    let ago = text.parse::<Span>().and_then(|span| now.checked_sub(span.abs()));
    ago.map_err(|_| wrong(text)).and_then(|time| micros(time.timestamp()))
}

fn before_1970() -> String {
    "this is before 1970".to_owned()
}

fn wrong(text: &str) -> String {
    format!("`{text}` names no time; write e.g. 2026-11-01, 2026-11-01T10:00, 7d or 90m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_an_instant_or_so_long_ago() {
        let now: Zoned = "2026-11-29T12:00:00[UTC]".parse().unwrap();
        let seconds = |text| since(text, &now).map(|time| time.as_micros() / 1_000_000);
        let noon = now.timestamp().as_second() as u64;
        for (text, before) in [
            ("7d", 7 * 86400),
            ("90m", 5400),
            ("1h 30m", 5400),
            ("2026-11-29", 43200),
            ("2026-11-29T11:00", 3600),
            ("2026-11-29 11:00:00", 3600),
            ("2026-11-29T12:00:00+02:00", 7200),
            ("2026-11-29T11:59:59Z", 1),
        ] {
            assert_eq!(seconds(text), Ok(noon - before), "{text}");
        }
        for text in ["", "yesterday", "2026-13-01", "7", "1960-01-01"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!(seconds("noon").unwrap_err().contains("2026-11-01T10:00"));
    }
}
