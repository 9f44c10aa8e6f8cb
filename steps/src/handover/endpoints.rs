//! Holds the endpoints of `kubernetes` while an API server of this node goes and another one stays.

use crate::component::Component;
use crate::site::Site;
use fulcrum_engine::StepError;
use tokio::sync::watch;
use tokio::time::timeout;

/// Does `work`, which includes the end of an API server, as soon as the endpoints are watched. Pods find the
/// API all the while: the server that ends takes the node's address out of the endpoints, although the other
/// one is there.
pub(crate) async fn while_held<T>(
    site: &Site,
    component: Component,
    work: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    let address = site.published();
    let Some(address) = address.filter(|_| component == Component::ApiServer) else { return work.await };
    let (held, mut is_held) = watch::channel(false);
    let work = async {
        // With the API down they cannot be held, and the work may be what brings it back.
        let _ = timeout(site.timeouts.held, is_held.wait_for(|held| *held)).await;
        work.await
    };
    tokio::select! {
        done = work => done,
        never = site.cluster.hold_endpoints(address, site.port(component), &held) => match never {},
    }
}
