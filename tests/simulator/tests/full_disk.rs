//! A boot with a full file system: the manifests come back without a new block.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

#[path = "../../harness/mod.rs"]
mod harness;

use fulcrum_engine::Silent;
use fulcrum_simulator::rehearsal::{SOON, Setup, SimulatedSite, Version, intervals};
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::{Carried, Guard, GuardEnv, boot, carry_on};
use fulcrum_steps::handover::standby::Standby;
use fulcrum_steps::unit::HOLD_OFF;
use std::io::ErrorKind;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A file system of its own, which can be filled. `None` if this process may not mount one.
struct Disk(TempDir);

impl Disk {
    fn new() -> Option<Disk> {
        let dir = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "none"]).arg(dir.path()).status();
        mounted.is_ok_and(|status| status.success()).then_some(Disk(dir))
    }

    /// Writes until nothing more fits, by smaller and smaller pieces.
    fn fill(&self) {
        for (number, bytes) in [1 << 20, 1 << 16, 1 << 12].into_iter().enumerate() {
            let mut piece = 0;
            while std::fs::write(self.0.path().join(format!("filler-{number}-{piece}")), vec![0; bytes])
                .is_ok()
            {
                piece += 1;
            }
        }
        let refused = std::fs::write(self.0.path().join("one-more"), "x").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::StorageFull);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

const PATIENT: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_with_a_full_disk_brings_the_control_plane_back() {
    let Some(disk) = Disk::new() else { return harness::skipped("no file system can be mounted") };
    let world =
        SimulatedSite::boot(&Setup::built_in(Version::DEFAULT).unwrap(), disk.0.path()).await.unwrap();
    let run = world.pivot(&world.journal().unwrap(), Arc::new(Silent)).await.unwrap().run;
    world.is_self_hosted().await.unwrap();
    let standby = Standby::of(&GuardEnv::state_dir(&world), run);
    let guard = Guard {
        env: &world,
        intervals: intervals(PATIENT),
        roll_certificates: false,
        stop: CancellationToken::new(),
    };
    let laid_by = async {
        let there = || Component::ALL.iter().all(|component| standby.get(*component).unwrap().is_some());
        while !there() || !standby.is_laid_by(&world.manifests()).unwrap() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        ended = guard.run(|| {}) => panic!("the guard has ended: {ended:?}"),
        waited = tokio::time::timeout(SOON, laid_by) => waited.expect("spares beside the manifests"),
    }
    world.is_self_hosted().await.unwrap();
    disk.fill();
    for _ in 0..2 {
        world.simulator.power_off();
        let start = boot(&world, HOLD_OFF).await.unwrap();
        assert!(world.manifests().file("kube-apiserver.yaml").exists());
        world.simulator.power_on();
        // The journal has room laid by for a run.
        let carried = carry_on(&world, &start, &intervals(PATIENT), &CancellationToken::new()).await.unwrap();
        assert!(matches!(carried, Carried::Ended(_)), "{carried:?}");
        world.is_self_hosted().await.unwrap();
    }
}
