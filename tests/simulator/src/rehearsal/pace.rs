//! Every length of time in a rehearsal. [`crate::Pace`] has the speed of the simulated cluster itself.
//!
//! Both have one scale. What takes a real node a second takes a few milliseconds here, and what must be
//! longer than something else still is.

use fulcrum_steps::guard::Intervals;
use fulcrum_steps::timeouts::Timeouts;
use fulcrum_steps::unit::HOLD_OFF;
use std::time::Duration;

/// How often the simulated cluster moves: half as often as `Pace` has by itself. These moves are half of a
/// rehearsal's cost, and `--crash` has many clusters side by side.
pub(super) const TICK: Duration = Duration::from_millis(4);
/// How often a wait looks again.
pub const POLL: Duration = Duration::from_millis(4);
/// The longest that anything may take which takes milliseconds on an idle machine.
pub const SOON: Duration = Duration::from_secs(20);
/// The longest that one whole case may take: a process is broken, the run is taken up, the way back.
pub(super) const CASE_WITHIN: Duration = Duration::from_secs(90);
/// How often the API is asked during a tour.
pub(super) const PULSE: Duration = Duration::from_millis(2);
/// How long the requests go on before the pivot, between, and after the way back.
pub(super) const QUIET: Duration = Duration::from_millis(100);
/// How long the API server is kept from running where a case says that it is away. This is longer than
/// leaders live without it (`Pace::renew_deadline`). So they end too. A server that is cut off for so long is not
/// restarted: 15 s of a real node, whose kubelet waits for 80 s.
pub(super) const API_AWAY: Duration = Duration::from_millis(60);
/// How long the new API server is watched after the switch.
pub(super) const SOAK: Duration = Duration::from_millis(20);

/// The waiting times of a guard that is as patient as this, on a simulated cluster.
pub fn intervals(patience: Duration) -> Intervals {
    Intervals {
        patience,
        hold_off: HOLD_OFF,
        tick: POLL,
        ask: POLL * 5 / 2,
        study: POLL * 5,
        proof: POLL * 25,
        // Only tests of that have certificates, and set it.
        certificates: SOON * 10,
    }
}

/// The steps' waiting times on a simulated cluster.
pub fn timeouts() -> Timeouts {
    Timeouts {
        poll: POLL,
        // Leaders renew every 8 ms (`Intervals::lease_retry`).
        lease_quiet: POLL * 5,
        // Candidates look as often as leaders renew: as soon as a wait looks again.
        candidate: POLL * 2,
        looked: Duration::ZERO,
        drain: POLL * 4,
        drain_alone: POLL * 2,
        handshake: POLL * 3,
        held: POLL * 10,
        // In proportion it would be as long as a busy machine delays the simulated kubelet.
        hold: POLL * 50,
        hold_most: POLL * 100,
        goodbye: POLL * 20,
        settle: POLL * 6,
        bridge: SOON / 4,
        unschedulable: POLL * 50,
        // Longer than in proportion: a busy machine holds up a simulated process, too.
        unproven: POLL * 150,
        // `Pace::second`, where it is not set, and long enough for a pod's conditions, which have whole seconds.
        second: Duration::from_millis(1),
        ahead: POLL * 500,
        stand_still: POLL * 60,
        // As `second` of those setups in which two servers listen for long enough to be compared.
        shadow: POLL * 150,
        image: POLL * 50,
        api: POLL * 25,
        // `Pace::minute`.
        minute: POLL * 5,
    }
}
