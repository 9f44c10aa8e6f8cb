//! The hand-over without a failed request, there and back, against the rehearsal cluster.

use crate::support::setup;
use fulcrum_engine::{Outcome, Silent};
use fulcrum_steps::drill::{World, there_and_back};
use fulcrum_steps::site::Handover;
use std::sync::Arc;

/// The exact way back included: manifests byte for byte, and nothing left in the cluster.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_there_or_back() {
    for handover in [Handover::Steer, Handover::Bridge] {
        let setup = setup().with_handover(handover);
        let dir = tempfile::tempdir().unwrap();
        let world = World::boot(&setup, dir.path()).await.unwrap();
        let summary = there_and_back(&world, &setup, Arc::new(Silent)).await.unwrap();
        assert_eq!(summary.difference, None, "{handover:?}: {:?} {:?}", summary.pivot, summary.rollback);
        assert_eq!(summary.pivot.0, Some(Outcome::Completed), "{handover:?}: {}", summary.pivot.1);
        for asked in &summary.requests {
            assert_eq!(asked.failed, [].into(), "{handover:?}, {}, of {}", asked.phase, asked.requests);
        }
    }
}
