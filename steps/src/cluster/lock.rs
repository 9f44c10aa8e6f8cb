//! The lock on the cluster's control plane: a Lease. A run holds it from its first change to its end.
//!
//! The lock does not expire. A run that crashed has left the control plane of its node half-way, and no other
//! node may start before that run is finished or undone. So only its run, or a person, ends the lock, or that the node
//! of its run has gone from the cluster. A run looks whether it still has the lock before it cuts anything.

use super::client::{Cluster, gone, only, within};
use super::error::ClusterError;
use super::names::{LOCK_LEASE, NAMESPACE};
use crate::change;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;

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
        let now = spec.holder_identity.replace(self.holder.clone()).unwrap_or_default();
        if now != holder {
            return if now == self.holder { Ok(()) } else { Err(LockError::Held { holder: now }) };
        }
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

    /// Lets go. No error if this run does not have it.
    ///
    /// # Errors
    /// When the API cannot be asked.
    pub async fn release(&self, cluster: &Cluster) -> Result<(), ClusterError> {
        let Some(lease) = cluster.lease(LOCK_LEASE).await? else { return Ok(()) };
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
        let Some(uid) = lease.metadata.uid.as_ref().filter(|_| holder == Some(&self.holder)) else {
            return Ok(());
        };
        let attempt = format!("delete Lease {NAMESPACE}/{LOCK_LEASE}");
        let deleted = within(&attempt, cluster.leases().delete(LOCK_LEASE, &only(uid))).await;
        gone(deleted.map(|_| change::record_object("Lease", Some(&lease), None)))
    }

    fn lease(&self) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.name = Some(LOCK_LEASE.to_owned());
        lease.spec.get_or_insert_default().holder_identity = Some(self.holder.clone());
        lease
    }
}
