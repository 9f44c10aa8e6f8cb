//! The lock on the cluster's control plane: a Lease. A run holds it from its first change to its end.
//!
//! The lock does not expire. A run that crashed has left the control plane of its node half-way, and no other
//! node may start before that run is finished or undone. So only its run, or a person, ends the lock.

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
         on that node, finish it with `fulcrum resume` or undo it with `fulcrum rollback`; only if that node is \
         gone for good: kubectl -n {NAMESPACE} delete lease {LOCK_LEASE}"
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
