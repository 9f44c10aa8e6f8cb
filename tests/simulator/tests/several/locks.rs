//! One run at a time: who has the lock, who waits for it, and who takes it.

use super::{Nodes, of, outcome, reason, results, still_waits};
use fulcrum_engine::{Ending, Outcome, Silent};
use fulcrum_simulator::rehearsal::SOON;
use fulcrum_simulator::{ApiFault, Outcome as Fate};
use fulcrum_steps::check::Check;
use fulcrum_steps::cluster::{LOCK_LEASE, Lock};
use fulcrum_steps::preflight::Level;
use std::sync::Arc;
use std::time::Duration;

impl Nodes {
    /// A pivot of the first node that is paused before its cuts, and the run of another node that has taken its lock.
    async fn robbed(&self) -> (Ending, Lock) {
        let paused = self.paused(0, "await-ready/kube-scheduler").await;
        (paused, self.rob().await)
    }

    /// The run of another node, which has taken the lock from whichever run had it.
    async fn rob(&self) -> Lock {
        let (cluster, thief) = (&self.sites[1].cluster, Lock::of("node-2", "r"));
        let holder = cluster.lock_holder().await.unwrap().unwrap();
        thief.take_from(cluster, &holder).await.unwrap();
        thief
    }
}

/// A person takes a run for stuck that waits for another node, and goes back elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_lock_is_taken_while_it_waits_for_another_node_cuts_nothing() {
    let nodes = Nodes::boot().await;
    let site = &nodes.sites[0];
    let mut resumed = nodes.held_up().await;
    let thief = nodes.rob().await;
    nodes.sites[2].machine().power_on();
    still_waits(&mut resumed, "its pods go when the other run is done").await;
    assert_eq!(site.manifests().names().unwrap().len(), site.before.len(), "nothing was cut");
    thief.release(&site.cluster).await.unwrap();
    let ending = resumed.await.unwrap();
    assert_eq!(outcome(&ending), Some(Outcome::RolledBack), "{}", reason(&ending));
    assert!(reason(&ending).contains("has taken the lock"), "{}", reason(&ending));
    site.is_as_before().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_is_waited_for_and_taken_from_a_node_that_has_gone() {
    let nodes = Nodes::boot().await;
    let site = &nodes.sites[0];
    Lock::of("node-9", "r").take(&site.cluster).await.unwrap();
    let run = nodes.pivot(0).await;
    nodes.rollback(0, run).await;

    let other = Lock::of("node-2", "r");
    other.take(&site.cluster).await.unwrap();
    let lock = results(&site.preflight_input()).await;
    let lock = of(&lock, Check::Lock);
    assert_eq!(lock.level, Level::Warn, "{lock:?}");
    assert!(lock.seen.contains("node-2/r"), "{lock:?}");
    let mut pivot = std::pin::pin!(site.pivot(&nodes.journals[0], Arc::new(Silent)));
    let waits = tokio::time::timeout(Duration::from_millis(500), &mut pivot).await;
    assert!(waits.is_err(), "it waits for the other run");
    other.release(&site.cluster).await.unwrap();
    let ending = pivot.await.unwrap();
    assert_eq!(outcome(&ending), Some(Outcome::Completed), "{}", reason(&ending));
    nodes.rollback(0, ending.run).await;
    site.is_as_before().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_lock_was_taken_cuts_nothing() {
    let nodes = Nodes::boot().await;
    let (site, journal) = (&nodes.sites[0], &nodes.journals[0]);
    let (paused, thief) = nodes.robbed().await;
    let mut resumed = std::pin::pin!(site.resume(journal, paused.run));
    still_waits(&mut resumed, "its pods go when the other run is done").await;
    let files: Vec<_> = site.manifests().names().unwrap();
    assert_eq!(files.len(), site.before.len(), "nothing was cut: {files:?}");
    thief.release(&site.cluster).await.unwrap();
    let ending = resumed.await.unwrap();
    assert_eq!(outcome(&ending), Some(Outcome::RolledBack), "{}", reason(&ending));
    assert!(reason(&ending).contains("has taken the lock"), "{}", reason(&ending));
    site.is_as_before().await.unwrap();
    assert!(site.cluster.lease(LOCK_LEASE).await.unwrap().is_none());
}

/// Nobody else is at work then.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_lock_was_taken_goes_on_when_the_other_run_has_ended() {
    let nodes = Nodes::boot().await;
    let (site, journal) = (&nodes.sites[0], &nodes.journals[0]);
    let (paused, thief) = nodes.robbed().await;
    thief.release(&site.cluster).await.unwrap();
    let ending = site.resume(journal, paused.run).await.unwrap();
    assert_eq!(outcome(&ending), Some(Outcome::Completed), "{}", reason(&ending));
    site.is_self_hosted().await.unwrap();
    assert!(site.cluster.lease(LOCK_LEASE).await.unwrap().is_none());
}

