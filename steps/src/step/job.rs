//! The work of a step, as its spec stores it.

use crate::certificates::Renewable;
use crate::component::Component;
use crate::manifest::{FieldChange, TemplateChange, Words};
use crate::upgrade::{EtcdChange, Phase};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The work of a step: the `args` of its spec. The stored texts are frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each job is described where its step is")]
pub enum Job {
    Preflight,
    Lock,
    Archive,
    LabelNode,
    SharePort {
        component: Component,
    },
    ShareLive {
        component: Component,
    },
    #[serde(rename = "line-up")]
    PreferStatic,
    CreateSecrets,
    CreateDaemonset {
        component: Component,
    },
    AwaitReady {
        component: Component,
    },
    Switch,
    Bridge {
        forward: Option<BridgeAct>,
        back: Option<BridgeAct>,
    },
    Redirect {
        forward: Option<RedirectAct>,
        back: Option<RedirectAct>,
    },
    RestoreStatic {
        component: Component,
    },
    VacatePort {
        component: Component,
    },
    RetireStatic {
        component: Component,
    },
    ArmGuard,
    RetireStandby {
        component: Component,
    },
    #[serde(rename = "stand-in")]
    FallBack {
        component: Component,
    },
    Announce {
        why: String,
    },
    RenewStandby {
        component: Component,
    },
    EditDaemonset {
        component: Component,
        /// The words that were there when a person was asked.
        was: Words,
        words: Words,
    },
    ChangeDaemonset {
        component: Component,
        fields: Vec<FieldChange>,
    },
    /// From and to are versions as kubeadm writes them.
    UploadConfig {
        from: String,
        to: String,
    },
    KubeadmPhase(PhaseCall),
    SnapshotEtcd(EtcdChange),
    ChangeEtcd(EtcdChange),
    AwaitRollOut {
        component: Component,
        /// Whether the new API server's answers are compared with the old one's.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        shadow: bool,
    },
    AwaitStandbys {
        component: Component,
    },
    PrepareRollCerts {
        component: Component,
    },
    RenewCerts {
        name: Renewable,
    },
    PrepareUpdateSecrets,
    UpdateSecrets,
    RollCerts {
        component: Component,
        /// What the component reads at its start only.
        names: Vec<Renewable>,
    },
    ProveCerts {
        names: Vec<Renewable>,
    },
    ForgetCerts,
    /// As `Lock`, without the checks of a pivot after a wait.
    LockFound,
    StartStatic {
        component: Component,
        /// The manifest, as a person has seen it.
        manifest: String,
        /// Whether the DaemonSet's process shares its port by itself.
        shares: bool,
    },
    RemoveDaemonset {
        component: Component,
        /// The DaemonSet that was found.
        uid: String,
        /// Whether its process shares its port by itself.
        shares: bool,
        /// Whether the node was opted in.
        labelled: bool,
    },
    VerifyStatic,
    LetGo,
    #[serde(rename = "keep-line-up")]
    PreferServing,
    Verify {
        /// The component whose pods are looked at. All three if none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        only: Option<Component>,
    },
    #[serde(rename = "seal")]
    RecordHead,
}

/// What kubeadm is told to go through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseCall {
    /// The phase.
    pub phase: Phase,
    /// The program, where it stays.
    pub kubeadm: PathBuf,
    /// Its configuration: the documents that it reads.
    pub config: String,
}

impl Job {
    /// The change of a DaemonSet that this is, if it is one.
    pub fn template_change(&self) -> Option<(Component, TemplateChange)> {
        match self {
            Self::EditDaemonset { component, was, words } => {
                Some((*component, TemplateChange::Words { was: was.clone(), words: words.clone() }))
            }
            Self::ChangeDaemonset { component, fields } => {
                Some((*component, TemplateChange::Fields(fields.clone())))
            }
            _ => None,
        }
    }
}

/// What a step does with the bridge, the API server on a second port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BridgeAct {
    /// Starts it and waits until it serves.
    Raise,
    /// Ends it, once it has nothing left to do.
    Lower,
}

/// What a step does with new connections to the API server's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RedirectAct {
    /// Sends them to the bridge.
    Begin,
    /// Lets them arrive where they were sent to.
    End,
}
