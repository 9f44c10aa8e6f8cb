//! What a process has read of the certificates that its flags name, and when it reads them again. Only files
//! below the node's own directory are read: where the manifests name others, nothing is simulated.

use super::kubeadm::certificate_in;
use super::program::flag_value;
use fulcrum_evidence::sha256_hex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// When a program reads a file again. True of Kubernetes since 1.20 and of etcd since 3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Never,
    EachMinute,
    EachConnection,
}

/// Each program's flags that name certificates.
const FLAGS: [(&str, &str, Again); 12] = [
    ("kube-apiserver", "tls-cert-file", Again::EachMinute),
    ("kube-apiserver", "proxy-client-cert-file", Again::EachMinute),
    ("kube-apiserver", "etcd-certfile", Again::EachConnection),
    ("kube-apiserver", "kubelet-client-certificate", Again::EachConnection),
    ("kube-controller-manager", "kubeconfig", Again::Never),
    ("kube-controller-manager", "authentication-kubeconfig", Again::Never),
    ("kube-controller-manager", "authorization-kubeconfig", Again::Never),
    ("kube-scheduler", "kubeconfig", Again::Never),
    ("kube-scheduler", "authentication-kubeconfig", Again::Never),
    ("kube-scheduler", "authorization-kubeconfig", Again::Never),
    ("etcd", "cert-file", Again::EachConnection),
    ("etcd", "peer-cert-file", Again::EachConnection),
];
/// With these files a process serves.
const SERVING: [&str; 2] = ["tls-cert-file", "cert-file"];

/// What a process has read.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    files: BTreeMap<PathBuf, OneHeld>,
    serving: Option<PathBuf>,
}

#[derive(Debug, Clone)]
struct OneHeld {
    again: Again,
    /// The certificate (DER).
    certificate: Vec<u8>,
    read_at: Duration,
}

impl Held {
    /// What a process of this program reads at its start.
    pub(super) fn read(program: &str, command: &[String], root: &Path, now: Duration) -> Self {
        let mut held = Self::default();
        for (_, flag, again) in FLAGS.into_iter().filter(|(of, ..)| *of == program) {
            let Some(path) = flag_value(command, flag).map(PathBuf::from) else { continue };
            if !path.starts_with(root) {
                continue;
            }
            if let Some(certificate) = read(&path) {
                if SERVING.contains(&flag) {
                    held.serving = Some(path.clone());
                }
                held.files.insert(path, OneHeld { again, certificate, read_at: now });
            }
        }
        held
    }

    /// Reads again what the program reads again. What is not whole is left as it was.
    pub(super) fn advance(&mut self, now: Duration, minute: Duration) {
        for (path, held) in &mut self.files {
            let is_time = match held.again {
                Again::Never => false,
                Again::EachMinute => now.saturating_sub(held.read_at) >= minute,
                Again::EachConnection => true,
            };
            if is_time {
                held.certificate = read(path).unwrap_or_else(|| std::mem::take(&mut held.certificate));
                held.read_at = now;
            }
        }
    }

    /// The certificate that it presents (DER).
    pub(super) fn presents(&self) -> Option<&[u8]> {
        Some(&self.files.get(self.serving.as_ref()?)?.certificate)
    }

    /// The SHA-256 of each certificate, by its file.
    pub(super) fn digests(&self) -> BTreeMap<PathBuf, String> {
        self.files.iter().map(|(path, held)| (path.clone(), sha256_hex(&held.certificate))).collect()
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    certificate_in(&std::fs::read(path).ok()?)
}
