//! How etcd's members are reached.

use kube::Client;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// How an API server reaches etcd, as its flags say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EtcdDoor {
    /// `--etcd-servers`, one URL each.
    pub servers: Vec<String>,
    /// `--etcd-cafile`.
    pub ca: Option<PathBuf>,
    /// `--etcd-certfile`.
    pub certificate: Option<PathBuf>,
    /// `--etcd-keyfile`.
    pub key: Option<PathBuf>,
}

/// Makes a client of the member at a URL. The error says why there can be none.
pub(super) type ToEtcd = Arc<dyn Fn(&EtcdDoor, &str) -> Result<Client, String> + Send + Sync>;
