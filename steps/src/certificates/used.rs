//! Which files a process uses, by its command line. Pure.

use crate::component::Component;
use crate::manifest::Started;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// A program that uses certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// One of the three.
    Component(Component),
    /// etcd.
    Etcd,
    /// The kubelet.
    Kubelet,
}

/// What a program does with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Usage {
    /// It presents the certificate to its clients.
    Serves,
    /// It presents the certificate to other members of etcd.
    Peer,
    /// It shows the certificate to the API server.
    Client,
    /// The API server shows it to etcd.
    EtcdClient,
    /// The API server shows it to the kubelets.
    KubeletClient,
    /// The API server shows it to aggregated API servers.
    Proxies,
    /// It signs certificates with it.
    Signs,
    /// It believes clients whose certificates this one has signed.
    TrustsClients,
    /// It believes servers whose certificates this one has signed.
    Trusts,
    /// The API server presents it to itself.
    Loopback,
}

/// A file that a process uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) usage: Usage,
    pub(super) path: PathBuf,
    /// The file is a kubeconfig, which has the certificate in itself or names its file.
    pub(super) kubeconfig: bool,
}

/// The flags that name files, for each program that has the flag.
const OF_COMPONENTS: [(&str, Usage); 13] = [
    ("tls-cert-file", Usage::Serves),
    ("etcd-certfile", Usage::EtcdClient),
    ("kubelet-client-certificate", Usage::KubeletClient),
    ("proxy-client-cert-file", Usage::Proxies),
    ("cluster-signing-cert-file", Usage::Signs),
    ("client-ca-file", Usage::TrustsClients),
    ("requestheader-client-ca-file", Usage::TrustsClients),
    ("etcd-cafile", Usage::Trusts),
    ("kubelet-certificate-authority", Usage::Trusts),
    ("root-ca-file", Usage::Trusts),
    ("kubeconfig", Usage::Client),
    ("authentication-kubeconfig", Usage::Client),
    ("authorization-kubeconfig", Usage::Client),
];
const OF_ETCD: [(&str, Usage); 4] = [
    ("cert-file", Usage::Serves),
    ("peer-cert-file", Usage::Peer),
    ("trusted-ca-file", Usage::Trusts),
    ("peer-trusted-ca-file", Usage::Trusts),
];
const OF_KUBELET: [(&str, Usage); 3] = [
    ("tls-cert-file", Usage::Serves),
    ("client-ca-file", Usage::TrustsClients),
    ("kubeconfig", Usage::Client),
];

impl Program {
    /// The program that these words run, if it uses certificates of the control plane.
    pub(super) fn of(words: &[String]) -> Option<Self> {
        if let Some(started) = Started::of(words) {
            return Some(Self::Component(started.component()));
        }
        match words.first()?.rsplit('/').next()? {
            "etcd" => Some(Self::Etcd),
            "kubelet" => Some(Self::Kubelet),
            _ => None,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Component(component) => component.name(),
            Self::Etcd => "etcd",
            Self::Kubelet => "kubelet",
        }
    }

    /// The files that a process with these words uses. Each file and purpose is there once.
    pub(super) fn uses(self, words: &[String]) -> Vec<Used> {
        let flags: &[(&str, Usage)] = match self {
            Self::Component(_) => &OF_COMPONENTS,
            Self::Etcd => &OF_ETCD,
            Self::Kubelet => &OF_KUBELET,
        };
        let mut found: Vec<Used> = Vec::new();
        for (name, usage) in flags {
            let Some(path) = flag(words, name).filter(|path| !path.is_empty()) else { continue };
            let used = Used { usage: *usage, path: path.into(), kubeconfig: name.ends_with("kubeconfig") };
            if !found.contains(&used) {
                found.push(used);
            }
        }
        found
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The value of a flag, in any program. The last one counts.
pub(super) fn flag(words: &[String], name: &str) -> Option<String> {
    if let Some(started) = Started::of(words) {
        return started.flag(name);
    }
    (0..words.len()).rev().find_map(|at| {
        let text = words[at].strip_prefix("--").or_else(|| words[at].strip_prefix('-'))?;
        match text.split_once('=') {
            Some((found, value)) => (found == name).then(|| value.to_owned()),
            None => (text == name).then(|| words.get(at + 1).cloned()).flatten(),
        }
    })
}