/// The run of a node that is still in the cluster, and of a machine that had this one's name: this journal is new.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_nobody_will_let_go_of_is_taken_where_a_person_says_so() {
    let mut nodes = Nodes::boot().await;
    let cases = [
        ("node-2", Level::Warn, "waits"),
        ("node-9", Level::Warn, "takes the lock over"),
        ("node-1", Level::Refuse, "--take-lock"),
    ];
    for (node, level, says) in cases {
        let (site, lost) = (&nodes.sites[0], Lock::of(node, "lost"));
        lost.take(&site.cluster).await.unwrap();
        let asked = results(&site.preflight_input()).await;
        let asked = of(&asked, Check::Lock);
        assert!(asked.level == level && asked.seen.contains(&format!("{node}/lost")), "{asked:?}");
        assert!(asked.to_string().contains(says), "{asked}");
        lost.release(&site.cluster).await.unwrap();
    }
    let told = nodes.sites.remove(0).taking_the_lock();
    nodes.sites.insert(0, told);
    for node in ["node-2", "node-1"] {
        Lock::of(node, "lost").take(&nodes.sites[0].cluster).await.unwrap();
        let run = nodes.pivot(0).await;
        assert!(nodes.sites[0].cluster.lease(LOCK_LEASE).await.unwrap().is_none(), "its run has let go");
        nodes.rollback(0, run).await;
    }
    nodes.sites[0].is_as_before().await.unwrap();
}

/// An edit that needed a person, say, and whose lock could not be given back because the API was down.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_another_run_of_this_node_has_left_does_not_stop_the_way_back() {
    let nodes = Nodes::boot().await;
    let run = nodes.pivot(0).await;
    Lock::of("node-1", "an-edit").take(&nodes.sites[0].cluster).await.unwrap();
    nodes.rollback(0, run).await;
    nodes.sites[0].is_as_before().await.unwrap();
}

/// A takeover keeps the Lease. What its former holder has begun to delete is another run's by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_comes_late_leaves_the_lock_to_the_run_that_has_taken_it() {
    let nodes = Nodes::boot().await;
    let (site, late, thief) = (&nodes.sites[0], Lock::of("node-1", "a"), Lock::of("node-2", "b"));
    late.take(&site.cluster).await.unwrap();
    let outcome = Fate::Slow(Duration::from_millis(300));
    let path = LOCK_LEASE.to_owned();
    site.machine().inject(ApiFault { method: Some("DELETE"), path, times: 1, outcome });
    let (released, taken) = tokio::join!(late.release(&site.cluster), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        thief.take_from(&site.cluster, "node-1/a").await
    });
    released.unwrap();
    taken.unwrap();
    assert_eq!(site.cluster.lock_holder().await.unwrap().as_deref(), Some("node-2/b"));
}

/// The way back began with the API down, and another machine's run has the lock that nobody will go on with.
#[tokio::test(flavor = "multi_thread")]
async fn a_way_back_takes_the_lock_from_a_node_that_has_gone() {
    let nodes = Nodes::boot().await;
    let run = nodes.pivot(0).await;
    let site = &nodes.sites[0];
    Lock::of("node-9", "lost").take(&site.cluster).await.unwrap();
    // For longer than the way back waits for an API before it restores the files.
    let (method, path, outcome) = (Some("POST"), "leases".to_owned(), Fate::Timeout);
    site.machine().inject(ApiFault { method, path, times: 60, outcome });
    tokio::time::timeout(SOON, nodes.rollback(0, run)).await.unwrap();
}
