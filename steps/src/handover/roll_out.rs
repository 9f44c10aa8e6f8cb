//! Attends several API servers that listen on this node: a roll-out is under way, and the pod that served so
//! far will go.

use super::hold_back::{HoldBack, LOOK_AGAIN};
use super::lasting::outdated_pod;
use super::line::Line;
use super::shadow::Shadow;
use crate::change;
use crate::component::Component;
use crate::host::{HostError, Listener, MARK_NEWCOMER, Process, Steering};
use crate::look::once;
use crate::site::Site;
use fulcrum_engine::StepError;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

const API: Component = Component::ApiServer;

/// Does for the clients what a pivot does at its cut, for as long as it is polled. It holds the endpoints of
/// `kubernetes`. The newer server gets the new connections once it has answered well for some time; this is
/// checked every `tick`. The older server's pod is deleted a little before the controller would do that: what clients
/// send to it is held back first. The kubelet may end a server within some 20 ms of being told, and nobody who hears of
/// it at that time holds clients back in time for certain.
///
/// Where somebody else deletes a pod, what clients send to its server is held back as soon as that is known.
///
/// With a `shadow` the newer server gets them only once its answers are those of the older one, too.
pub(crate) async fn attend(site: &Site, tick: Duration, shadow: Option<&Shadow>) -> Infallible {
    let (proof, going, switched) = Default::default();
    let roll_out = RollOut { site, tick, shadow, proof, going, switched };
    tokio::select! {
        never = roll_out.hold_endpoints() => never,
        never = roll_out.switch_when_proven() => never,
        never = roll_out.end_the_older() => never,
        never = roll_out.see_off_all() => never,
    }
}

/// Attends the API servers of this node for as long as `work` takes: what the guard does in a roll-out, for a
/// run that has the journal to itself meanwhile. The guard waits then.
pub(crate) async fn attended<T>(site: &Site, shadow: Option<&Shadow>, work: impl Future<Output = T>) -> T {
    let tick = site.timeouts.poll * TICK_POLLS;
    tokio::select! {
        done = work => done,
        never = attend(site, tick, shadow) => match never {},
        never = line_up(site, tick) => match never {},
    }
}

/// Keeps the servers lined up as they come and go.
async fn line_up(site: &Site, tick: Duration) -> Infallible {
    let mut line = Line::default();
    loop {
        if let Err(error) = line.look(site).await {
            tracing::debug!("{error}");
        }
        sleep(tick).await;
    }
}

struct RollOut<'a> {
    site: &'a Site,
    tick: Duration,
    shadow: Option<&'a Shadow>,
    proof: Mutex<Option<Proof>>,
    /// The pods that are to go, which takes a while.
    going: Mutex<BTreeSet<Option<String>>>,
    switched: Notify,
}

/// Two servers, of which the newer one answers well.
#[derive(Debug, Clone)]
struct Proof {
    pair: Pair,
    since: Instant,
    /// Since when new connections go to the newer one.
    switched: Option<Instant>,
}

/// This many ticks of good answers prove the newer server. The controller gives it 20 s from when it is
/// Ready, which it is by the answers of the older one before it serves.
const PROOF_TICKS: u32 = 5;
/// This many more with the clients, before the older one is told to go.
const CLIENT_TICKS: u32 = 3;
/// The guard's tick, counted in looks of a wait: a second on a real node.
const TICK_POLLS: u32 = 10;

/// Two servers that listen on the same address.
#[derive(Debug, Clone)]
struct Pair {
    old: Listener,
    new: Listener,
    group: Vec<Listener>,
}

impl Pair {
    /// Finds the oldest and the youngest.
    async fn look(site: &Site) -> Result<Option<Self>, HostError> {
        let all = site.node.host.listeners(site.port(API)).await?;
        let Some(old) = all.first().cloned() else { return Ok(None) };
        let group = old.group_of(&all);
        let new = group.last().filter(|new| new.process.pid != old.process.pid).cloned();
        Ok(new.map(|new| Self { old, new, group }))
    }

    /// Whether the newer server answers well.
    async fn answers(&self, site: &Site) -> Result<bool, StepError> {
        let is_new = |process: &Process| process.pid == self.new.process.pid;
        Ok(once(site.serves(API, Some(MARK_NEWCOMER), is_new).await)?.is_ok())
    }

