//! Whether the static pods from before the pivot can come back.

use super::limit::API_WITHIN;
use crate::cluster::Cluster;
use crate::guard::JournalView;
use crate::site::Site;
use crate::upgrade::{Outrun, outrun_since};

/// Why a rollback of this pivot is refused, if an upgrade was finalized since: here, as the journal says, or on another
/// node, as the API server's DaemonSet says. `cluster` is `None` where there is no way to the API.
pub(super) async fn outrun(
    site: &Site,
    told: Option<&JournalView>,
    cluster: Option<&Cluster>,
) -> Option<Outrun> {
    let told = told.filter(|told| told.is_at_rest())?;
    if let Some(run) = told.finalized {
        return Some(Outrun::Here(run));
    }
    outrun_since(site, cluster?, told.pivot, API_WITHIN).await
}
