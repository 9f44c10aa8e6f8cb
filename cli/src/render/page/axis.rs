//! The axis of time of a run: idle times are shortened, so that a pivot of a minute and a rollback a week
//! later fit one picture.

use fulcrum_engine::state::Timestamp;
use std::time::Duration;

/// An idle time is shortened if it is longer than this, and than [`IDLE_SHARE_MAX`] of the time at work.
const IDLE_MAX: Duration = Duration::from_millis(1500);
const IDLE_SHARE_MAX: f64 = 0.15;
/// The width of a shortened idle time, in percent of the axis, and of all of them together.
const GAP_WIDTH: f64 = 5.0;
const GAPS_WIDTH_MAX: f64 = 40.0;

/// Where instants are, in percent of the width.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq)]
struct Piece {
    from: Timestamp,
    to: Timestamp,
    at: f64,
    width: f64,
    gap: bool,
}

/// An idle time that is drawn shorter than it was.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gap {
    /// Where its middle is, in percent.
    pub(super) at: f64,
    /// How long it was.
    pub(super) idle: Duration,
}

impl Axis {
    /// The axis of these times at work, in any order. They may overlap.
    pub(super) fn new(times: impl IntoIterator<Item = (Timestamp, Timestamp)>) -> Self {
        let mut work: Vec<(Timestamp, Timestamp)> = Vec::new();
        let mut times: Vec<_> = times.into_iter().map(|(from, to)| (from, to.max(from))).collect();
        times.sort();
        for (from, to) in times {
            match work.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => work.push((from, to)),
            }
        }
        let busy: Duration = work.iter().map(|(from, to)| to.since(*from)).sum();
        let long = IDLE_MAX.max(busy.mul_f64(IDLE_SHARE_MAX));
        Self::of(joined(work, long))
    }

    /// The axis of these times at work, with a gap between each and the next.
    fn of(work: Vec<(Timestamp, Timestamp)>) -> Self {
        let busy: f64 = work.iter().map(|(from, to)| to.since(*from).as_secs_f64()).sum();
        let gaps = work.len().saturating_sub(1);
        let gap = GAP_WIDTH.min(GAPS_WIDTH_MAX / gaps.max(1) as f64);
        let room = 100.0 - gap * gaps as f64;
        let even = room / work.len().max(1) as f64;
        let mut pieces: Vec<Piece> = Vec::new();
        let mut at = 0.0;
        for (from, to) in work {
            if let Some(before) = pieces.last().map(|piece| piece.to) {
                pieces.push(Piece { from: before, to: from, at, width: gap, gap: true });
                at += gap;
            }
            let share = to.since(from).as_secs_f64() / busy * room;
            let width = if share.is_finite() { share } else { even };
            pieces.push(Piece { from, to, at, width, gap: false });
            at += width;
        }
        Self { pieces }
    }

    /// Where an instant is.
    pub(super) fn at(&self, time: Timestamp) -> f64 {
        let Some(piece) = self.pieces.iter().find(|piece| time <= piece.to).or(self.pieces.last()) else {
            return 0.0;
        };
        let whole = piece.to.since(piece.from).as_secs_f64();
        let share = if whole > 0.0 { time.since(piece.from).as_secs_f64() / whole } else { 0.0 };
        piece.at + piece.width * share.clamp(0.0, 1.0)
    }

    /// The idle times that are shortened.
    pub(super) fn gaps(&self) -> impl Iterator<Item = Gap> {
        let gap = |piece: &Piece| Gap { at: piece.at + piece.width / 2.0, idle: piece.to.since(piece.from) };
        self.pieces.iter().filter(|piece| piece.gap).map(gap)
    }
}

/// Joins times at work if no more than `long` is between them.
fn joined(work: Vec<(Timestamp, Timestamp)>, long: Duration) -> Vec<(Timestamp, Timestamp)> {
    let mut joined: Vec<(Timestamp, Timestamp)> = Vec::new();
    for (from, to) in work {
        match joined.last_mut() {
            Some(last) if from.since(last.1) <= long => last.1 = to,
            _ => joined.push((from, to)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_week_between_two_minutes_is_a_gap() {
        let week = 7 * 86400;
        let axis = Axis::new([
            (time(20), time(60)),
            (time(week), time(week + 30)),
            (time(0), time(30)),
            (time(week + 31), time(week + 61)),
        ]);
        let gaps: Vec<Gap> = axis.gaps().collect();
        assert_eq!(gaps.len(), 1);
        assert_eq!(gaps[0].idle, Duration::from_secs(week - 60));
        let places = [0, 30, 60, week, week + 61].map(|seconds| axis.at(time(seconds)));
        assert_eq!((places[0], axis.at(time(week * 2))), (0.0, 100.0));
        assert!(places.is_sorted() && (places[3] - places[2] - GAP_WIDTH).abs() < 1e-9, "{places:?}");
    }

    #[test]
    fn no_time_and_no_length_have_a_place() {
        assert_eq!(Axis::new([]).at(time(5)), 0.0);
        let axis = Axis::new([(time(5), time(5))]);
        assert!((0.0..=100.0).contains(&axis.at(time(5))));
        let many = Axis::new((0..100).map(|n| (time(n * 1000), time(n * 1000 + 1))));
        assert!((many.at(time(99_001)) - 100.0).abs() < 1e-6);
    }
}
