//! Which program reads a changed file by itself, and when. The table is in docs/certificates.md, too.

use super::used::{Program, Usage};
use serde::Serialize;
use std::time::Duration;

/// When a process has read a changed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reload {
    /// It looks at the file each minute.
    EachMinute,
    /// It reads the file for each new connection.
    EachConnection,
    /// It looks each five minutes, and ends its connections then.
    FiveMinutes,
    /// The kubelet renews this certificate by itself.
    Rotates,
    /// Never: only a restart reads it.
    Never,
}

impl Reload {
    /// The rule of a program. It has been the same since 1.20, the oldest release that is pivoted. `inline`
    /// says whether a kubeconfig has the certificate in itself.
    pub(super) fn of(program: Program, usage: Usage, inline: bool) -> Self {
        match (program, usage) {
            (Program::Kubelet, Usage::Client) if !inline => Self::Rotates,
            // What is in a kubeconfig is read once.
            (_, Usage::Client) if inline => Self::Never,
            (Program::Etcd, Usage::Serves | Usage::Peer) => Self::EachConnection,
            (Program::Etcd | Program::Kubelet, _) => Self::Never,
            (_, Usage::Serves | Usage::Proxies | Usage::Signs | Usage::TrustsClients) => Self::EachMinute,
            (_, Usage::EtcdClient | Usage::KubeletClient) => Self::EachConnection,
            (_, Usage::Client) => Self::FiveMinutes,
            (_, Usage::Peer | Usage::Trusts | Usage::Loopback) => Self::Never,
        }
    }

    /// After this time a process that reads by itself has read a changed file. `None` if it never does. `minute` is
    /// how often the process looks that looks each minute.
    pub(super) fn within(self, minute: Duration) -> Option<Duration> {
        match self {
            Self::EachMinute => Some(minute * 2),
            Self::FiveMinutes => Some(minute * 11 / 2),
            Self::EachConnection | Self::Rotates => Some(Duration::ZERO),
            Self::Never => None,
        }
    }
}