    fn is(&self, other: &Self) -> bool {
        (self.old.inode, self.new.inode) == (other.old.inode, other.new.inode)
    }

    /// When the pod with this uid goes: the server that goes, then the server that stays.
    fn parted(&self, pod_uid: Option<&str>) -> Option<(&Listener, &Listener)> {
        [(&self.old, &self.new), (&self.new, &self.old)]
            .into_iter()
            .find(|(goes, _)| goes.process.pod_uid.as_deref() == pod_uid)
    }
}

impl RollOut<'_> {
    /// Holds the endpoints over connections that are newer than the last switch: an older one leads to the
    /// server that ends.
    async fn hold_endpoints(&self) -> Infallible {
        let Some(address) = self.site.published() else {
            return std::future::pending().await;
        };
        let held = watch::Sender::new(false);
        loop {
            tokio::select! {
                never = self.site.cluster.hold_endpoints(address, self.site.port(API), &held) => match never {},
                () = self.switched.notified() => {}
            }
        }
    }

    /// Keeps up to date which server would succeed which, and switches once the newer one has proven itself.
    /// If the newer one stops answering, the older one gets the new connections again.
    async fn switch_when_proven(&self) -> Infallible {
        loop {
            let found = self.look().await.unwrap_or_else(|error| {
                tracing::debug!("{error}");
                None
            });
            let before = locked(&self.proof).clone();
            let before =
                before.filter(|before| found.as_ref().is_some_and(|(pair, _)| pair.is(&before.pair)));
            let proof = match (found, before) {
                (Some((pair, true)), None) => {
                    let proof = Proof { pair, since: Instant::now(), switched: None };
                    *locked(&self.proof) = Some(proof.clone());
                    Some(self.switched_if_proven(proof).await)
                }
                (Some((_, true)), Some(before)) => Some(self.switched_if_proven(before).await),
                (Some((pair, false)), Some(Proof { switched: Some(_), .. })) => {
                    let newcomer = Some(pair.new.inode);
                    self.steer(&pair, Steering::Prefer { serving: pair.old.inode, newcomer }).await;
                    None
                }
                _ => None,
            };
            *locked(&self.proof) = proof;
            sleep(self.tick).await;
        }
    }

    async fn switched_if_proven(&self, mut proof: Proof) -> Proof {
        if let Some(shadow) = self.shadow.filter(|_| proof.switched.is_none()) {
            shadow.look(self.site, &proof.pair.old.process, &proof.pair.new.process).await;
        }
        let has_passed = self.shadow.is_none_or(Shadow::has_passed);
        if has_passed
            && proof.switched.is_none()
            && proof.since.elapsed() >= self.tick * PROOF_TICKS
            && self.steer(&proof.pair, Steering::To { serving: proof.pair.new.inode }).await
        {
            proof.switched = Some(Instant::now());
        }
        proof
    }

    /// Returns whether new connections go there now.
    async fn steer(&self, pair: &Pair, steering: Steering) -> bool {
        let steered = self.site.node.host.steer(&pair.group, steering).await;
        match &steered {
            Ok(()) => tracing::info!(?steering, "in a roll-out"),
            Err(error) => tracing::debug!("{error}"),
        }
        self.switched.notify_one();
        steered.is_ok()
    }

    /// The two servers, and whether the newer one answers well and will stay.
    async fn look(&self) -> Result<Option<(Pair, bool)>, StepError> {
        let Some(pair) = Pair::look(self.site).await? else { return Ok(None) };
        let goes = locked(&self.going).contains(&pair.new.process.pod_uid);
        let answers = !goes && pair.answers(self.site).await?;
        Ok(Some((pair, answers)))
    }

    async fn see_off_all(&self) -> Infallible {
        let Site { cluster, settings, .. } = self.site;
        loop {
            match cluster.pod_that_goes(&settings.node, &Site::pod_labels(API)).await {
                // No pod is held back twice.
                Ok(pod) if locked(&self.going).insert(pod.metadata.uid.clone()) => {
                    self.see_off(pod.metadata.uid.as_deref()).await;
                }
                Ok(_) => {}
                Err(error) => tracing::debug!("{error}"),
            }
            sleep(self.tick).await;
        }
    }

    /// Attends a pod from when it is known to go until it stops listening.
    async fn see_off(&self, uid: Option<&str>) {
        let (site, port) = (self.site, self.site.port(API));
        let Some(Proof { pair, switched, .. }) = locked(&self.proof).clone() else { return };
        let Some((goes, stays)) = pair.parted(uid) else { return };
        let held = HoldBack::begin(site, API, Some(&goes.process), port).await;
        let both_go = locked(&self.going).contains(&stays.process.pod_uid);
        if !both_go && (switched.is_none() || stays.inode == pair.old.inode) {
            self.steer(&pair, Steering::To { serving: stays.inode }).await;
        }
        self.see_out(held).await;
    }

    /// Deletes the older server's pod once the newer one has had the clients for some time, and the controller is about
    /// to delete it.
    async fn end_the_older(&self) -> Infallible {
        let timeouts = &self.site.timeouts;
        let least = (self.tick * CLIENT_TICKS).max(timeouts.handshake);
        loop {
            sleep(self.tick).await;
            let proof = locked(&self.proof).clone();
            let is_due = |proof: &Proof| proof.switched.is_some_and(|since| since.elapsed() >= least);
            if let Some(proof) = proof.filter(is_due)
                && let Err(error) = self.end_pod(&proof.pair).await
            {
                tracing::debug!("{error}");
                // Clients get their answers in between.
                sleep(timeouts.hold_most + timeouts.hold).await;
            }
        }
    }

    async fn end_pod(&self, pair: &Pair) -> Result<(), StepError> {
        let new = pair.new.process.pod_uid.as_deref().unwrap_or_default();
        let look =
            async |cluster| Ok::<_, StepError>(once(outdated_pod(self.site, cluster, API, new).await)?.ok());
        let Some(Some(_)) = look(&self.site.cluster).await? else { return Ok(()) };
        // On a connection that is new: by way of a balancer an open one may lead to the server that ends, and is held back.
        let cluster = self.site.cluster.afresh();
        let Some(Some(pod)) = look(&cluster).await? else { return Ok(()) };
        let (Some(name), Some(uid)) = (&pod.metadata.name, &pod.metadata.uid) else { return Ok(()) };
        if pair.old.process.pod_uid.as_ref() != Some(uid) || !self.is_proven(pair) {
            return Ok(());
        }
        // A pod that somebody else has deleted meanwhile is held back already.
        if !locked(&self.going).insert(Some(uid.clone())) {
            return Ok(());
        }
        let port = self.site.port(API);
        let held = HoldBack::begin(self.site, API, Some(&pair.old.process), port).await;
        let told = match self.is_proven(pair) {
            true => cluster.delete_pod(name, uid).await.map_err(StepError::from),
            false => Err(StepError::retry("the newer server was about to go, or has stopped answering")),
        };
        if let Err(error) = told {
            locked(&self.going).remove(&Some(uid.clone()));
            return Err(error);
        }
        tracing::info!("in a roll-out, pod {name} is told to go");
        change::record(change::object("Pod", serde_json::to_value(&pod).ok().as_ref(), None));
        self.see_out(held).await;
        Ok(())
    }

    /// Whether the newer server of these has the clients, answers well, and was not told to go.
    fn is_proven(&self, pair: &Pair) -> bool {
        let proven =
            locked(&self.proof).as_ref().is_some_and(|now| now.pair.is(pair) && now.switched.is_some());
        proven && !locked(&self.going).contains(&pair.new.process.pod_uid)
    }

    /// Waits until the server that goes has stopped listening.
    async fn see_out(&self, held: Option<HoldBack>) {
        let (site, Some(held)) = (self.site, held) else { return };
        let over = async {
            while !held.is_over() {
                sleep(LOOK_AGAIN.min(site.timeouts.poll)).await;
            }
        };
        // It sees by itself when the server stops listening. Another pod that goes must not wait longer.
        if timeout(site.timeouts.hold_most, over).await.is_err() {
            tracing::debug!("a pod that goes was not seen to stop listening");
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
