//! A static pod and a DaemonSet's pod serve side by side, and the static one takes over.

use super::drain::arrivals;
use super::pair::{Pair, settled};
use crate::component::Component;
use crate::host::{MARK_NEWCOMER, Process, Steering};
use crate::site::{Site, in_static_pod, shares_its_port};
use fulcrum_engine::{Context, Pending, StepError};

const API: Component = Component::ApiServer;

/// With shared ports no server has to go first: the DaemonSet's API server keeps all traffic while the static one
/// starts beside it.
pub(crate) async fn prefer_daemonsets(site: &Site, cx: &Context) -> Result<(), StepError> {
    cx.wait("the DaemonSet's API server to be first in line", site.timeouts.poll, async || {
        let pair = Pair::look(site).await?;
        let Some(new) = &pair.new else { return Ok(()) }; // There is none to line up behind.
        let newcomer = pair.old.as_ref().map(|old| old.inode);
        let steering = Steering::Prefer { serving: new.inode, newcomer };
        settled(pair.steer(site, steering).await)
    })
    .await
}

/// The static API server keeps all traffic while the DaemonSet's starts beside it.
pub(crate) async fn prefer_static(site: &Site, cx: &Context) -> Result<(), StepError> {
    cx.wait("the static API server to be first in line", site.timeouts.poll, async || {
        let pair = Pair::look(site).await?;
        let Some(old) = &pair.old else { return Ok(()) };
        settled(pair.steer(site, pair.prefer(old)).await)
    })
    .await
}

/// The static process begins to listen beside the DaemonSet's. Once it serves, it gets new connections. The
/// DaemonSet goes later.
pub(crate) async fn steer_to_static(
    site: &Site,
    cx: &Context,
    component: Component,
) -> Result<Process, StepError> {
    let the_one = |process: &Process| in_static_pod(process) && shares_its_port(process);
    let what = format!("the static {component} to serve beside the DaemonSet's");
    let mark = (component == API).then_some(MARK_NEWCOMER);
    let serving = site.wait_served(cx, component, &what, mark, the_one).await?;
    if component != API {
        return Ok(serving);
    }
    let what = "the static kube-apiserver to take new connections";
    cx.wait(what, site.timeouts.poll, async || {
        let pair = Pair::look(site).await?;
        match (&pair.old, &pair.new) {
            (Some(old), Some(_)) => settled(pair.steer(site, Steering::To { serving: old.inode }).await),
            (Some(_), None) => Ok(()), // The static process has all connections.
            (None, _) => Err(Pending::NotYet("it does not listen".to_owned())),
        }
    })
    .await?;
    let serving = site.wait_served(cx, component, what, None, the_one).await?;
    arrivals(site, cx).await;
    Ok(serving)
}
