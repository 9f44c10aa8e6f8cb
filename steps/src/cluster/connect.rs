//! Makes a client from a kubeconfig. No call is made: the API may be down.

use super::client::Cluster;
use super::error::chain;
use super::etcd_door::EtcdDoor;
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The ways to the cluster and its components.
#[derive(Debug, Clone)]
pub struct Access {
    /// The API, as the kubeconfig says.
    pub cluster: Cluster,
    /// For questions to components on this node: the kubeconfig's identity, without verification of the
    /// server (see [`crate::host::Question::tls`]).
    pub local_tls: Arc<ClientConfig>,
    /// The address of the API.
    pub url: String,
}

/// The kubeconfig cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file cannot be read.
    #[error(
        "kubeconfig {} could not be read: {cause}; name another with --kubeconfig (kubeadm's is \
         /etc/kubernetes/admin.conf)", path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What was seen.
        cause: String,
    },
    /// The file was read, but no client can be made from it.
    #[error(
        "kubeconfig {} cannot be used: {cause}; `kubectl --kubeconfig {} get nodes` must work first",
        path.display(), path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What was seen.
        cause: String,
    },
}

/// Reads the kubeconfig at `path` and makes a client of its current context.
///
/// # Errors
/// When the file cannot be read, is not a kubeconfig, or names credentials that cannot be used.
pub async fn connect(path: &Path) -> Result<Access, AccessError> {
    let unusable = |cause: String| AccessError::Unusable { path: path.to_owned(), cause };
    if let Err(error) = std::fs::File::open(path) {
        return Err(AccessError::Unreadable { path: path.to_owned(), cause: error.to_string() });
    }
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| match error {
        // What the reader says quotes the file, which may have a key in it.
        KubeconfigError::Parse(_) => unusable("it is not YAML, or no kubeconfig".to_owned()),
        error => unusable(chain(&error)),
    })?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| unusable(chain(&error)))?;
    config.connect_timeout = Some(Duration::from_secs(3));
    let url = config.cluster_url.to_string();
    let mut local = config.clone();
    local.accept_invalid_certs = true;
    let local_tls = local.rustls_client_config().map_err(|error| unusable(chain(&error)))?;
    let client = Client::try_from(config.clone()).map_err(|error| unusable(chain(&error)))?;
    let cluster =
        Cluster::new(client).renewed_by(move || Client::try_from(config.clone())).with_etcd(to_etcd);
    Ok(Access { cluster, local_tls: Arc::new(local_tls), url })
}

/// A client of the member of etcd at this URL, with the API server's own certificate. The member's is verified.
fn to_etcd(door: &EtcdDoor, url: &str) -> Result<Client, String> {
    let uri = url.parse::<http::Uri>().map_err(|error| format!("{url}: {error}"))?;
    let mut config = Config::new(uri);
    config.connect_timeout = Some(Duration::from_secs(3));
    if let Some(path) = &door.ca {
        let pem = std::fs::read(path).map_err(|error| format!("read {}: {error}", path.display()))?;
        let blocks = CertificateDer::pem_slice_iter(&pem).map(|block| block.map(|one| one.to_vec()));
        let roots: Result<Vec<Vec<u8>>, _> = blocks.collect();
        config.root_cert = Some(roots.map_err(|error| format!("read {}: {error}", path.display()))?);
    }
    let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    config.auth_info.client_certificate = text(&door.certificate);
    config.auth_info.client_key = text(&door.key);
    Client::try_from(config).map_err(|error| chain(&error))
}

/// The way to this machine's own components, without an identity, where no kubeconfig can be used. Its cluster
/// answers nothing.
///
/// # Errors
/// When no TLS client can be made.
pub fn connect_nowhere() -> Result<Access, AccessError> {
    let unusable = |cause: String| AccessError::Unusable { path: PathBuf::new(), cause };
    let mut config = Config::new(http::Uri::from_static("https://127.0.0.1:9"));
    // Reading all that a machine trusts takes long, and nothing is verified.
    config.root_cert = Some(Vec::new());
    config.accept_invalid_certs = true;
    let url = config.cluster_url.to_string();
    let local_tls = config.rustls_client_config().map_err(|error| unusable(chain(&error)))?;
    let client = Client::try_from(config).map_err(|error| unusable(chain(&error)))?;
    Ok(Access { cluster: Cluster::new(client), local_tls: Arc::new(local_tls), url })
}

/// The kubeconfig at `path`, and the files that it names. Only itself if it cannot be read.
pub(crate) fn files_of(path: &Path) -> Vec<PathBuf> {
    let read = Kubeconfig::read_from(path).unwrap_or_default();
    let clusters = read.clusters.into_iter().filter_map(|named| named.cluster?.certificate_authority);
    let users = read.auth_infos.into_iter().filter_map(|named| named.auth_info);
    let named = users.flat_map(|user| [user.client_certificate, user.client_key, user.token_file]).flatten();
    std::iter::once(path.to_owned()).chain(clusters.chain(named).map(PathBuf::from)).collect()
}
