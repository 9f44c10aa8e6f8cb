//! The way to etcd, and what each of its members runs. Reads the cluster, and changes nothing.

use super::Wish;
use super::etcd::EtcdVersion;
use crate::cluster::{Cluster, ClusterError, EtcdDoor};
use crate::component::Component;
use crate::handover::elsewhere::door;
use crate::manifest::{StandbyError, StaticPod, standby_of};

/// A member, and what it runs. A reason, if it does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MemberRuns {
    /// Its name.
    pub(super) name: String,
    /// Its version.
    pub(super) version: Result<EtcdVersion, String>,
}

/// What each member of etcd runs, asked itself.
///
/// # Errors
/// When none says who the members are.
pub(super) async fn members_run(cluster: &Cluster, door: &EtcdDoor) -> Result<Vec<MemberRuns>, ClusterError> {
    let mut all = Vec::new();
    for member in cluster.etcd(door).await?.members {
        let mut version = Err("it has not started yet".to_owned());
        for url in &member.clients {
            version = match cluster.etcd_versions(door, url).await {
                Ok(said) => said.server.parse().map_err(|error| format!("{error}")),
                Err(error) => Err(error.to_string()),
            };
            if version.is_ok() {
                break;
            }
        }
        all.push(MemberRuns { name: member.name, version });
    }
    Ok(all)
}

/// How this node's API server reaches etcd, and its port.
pub(super) fn way(wish: &Wish<'_>) -> Result<(EtcdDoor, u16), StandbyError> {
    let api = Component::ApiServer;
    let live = wish.live.iter().find(|(component, _)| *component == api).map(|(_, live)| live.clone());
    let made = standby_of(api, &live.unwrap_or_default(), &wish.settings.target(None))?;
    let server = StaticPod::parse(api, made.as_bytes()).map_err(StandbyError::from)?;
    Ok((door(&server), server.port()))
}
