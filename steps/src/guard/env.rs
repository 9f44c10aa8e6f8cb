//! The guard's environment: how it reaches the journal, the node and the cluster. The command has one
//! implementation, a rehearsal another.

use super::GuardError;
use crate::settings::Settings;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::Engine;
use fulcrum_engine::state::Journal;
use std::path::PathBuf;
use std::sync::Arc;

/// The guard's ways to the world.
#[async_trait]
pub trait GuardEnv: Send + Sync {
    /// Where the journal, the archive and the standby are.
    fn state_dir(&self) -> PathBuf;

    /// Whether this unit's file is gone. If so, its pivot is rolled back, and the guard ends.
    fn unit_is_gone(&self, unit: &str) -> bool;

    /// Tells the service manager in words what keeps the guard from its work. Nothing does if they are empty.
    fn say(&self, _words: &str) {}

    /// This boot.
    async fn boot_id(&self) -> Result<String, GuardError>;

    /// Node and cluster, as these settings name them. Must work while the API is down.
    async fn site(&self, settings: Settings) -> Result<Arc<Site>, GuardError>;

    /// An engine whose sessions are the guard's
    /// ([`SessionRole::Guard`](crate::run_info::SessionRole::Guard)).
    async fn engine(&self, journal: Journal, site: &Arc<Site>) -> Result<Engine, GuardError>;
}
