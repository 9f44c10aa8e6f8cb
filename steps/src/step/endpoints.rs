//! The endpoints of `kubernetes` while an API server of this node goes and another one stays.

use crate::component::Component;
use crate::site::Site;
use fulcrum_engine::StepError;

/// Does `work`, which an API server's end is part of, and sees to it that pods find the API all the while: the one
/// that ends takes the node's address out of the endpoints, although the other one is there.
pub(super) async fn while_held<T>(
    site: &Site,
    component: Component,
    work: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    let address = site.settings.node_addresses.first();
    let Some(address) = address.filter(|_| component == Component::ApiServer) else { return work.await };
    tokio::select! {
        done = work => done,
        never = site.cluster.hold_endpoints(*address, site.port(component)) => match never {},
    }
}
