//! The two API servers that listen side by side with `--handover steer`, and which of them gets new
//! connections.

use crate::component::Component;
use crate::handover::standby::Standby;
use crate::host::{Hindrance, HostError, Listener, MARK_NEWCOMER, MARK_SERVING, Steering};
use crate::look::once;
use crate::settings::HandoverMode;
use crate::site::{Site, in_api_pod, in_static_pod};
use fulcrum_engine::state::RunId;
use fulcrum_engine::{Context, Look, Pending, StepError};

/// The listeners on the API server's port.
pub(crate) struct Pair {
    /// The static API server, if it listens.
    pub(crate) old: Option<Listener>,
    /// The DaemonSet's, if it listens. Of several, the youngest.
    pub(crate) new: Option<Listener>,
    all: Vec<Listener>,
}

impl Pair {
    pub(crate) async fn look(site: &Site) -> Result<Self, HostError> {
        let all = site.node.host.listeners(site.port(Component::ApiServer)).await?;
        let old = all.iter().find(|listener| in_static_pod(&listener.process)).cloned();
        let new = all.iter().rfind(|listener| in_api_pod(&listener.process)).cloned();
        Ok(Self { old, new, all })
    }

    /// The kernel's group: both servers, or the only one that listens.
    fn group(&self) -> Vec<Listener> {
        self.old.as_ref().or(self.new.as_ref()).map(|one| one.group_of(&self.all)).unwrap_or_default()
    }

    /// How the kernel steers new connections now. `None` also if one process listens, or none.
    pub(crate) async fn steering(&self, site: &Site) -> Result<Option<Steering>, StepError> {
        let group = self.group();
        if group.len() < 2 {
            return Ok(None);
        }
        Ok(site.node.host.steering(&group).await?)
    }

    /// The static server keeps all traffic. The other one, or the next that listens, gets only the
    /// connections meant for it.
    pub(crate) fn prefer(&self, old: &Listener) -> Steering {
        let newcomer = self.new.as_ref().map(|new| new.inode);
        Steering::Prefer { serving: old.inode, newcomer }
    }

    /// Lets others listen beside this static server, which keeps all traffic. Returns the steering that holds
    /// then.
    pub(crate) async fn share_and_prefer(&self, site: &Site, old: &Listener) -> Result<Steering, HostError> {
        site.node.host.share(old).await?;
        let steering = self.prefer(old);
        self.steer(site, steering).await?;
        Ok(steering)
    }

    /// The mark by which the static server is asked, whichever server gets new connections. A static server that gets
    /// none becomes the newcomer: no client moves.
    pub(crate) async fn mark_of_old(&self, site: &Site) -> Look<u32> {
        let (Some(old), Some(steering)) = (&self.old, self.steering(site).await?) else {
            return Ok(MARK_NEWCOMER);
        };
        let serving = match steering {
            Steering::Prefer { serving, .. } | Steering::To { serving } if serving == old.inode => {
                return Ok(MARK_SERVING);
            }
            Steering::Prefer { newcomer, .. } if newcomer == Some(old.inode) => return Ok(MARK_NEWCOMER),
            Steering::Prefer { serving, .. } | Steering::To { serving } => serving,
        };
        settled(self.steer(site, Steering::Prefer { serving, newcomer: Some(old.inode) }).await)?;
        Ok(MARK_NEWCOMER)
    }

    pub(crate) async fn steer(&self, site: &Site, steering: Steering) -> Result<(), HostError> {
        site.node.host.steer(&self.group(), steering).await
    }

    pub(crate) async fn unsteer(&self, site: &Site) -> Result<(), HostError> {
        site.node.host.unsteer(&self.group()).await
    }
}

/// Whether this run has made the cut: the static pod's manifest is gone, and what was done to its listener
/// has done its work. A standby that the guard has put there since is not what the run began with.
pub(crate) fn is_cut(site: &Site, run: RunId, component: Component) -> Result<bool, StepError> {
    Ok(match site.node.manifests.read(component.manifest_file())? {
        None => true,
        Some(image) => Standby::of(&site.state_dir, run).is_fallback(
            component,
            &image,
            &site.archived(run, component),
        )?,
    })
}

/// Shares the listener of a static process that was restarted in mid-run, by any cause. Makes the API server
/// first in line, as the one before it was. Beside a listener that is not shared, no other process can begin
/// to listen.
pub(crate) async fn share_again(site: &Site, cx: &Context, component: Component) -> Result<(), StepError> {
    if site.settings.handover != HandoverMode::Steer || is_cut(site, cx.run(), component)? {
        return Ok(());
    }
    let listeners = site.node.host.listeners(site.port(component)).await?;
    let [old] = listeners.as_slice() else { return Ok(()) };
    if !in_static_pod(&old.process) {
        return Ok(());
    }
    let shared = match component {
        Component::ApiServer => Pair::look(site).await?.share_and_prefer(site, old).await.map(drop),
        _ => site.node.host.share(old).await,
    };
    once(settled(shared)).map(drop)
}

/// For waits. A process that has gone or closed its socket is looked for again. What the machine forbids or
/// cannot do ends the wait: that will not change later.
pub(crate) fn settled<T>(result: Result<T, HostError>) -> Look<T> {
    match result {
        Ok(value) => Ok(value),
        Err(error) if matches!(error.hindrance, Hindrance::NotPermitted | Hindrance::Unsupported) => {
            Err(StepError::fatal(error.to_string()).into())
        }
        Err(error) => Err(Pending::NotYet(error.to_string())),
    }
}

/// For undos: a process that has gone needs nothing.
pub(crate) fn gone(result: Result<(), HostError>) -> Result<(), HostError> {
    match result {
        Err(error) if matches!(error.hindrance, Hindrance::ProcessGone | Hindrance::SocketGone) => Ok(()),
        other => other,
    }
}
