//! The wall clock, as waits see it.

use fulcrum_state::Timestamp;
#[cfg(feature = "testing")]
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

/// The node's clock. The checks of [`testing`](crate::testing) set theirs forward: no test waits for a week.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock {
    /// Microseconds before the node's clock.
    #[cfg(feature = "testing")]
    ahead: Arc<AtomicU64>,
}

impl Clock {
    /// The time now.
    pub(crate) fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        #[cfg(feature = "testing")]
        let now = Timestamp::from_micros(now.as_micros().saturating_add(self.ahead.load(SeqCst)));
        now
    }

    /// Sets the clock forward, so that it is at least this time.
    #[cfg(feature = "testing")]
    pub(crate) fn forward_to(&self, time: Timestamp) {
        self.ahead.fetch_max(time.as_micros().saturating_sub(Timestamp::now().as_micros()), SeqCst);
    }
}
