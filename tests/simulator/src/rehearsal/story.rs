//! The stories of a rehearsal: a pivot, one with Secrets, or a change of a control plane that is self-hosted.

use super::setup::Setup;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// The length of one second of `minReadySeconds` in an upgrade: both API servers listen for 20 of them.
const SECOND: Duration = Duration::from_millis(15);

/// What is rehearsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Story {
    /// From static pods to DaemonSets.
    #[default]
    Pivot,
    /// Another release of Kubernetes, after a pivot.
    Upgrade,
    /// kubeadm renews every certificate, after a pivot.
    Certs,
    /// A pivot that puts certificates into Secrets; then a power cut and a rotation, and the way back.
    Secrets,
}

impl Story {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pivot => "pivot",
            Self::Upgrade => "upgrade",
            Self::Certs => "certs",
            Self::Secrets => "secrets",
        }
    }

    /// What the run that is rehearsed is called in a sentence.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Pivot => "the pivot",
            Self::Upgrade => "the upgrade",
            Self::Certs => "the renewal of certificates",
            Self::Secrets => "the pivot with certificates in Secrets",
        }
    }

    /// Whether the run that is rehearsed changes a control plane that was pivoted before.
    pub const fn is_a_change(self) -> bool {
        matches!(self, Self::Upgrade | Self::Certs)
    }

    /// The setup, with what the story needs.
    #[must_use]
    pub fn setup(self, setup: Setup) -> Setup {
        match self {
            Self::Pivot => setup,
            // The new API server is asked before the old one goes.
            Self::Upgrade => setup.with_second(SECOND),
            Self::Certs => setup.with_certificates(),
            Self::Secrets => setup.with_certs_in_secrets(),
        }
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
