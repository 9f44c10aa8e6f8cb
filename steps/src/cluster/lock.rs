//! The lock on the cluster's control plane: a Lease. A run holds it from its first change to its end.
//!
//! The lock does not expire. A run that crashed has left the control plane of its node half-way, and no other
//! node may start before that run is finished or undone. So only its run, or a person, ends the lock, or that the node
//! of its run has gone from the cluster. A run looks whether it still has the lock before it cuts anything.

use super::client::{Cluster, within};
use super::error::ClusterError;
use super::names::{LOCK_LEASE, NAMESPACE};
use crate::change;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{DeleteParams, PostParams, Preconditions};

/// How often a release begins anew because the Lease has changed since it was read.
const RELEASE_TRIES: usize = 5;

/// The holder of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    holder: String,
}

/// The lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run has it.
    #[error(
        "another run holds the lock on this cluster's control plane: {holder} (Lease {NAMESPACE}/{LOCK_LEASE}); \
         on that node, finish it with `fulcrum resume` or undo it with `fulcrum rollback`; only if nobody will ever \
         go on with it there: --take-lock"
    )]
    Held {
        /// The holder, as node and run.
        holder: String,
    },
    /// The API could not be asked.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl Cluster {
    /// The holder of the lock, as node and run, if there is one.
    ///
    /// # Errors
    /// When the API cannot be asked.
    pub async fn lock_holder(&self) -> Result<Option<String>, ClusterError> {
        let lease = self.lease(LOCK_LEASE).await?;
        Ok(lease.map(|lease| lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default()))
    }
}

fn now() -> MicroTime {
    MicroTime(Timestamp::now())
}

/// Whether the node whose run holds the lock has gone from the cluster: nobody will go on with that run.
pub(crate) async fn is_of_a_node_that_has_gone(cluster: &Cluster, holder: &str) -> bool {
    matches!(cluster.node(node_of(holder)).await, Ok(None))
}

/// The node whose run holds the lock.
pub(crate) fn node_of(holder: &str) -> &str {
    holder.split_once('/').map_or(holder, |(node, _)| node)
}

impl Lock {
    /// The lock as `run` on `node` holds it.
    pub fn of(node: &str, run: impl std::fmt::Display) -> Self {
        Self { holder: format!("{node}/{run}") }
    }

    /// Takes the lock. No error if this run has it.
    ///
    /// # Errors
    /// When another run has it, or the API cannot be asked.
    pub async fn take(&self, cluster: &Cluster) -> Result<(), LockError> {
        let lease = self.lease();
        let attempt = format!("create Lease {NAMESPACE}/{LOCK_LEASE}");
        match within(&attempt, cluster.leases().create(&PostParams::default(), &lease)).await {
            Ok(made) => {
                change::record_object("Lease", None, Some(&made));
                Ok(())
            }
            Err(error) if error.is_conflict() => match cluster.lock_holder().await? {
                Some(holder) if holder != self.holder => Err(LockError::Held { holder }),
                // This run has it already, or the holder has let go between the two calls.
                Some(_) => Ok(()),
                None => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the lock from `holder`, whose run nobody will go on with. If it is another's by now, it stays so.
    ///
    /// # Errors
    /// When another run has it by now, or the API cannot be asked.
    pub async fn take_from(&self, cluster: &Cluster, holder: &str) -> Result<(), LockError> {
        let Some(seen) = cluster.lease(LOCK_LEASE).await? else { return self.take(cluster).await };
        let mut lease = seen.clone();
        let spec = lease.spec.get_or_insert_default();
        let before = spec.holder_identity.replace(self.holder.clone()).unwrap_or_default();
        if before != holder {
            return if before == self.holder { Ok(()) } else { Err(LockError::Held { holder: before }) };
        }
        spec.acquire_time = Some(now());
        let attempt = format!("take Lease {NAMESPACE}/{LOCK_LEASE} from {holder}");
        // With the version that was read: a change in between makes this a conflict.
        let (leases, parameters) = (cluster.leases(), PostParams::default());
        let made = within(&attempt, leases.replace(LOCK_LEASE, &parameters, &lease)).await?;
        change::record_object("Lease", Some(&seen), Some(&made));
        Ok(())
    }

    /// Whether that holder is this run.
    pub fn is(&self, holder: &str) -> bool {
        self.holder == holder
    }

    /// Lets go. No error if this run does not have it, or if the lock was taken from it meanwhile.
    ///
    /// # Errors
    /// When the API cannot be asked.
    pub async fn release(&self, cluster: &Cluster) -> Result<(), ClusterError> {
        let attempt = format!("delete Lease {NAMESPACE}/{LOCK_LEASE}");
        let mut tries = RELEASE_TRIES;
        loop {
            let Some(lease) = cluster.lease(LOCK_LEASE).await? else { return Ok(()) };
            let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
            if holder != Some(&self.holder) {
                return Ok(());
            }
            // A takeover keeps the object: a deletion that is under way must not take the other run's lock away.
            let (uid, resource_version) =
                (lease.metadata.uid.clone(), lease.metadata.resource_version.clone());
            let as_read = DeleteParams::background().preconditions(Preconditions { uid, resource_version });
            let deleted = within(&attempt, cluster.leases().delete(LOCK_LEASE, &as_read)).await;
            tries -= 1;
            match deleted {
                Err(error) if error.is_conflict() && tries > 0 => {}
                Err(error) if error.code() == Some(404) => return Ok(()),
                other => return other.map(|_| change::record_object("Lease", Some(&lease), None)),
            }
        }
    }

    fn lease(&self) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.name = Some(LOCK_LEASE.to_owned());
        let spec = lease.spec.get_or_insert_default();
        (spec.holder_identity, spec.acquire_time) = (Some(self.holder.clone()), Some(now()));
        lease
    }
}
