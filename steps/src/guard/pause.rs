//! The pauses of a guard whose attempts fail one after the other: a full disk stays full for a while.

use std::time::Duration;

/// The longest pause is this many times the first one.
const LONGEST: u32 = 30;

/// The pause after an attempt.
#[derive(Debug)]
pub(super) struct Pause {
    first: Duration,
    next: Duration,
}

impl Pause {
    pub(super) fn new(first: Duration) -> Self {
        Self { first, next: first }
    }

    /// After an attempt that has not failed.
    pub(super) fn after_success(&mut self) -> Duration {
        self.next = self.first;
        self.first
    }

    /// After an attempt that has failed. One that had gone well for long is the first to fail.
    pub(super) fn after_failure(&mut self, went_on_for: Duration) -> Duration {
        let longest = self.first * LONGEST;
        if went_on_for > longest {
            self.next = self.first;
        }
        let pause = self.next;
        self.next = (pause * 2).min(longest);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_failing_is_tried_less_and_less_often() {
        let seconds = Duration::from_secs;
        let mut pause = Pause::new(seconds(1));
        let pauses: Vec<u64> = (0..8).map(|_| pause.after_failure(seconds(0)).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(pause.after_failure(seconds(3600)), seconds(1), "it had watched for an hour");
        assert_eq!(pause.after_failure(seconds(0)), seconds(2));
        assert_eq!(pause.after_success(), seconds(1));
        assert_eq!(pause.after_failure(seconds(0)), seconds(1));
    }
}
