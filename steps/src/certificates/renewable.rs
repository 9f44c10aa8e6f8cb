//! The certificates that `kubeadm certs renew` renews: their names, their files, and who signs them.

use super::read::{Certificate, Leads, kubeconfig};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A certificate that kubeadm renews. The journal stores kubeadm's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each has the name that kubeadm gives it")]
pub enum Renewable {
    Apiserver,
    ApiserverKubeletClient,
    ApiserverEtcdClient,
    FrontProxyClient,
    EtcdServer,
    EtcdPeer,
    EtcdHealthcheckClient,
    #[serde(rename = "admin.conf")]
    AdminConf,
    #[serde(rename = "super-admin.conf")]
    SuperAdminConf,
    #[serde(rename = "controller-manager.conf")]
    ControllerManagerConf,
    #[serde(rename = "scheduler.conf")]
    SchedulerConf,
}

/// One of kubeadm's three authorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each has the name that kubeadm gives it")]
pub enum Authority {
    Ca,
    EtcdCa,
    FrontProxyCa,
}

/// Each with kubeadm's name, its file below the directory of kubeadm, and its authority. A file without an
/// ending is two: `.crt` and `.key`.
const TABLE: [(Renewable, &str, &str, Authority); 11] = [
    (Renewable::Apiserver, "apiserver", "pki/apiserver", Authority::Ca),
    (
        Renewable::ApiserverKubeletClient,
        "apiserver-kubelet-client",
        "pki/apiserver-kubelet-client",
        Authority::Ca,
    ),
    (Renewable::ApiserverEtcdClient, "apiserver-etcd-client", "pki/apiserver-etcd-client", Authority::EtcdCa),
    (Renewable::FrontProxyClient, "front-proxy-client", "pki/front-proxy-client", Authority::FrontProxyCa),
    (Renewable::EtcdServer, "etcd-server", "pki/etcd/server", Authority::EtcdCa),
    (Renewable::EtcdPeer, "etcd-peer", "pki/etcd/peer", Authority::EtcdCa),
    (
        Renewable::EtcdHealthcheckClient,
        "etcd-healthcheck-client",
        "pki/etcd/healthcheck-client",
        Authority::EtcdCa,
    ),
    (Renewable::AdminConf, "admin.conf", "admin.conf", Authority::Ca),
    (Renewable::SuperAdminConf, "super-admin.conf", "super-admin.conf", Authority::Ca),
    (Renewable::ControllerManagerConf, "controller-manager.conf", "controller-manager.conf", Authority::Ca),
    (Renewable::SchedulerConf, "scheduler.conf", "scheduler.conf", Authority::Ca),
];

/// The authorities, each with kubeadm's name and its file.
const AUTHORITIES: [(Authority, &str, &str); 3] = [
    (Authority::Ca, "ca", "pki/ca"),
    (Authority::EtcdCa, "etcd-ca", "pki/etcd/ca"),
    (Authority::FrontProxyCa, "front-proxy-ca", "pki/front-proxy-ca"),
];

/// The words are no name of a certificate that kubeadm renews.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kubeadm renews no certificate of this name; it renews {}", names())]
pub struct UnknownName;

fn names() -> String {
    TABLE.map(|(_, name, ..)| name).join(", ")
}

