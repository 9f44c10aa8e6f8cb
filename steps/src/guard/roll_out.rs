//! While several API servers of this node listen: a roll-out is under way, and the pod that served so far will go.

use crate::cluster::ClusterError;
use crate::component::Component;
use crate::node::{HostError, Listener, MARK_NEWCOMER, Process, Steering};
use crate::site::Site;
use crate::step::hold_back::HoldBack;
use fulcrum_engine::Seen;
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const API: Component = Component::ApiServer;

/// Does for its clients what a pivot does at its cut, for as long as it is polled: the endpoints of `kubernetes` are held;
/// and as soon as the pod is to go, new connections go to its successor, and what clients send it is held back. A
/// successor that has not answered well in the last moment, looked at every `tick`, is left to itself.
pub(super) async fn attend(site: &Site, tick: Duration) -> Infallible {
    let port = site.port(API);
    let held = async {
        match site.settings.node_addresses.first() {
            Some(address) => site.cluster.hold_endpoints(*address, port, &watch::Sender::new(false)).await,
            None => std::future::pending().await,
        }
    };
    let proven = Mutex::new(None);
    tokio::select! {
        never = held => never,
        never = prove(site, tick, &proven) => never,
        never = see_off_all(site, tick, &proven) => never,
    }
}

/// Who goes, and who stays.
#[derive(Debug, Clone)]
struct Succession {
    old: Listener,
    new: Listener,
    group: Vec<Listener>,
}

type Proven = Mutex<Option<Succession>>;

/// Keeps up to date who would succeed whom.
async fn prove(site: &Site, tick: Duration, proven: &Proven) -> Infallible {
    loop {
        let found = Succession::look(site).await.unwrap_or_else(|error| {
            tracing::debug!("{error}");
            None
        });
        *proven.lock().unwrap_or_else(PoisonError::into_inner) = found;
        sleep(tick).await;
    }
}

async fn see_off_all(site: &Site, tick: Duration, proven: &Proven) -> Infallible {
    loop {
        if let Err(error) = see_off(site, proven).await {
            tracing::debug!("{error}");
        }
        // One that is on its way out is so for a while.
        sleep(tick).await;
    }
}

async fn see_off(site: &Site, proven: &Proven) -> Result<(), ClusterError> {
    let pod = site.cluster.pod_that_goes(&site.settings.node, &Site::pod_labels(API)).await?;
    let succession = proven.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(succession) = succession.filter(|found| found.old.process.pod_uid == pod.metadata.uid) else {
        return Ok(());
    };
    if let Err(error) = succession.happens(site).await {
        tracing::debug!("{error}");
    }
    Ok(())
}

impl Succession {
    /// The oldest and the youngest that listen on the same address, if the youngest answers well.
    async fn look(site: &Site) -> Result<Option<Self>, HostError> {
        let all = site.node.host.listeners(site.port(API)).await?;
        let Some(old) = all.first().cloned() else { return Ok(None) };
        let fits = |one: &&Listener| (one.address, one.uid) == (old.address, old.uid);
        let group: Vec<Listener> = all.iter().filter(fits).cloned().collect();
        let Some(new) = group.last().filter(|new| new.process.pid != old.process.pid).cloned() else {
            return Ok(None);
        };
        let is_new = |process: &Process| process.pid == new.process.pid;
        Ok(match site.serves(API, Some(MARK_NEWCOMER), is_new).await? {
            Seen::Ready(_) => Some(Self { old, new, group }),
            Seen::NotYet(_) => None,
        })
    }

    /// From when it is known that the old one goes until it does not listen any more.
    async fn happens(&self, site: &Site) -> Result<(), HostError> {
        site.node.host.steer(&self.group, Steering::To { serving: self.new.inode }).await?;
        let port = site.port(API);
        let Some(held) = HoldBack::begin(site, API, Some(&self.old.process), port).await else {
            return Ok(());
        };
        tracing::info!("pid {} goes, pid {} takes over", self.old.process.pid, self.new.process.pid);
        let stopped = async {
            while site.node.host.listening(&[port]).await?.contains(&(port, self.old.inode)) {
                sleep(LOOK_AGAIN.min(site.patience.poll)).await;
            }
            Ok::<_, HostError>(())
        };
        // What is held is let go by then.
        if let Ok(stopped) = timeout(site.patience.hold, stopped).await {
            stopped?;
            held.end(site).await;
        }
        Ok(())
    }
}

/// How often it is looked whether it listens: that takes microseconds.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
