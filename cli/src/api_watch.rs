//! Asks the API again and again while a run goes on, as a client with the same kubeconfig would. The counts are
//! for people, and no run fails of them.

use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How often the API is asked.
const EVERY: Duration = Duration::from_millis(500);
/// What takes longer counts as not answered.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What has come of the questions so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) slowest: Duration,
}

impl Counts {
    /// In words, as a line of its own.
    pub(crate) fn words(&self) -> String {
        match (self.asked, self.answered) {
            (0, _) => "API: not asked yet".to_owned(),
            (asked, 0) => format!("API: answered 0 of {asked}"),
            (asked, answered) => {
                format!("API: answered {answered} of {asked}, slowest {} ms", self.slowest.as_millis())
            }
        }
    }
}

/// Asks until it is dropped, and tells the counts after each question.
pub(crate) async fn watch<F: Future<Output = bool>>(ask: impl Fn() -> F, mut tell: impl FnMut(&Counts)) {
    let mut counts = Counts::default();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let began = Instant::now();
        let answered = timeout(ANSWER_WITHIN, ask()).await.unwrap_or(false);
        counts.asked += 1;
        if answered {
            counts.answered += 1;
            counts.slowest = counts.slowest.max(began.elapsed());
        }
        tell(&counts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// An answer that never comes, and one that says no, count as asked.
    #[tokio::test(start_paused = true)]
    async fn every_question_is_counted_and_none_waits_for_ever() {
        let asked = AtomicU64::new(0);
        let ask = || async {
            match asked.fetch_add(1, Ordering::Relaxed) {
                1 => std::future::pending().await,
                2 => false,
                number => {
                    tokio::time::sleep(Duration::from_millis(number * 10)).await;
                    true
                }
            }
        };
        let mut last = Counts::default();
        let watching = watch(ask, |counts| last = counts.clone());
        assert!(timeout(Duration::from_millis(4100), watching).await.is_err());
        let expected = Counts { asked: 6, answered: 4, slowest: Duration::from_millis(50) };
        assert_eq!(last, expected);
        assert_eq!(last.words(), "API: answered 4 of 6, slowest 50 ms");
        assert_eq!(Counts { asked: 3, ..Counts::default() }.words(), "API: answered 0 of 3");
    }
}
