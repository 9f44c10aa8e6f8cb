//! The stories of a rehearsal: a pivot, or a change of a control plane that is self-hosted.

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
}

impl Story {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pivot => "pivot",
            Self::Upgrade => "upgrade",
            Self::Certs => "certs",
        }
    }

    /// What the run that is rehearsed is called in a sentence.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Pivot => "the pivot",
            Self::Upgrade => "the upgrade",
            Self::Certs => "the renewal of certificates",
        }
    }

    /// The setup, with what the story needs.
    #[must_use]
    pub fn setup(self, setup: Setup) -> Setup {
        match self {
            Self::Pivot => setup,
            // The new API server is asked before the old one goes.
            Self::Upgrade => setup.with_second(SECOND),
            Self::Certs => setup.with_certificates(),
        }
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