impl Renewable {
    /// All of them, in the order in which they are renewed.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.into_iter().map(|(one, ..)| one)
    }

    fn row(self) -> (&'static str, &'static str, Authority) {
        let found = TABLE.into_iter().find(|(one, ..)| *one == self);
        found.map_or(("", "", Authority::Ca), |(_, name, file, authority)| (name, file, authority))
    }

    /// kubeadm's name.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The authority that signs it.
    pub fn authority(self) -> Authority {
        self.row().2
    }

    /// The file that has the certificate. `root` is `/etc/kubernetes`.
    pub fn certificate_file(self, root: &Path) -> PathBuf {
        match self.is_kubeconfig() {
            true => root.join(self.row().1),
            false => root.join(format!("{}.crt", self.row().1)),
        }
    }

    /// The files that kubeadm writes: a kubeconfig, or the certificate and its key.
    pub fn files(self, root: &Path) -> Vec<PathBuf> {
        match self.is_kubeconfig() {
            true => vec![self.certificate_file(root)],
            false => vec![self.certificate_file(root), root.join(format!("{}.key", self.row().1))],
        }
    }

    fn is_kubeconfig(self) -> bool {
        self.row().1.ends_with(".conf")
    }

    /// The certificate in its file at present, if that and its key belong together. A kubeadm that was killed
    /// leaves a new key beside an old certificate, or half a file.
    ///
    /// # Errors
    /// When a file cannot be read, or is not whole.
    pub fn whole(self, root: &Path) -> Result<Certificate, String> {
        let path = self.certificate_file(root);
        let broken = |cause: String| format!("{}: {cause}", path.display());
        let (certificate, key) = match self.is_kubeconfig() {
            true => inline(&path).map_err(broken)?,
            false => {
                let files = self.files(root);
                let read =
                    |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
                (read(&files[0])?, read(&files[1])?)
            }
        };
        match_key(&certificate, &key).map_err(broken)?;
        Certificate::of_pem(&certificate).map_err(broken)
    }

    /// Whether kubeadm can renew it here: its file is there, and has a certificate of its own.
    pub(super) fn is_here(self, root: &Path) -> bool {
        let path = self.certificate_file(root);
        match self.is_kubeconfig() {
            true => path.exists() && !matches!(kubeconfig(&path), Ok(Leads::To(_) | Leads::Nowhere)),
            false => path.exists(),
        }
    }
}

impl Authority {
    fn row(self) -> (&'static str, &'static str) {
        let found = AUTHORITIES.into_iter().find(|(one, ..)| *one == self);
        found.map_or(("", ""), |(_, name, file)| (name, file))
    }

    /// kubeadm's name.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Its certificate.
    pub fn certificate_file(self, root: &Path) -> PathBuf {
        root.join(format!("{}.crt", self.row().1))
    }

    /// Its key. An authority whose key is elsewhere has none here.
    pub fn key_file(self, root: &Path) -> PathBuf {
        root.join(format!("{}.key", self.row().1))
    }
}

impl FromStr for Renewable {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        TABLE.into_iter().find(|(_, name, ..)| *name == text).map(|(one, ..)| one).ok_or(UnknownName)
    }
}

impl fmt::Display for Renewable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The certificate of kubeadm's that this file has.
pub(super) fn renewable_at(path: &Path, root: &Path) -> Option<Renewable> {
    Renewable::all().find(|one| one.certificate_file(root) == path)
}

/// The authority whose certificate this file has.
pub(super) fn authority_at(path: &Path, root: &Path) -> Option<Authority> {
    AUTHORITIES.into_iter().map(|(one, ..)| one).find(|one| one.certificate_file(root) == path)
}

/// Certificate and key (PEM) of a kubeconfig's first user.
fn inline(path: &Path) -> Result<(Vec<u8>, Vec<u8>), String> {
    of_kubeconfig(&fs::read(path).map_err(|error| error.to_string())?)
}

/// As [`inline`], of the kubeconfig's text.
pub(super) fn of_kubeconfig(text: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
    // What the parser says quotes the file, which has a key in it.
    let config: Value = serde_saphyr::from_str(&String::from_utf8_lossy(text))
        .map_err(|_| "it is not YAML, or no kubeconfig".to_owned())?;
    let user = &config["users"][0]["user"];
    let part = |name: &str| {
        let data = user[name].as_str().ok_or_else(|| format!("it has no {name}"))?;
        BASE64_STANDARD.decode(data.trim()).map_err(|_| format!("its {name} is not whole"))
    };
    Ok((part("client-certificate-data")?, part("client-key-data")?))
}

/// Whether this is the key of this certificate. What went wrong never quotes the key.
pub(super) fn match_key(certificate: &[u8], key: &[u8]) -> Result<(), String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|_| "the certificate is not whole".to_owned())?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "the key is not whole".to_owned())?;
    match CertifiedKey::from_der(chain, key, &default_provider()) {
        Ok(_) => Ok(()),
        Err(_) => Err("the certificate and the key do not belong together".to_owned()),
    }
}
