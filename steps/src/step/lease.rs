//! Giving back the leader's lease of a component whose process has gone.
//!
//! Controller manager and scheduler do not let go of their lease when they end, and whoever follows waits
//! for it to run out (15 s). What is given back is only what its holder provably renews no more.

use super::library::seen;
use crate::cluster::ClusterError;
use crate::component::Component;
use crate::site::Site;
use fulcrum_engine::{Context, StepError};
use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::timeout;

/// Who leads. Every process has an identity of its own, `<hostname>_<uuid>`: whoever leads before a second process
/// exists is the first one. `None` if nobody leads, or another node's process.
pub(super) async fn leader(
    site: &Site,
    cx: &Context,
    component: Component,
) -> Result<Option<String>, StepError> {
    let Some(name) = component.lease_name() else { return Ok(None) };
    let get = async || seen(site.cluster.lease(name).await);
    let lease = cx.wait(&format!("the API, to read Lease {name}"), site.patience.poll, get).await?;
    let host = format!("{}_", site.settings.node);
    Ok(lease.as_ref().and_then(holder).filter(|holder| holder.starts_with(&host)).map(str::to_owned))
}

/// Gives back the component's lease when the process that may hold it has gone. Best effort: without it, only
/// time is lost.
///
/// If `gone`, the [`leader`] that has gone, still holds it, at once. Else if nobody renews it, looking twice, a
/// leader's renewal period apart.
pub(super) async fn give_back(site: &Site, cx: &Context, component: Component, gone: Option<&str>) {
    let Some(name) = component.lease_name() else { return };
    let given = timeout(site.patience.lease_quiet * 3, try_to(site, cx, name, gone)).await;
    match given {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the lease of {component} was not given back"),
        Err(_) => tracing::debug!("no answer in time: the lease of {component} was not given back"),
    }
}

async fn try_to(site: &Site, cx: &Context, name: &str, gone: Option<&str>) -> Result<(), ClusterError> {
    // Read after its holder's death. A renewal that was on its way then makes this a conflict.
    let Some(mut lease) = site.cluster.lease(name).await? else { return Ok(()) };
    if gone.is_some() && holder(&lease) == gone {
        site.cluster.give_back_lease(&lease).await?;
        match site.cluster.lease(name).await? {
            Some(now) if holder(&now) == gone => lease = now,
            _ => return Ok(()),
        }
    }
    if holder(&lease).is_none() {
        return Ok(());
    }
    cx.note(format!("looking whether Lease {name} is still renewed"));
    tokio::time::sleep(site.patience.lease_quiet).await;
    site.cluster.give_back_lease(&lease).await
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}
