//! Every length of time in a rehearsal. How fast the simulated cluster itself is: [`crate::Pace`].
//!
//! Both are scaled alike: what takes a real node a second takes a few milliseconds here, and what must
//! be longer than something else still is.

use fulcrum_steps::timeouts::Timeouts;
use std::time::Duration;

/// How often the simulated cluster moves. Twice what `Pace` has by itself: half of what a rehearsal costs is that,
/// and `--crash` has many clusters side by side.
pub(super) const TICK: Duration = Duration::from_millis(4);
/// How often a wait looks again.
pub const POLL: Duration = Duration::from_millis(4);
/// The longest that anything may take which takes milliseconds when the machine is not busy.
pub const SOON: Duration = Duration::from_secs(20);
/// The longest that one whole case may take: a process that is broken, the run taken up, the way back.
pub(super) const CASE_WITHIN: Duration = Duration::from_secs(90);
/// How often the API is asked during a tour.
pub(super) const PULSE: Duration = Duration::from_millis(2);
/// How long it is asked before the pivot, between, and after the way back.
pub(super) const QUIET: Duration = Duration::from_millis(100);
/// How long the API server is kept from running where a case says that it is away: longer than leaders live
/// without it (`Intervals::renew_deadline`), so that they end too.
pub(super) const API_AWAY: Duration = Duration::from_millis(60);
/// How long the new API server is watched after the switch.
pub(super) const SOAK: Duration = Duration::from_millis(20);

/// How patient steps are with a simulated cluster.
pub fn timeouts() -> Timeouts {
    Timeouts {
        poll: POLL,
        // Leaders renew every 8 ms (`Intervals::lease_retry`).
        lease_quiet: POLL * 5,
        // Candidates look as often as leaders renew, which is as soon as a wait looks again.
        candidate: POLL * 2,
        looked: Duration::ZERO,
        drain: POLL * 4,
        drain_alone: POLL * 2,
        handshake: POLL * 3,
        held: POLL * 10,
        // In proportion it would be as long as a busy machine lets the simulated kubelet wait.
        hold: POLL * 50,
        goodbye: POLL * 2,
        settle: POLL * 6,
        bridge: SOON / 4,
        api: POLL * 25,
    }
}
