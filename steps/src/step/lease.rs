//! Giving back the leader's lease of a component whose process has gone.
//!
//! Controller manager and scheduler do not let go of their lease when they end, and whoever follows waits
//! for it to run out (15 s). What is given back is only what its holder has provably stopped renewing.

use crate::component::Component;
use crate::site::Site;
use fulcrum_engine::Context;
use tokio::time::timeout;

/// Gives back the component's lease if nobody renews it, looking twice, a leader's renewal period apart.
///
/// Call it when the process that may have held it has gone. Best effort: without it, only time is lost.
pub(super) async fn give_back(site: &Site, cx: &Context, component: Component) {
    let Some(name) = component.lease_name() else { return };
    cx.note(format!("looking whether Lease {name} is still renewed"));
    let quiet = site.patience.lease_quiet;
    let look = async {
        let before = site.cluster.lease(name).await?;
        tokio::time::sleep(quiet).await;
        match before {
            Some(before) => site.cluster.give_back_lease(&before).await,
            None => Ok(()),
        }
    };
    match timeout(quiet * 3, look).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the lease of {component} was not given back"),
        Err(_) => tracing::debug!("no answer in time: the lease of {component} was not given back"),
    }
}
