//! The names of steps. Each has a text that the journal stores and that never changes, and one that people
//! read.

use crate::component::Component;
use fulcrum_engine::StepId;
use std::fmt;

/// The kind of a step, apart from its component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each kind is described where its step is")]
pub enum StepKind {
    Preflight,
    Lock,
    Archive,
    ArmGuard,
    LabelNode,
    SharePort,
    PreferStatic,
    CreateSecrets,
    CreateDaemonset,
    AwaitReady,
    Switch,
    RaiseBridge,
    Redirect,
    EndRedirect,
    LowerBridge,
    PrepareLowerBridge,
    PrepareEndRedirect,
    PrepareRestoreStatic,
    PrepareVacatePort,
    PrepareRedirect,
    PrepareRaiseBridge,
    RetireStatic,
    PreferServing,
    Verify,
    RecordHead,
    FallBack,
    Announce,
    RenewStandby,
    EditDaemonset,
    AwaitRollOut,
    AwaitStandbys,
    PrepareRollCerts,
    RenewCerts,
    PrepareUpdateSecrets,
    UpdateSecrets,
    RollCerts,
    ProveCerts,
    ForgetCerts,
    StartStatic,
    RemoveDaemonset,
    VerifyStatic,
    LetGo,
    UploadConfig,
    KubeadmPhase,
    SnapshotEtcd,
    ChangeEtcd,
}

/// Each kind, its frozen text in the journal, and the text that people read.
const NAMES: [(StepKind, &str, &str); 46] = [
    (StepKind::Preflight, "preflight", "preflight"),
    (StepKind::Lock, "lock", "lock"),
    (StepKind::Archive, "archive", "archive"),
    (StepKind::ArmGuard, "arm-guard", "arm-guard"),
    (StepKind::LabelNode, "label-node", "label-node"),
    (StepKind::SharePort, "share-port", "share-port"),
    (StepKind::PreferStatic, "line-up", "prefer-static"),
    (StepKind::CreateSecrets, "create-secrets", "create-secrets"),
    (StepKind::CreateDaemonset, "create-daemonset", "create-daemonset"),
    (StepKind::AwaitReady, "await-ready", "await-ready"),
    (StepKind::Switch, "switch", "switch"),
    (StepKind::RaiseBridge, "raise-bridge", "raise-bridge"),
    (StepKind::Redirect, "redirect", "redirect"),
    (StepKind::EndRedirect, "end-redirect", "end-redirect"),
    (StepKind::LowerBridge, "lower-bridge", "lower-bridge"),
    (StepKind::PrepareLowerBridge, "way-back/lower-bridge", "prepare-rollback/lower-bridge"),
    (StepKind::PrepareEndRedirect, "way-back/end-redirect", "prepare-rollback/end-redirect"),
    (StepKind::PrepareRestoreStatic, "way-back/restore-static", "prepare-rollback/restore-static"),
    (StepKind::PrepareVacatePort, "way-back/vacate-port", "prepare-rollback/vacate-port"),
    (StepKind::PrepareRedirect, "way-back/redirect", "prepare-rollback/redirect"),
    (StepKind::PrepareRaiseBridge, "way-back/raise-bridge", "prepare-rollback/raise-bridge"),
    (StepKind::RetireStatic, "retire-static", "retire-static"),
    (StepKind::PreferServing, "keep-line-up", "prefer-serving"),
    (StepKind::Verify, "verify", "verify"),
    (StepKind::RecordHead, "seal", "record-head"),
    (StepKind::FallBack, "stand-in", "fall-back"),
    (StepKind::Announce, "announce", "announce"),
    (StepKind::RenewStandby, "renew-standby", "renew-standby"),
    (StepKind::EditDaemonset, "edit-daemonset", "edit-daemonset"),
    (StepKind::AwaitRollOut, "await-roll-out", "await-roll-out"),
    (StepKind::AwaitStandbys, "await-standbys", "await-standbys"),
    (StepKind::PrepareRollCerts, "prepare-rollback/roll-certs", "prepare-rollback/roll-certs"),
    (StepKind::RenewCerts, "renew-certs", "renew-certs"),
    (StepKind::PrepareUpdateSecrets, "prepare-rollback/update-secrets", "prepare-rollback/update-secrets"),
    (StepKind::UpdateSecrets, "update-secrets", "update-secrets"),
    (StepKind::RollCerts, "roll-certs", "roll-certs"),
    (StepKind::ProveCerts, "prove-certs", "prove-certs"),
    (StepKind::ForgetCerts, "forget-certs", "forget-certs"),
    (StepKind::StartStatic, "start-static", "start-static"),
    (StepKind::RemoveDaemonset, "remove-daemonset", "remove-daemonset"),
    (StepKind::VerifyStatic, "verify-static", "verify-static"),
    (StepKind::LetGo, "let-go", "let-go"),
    (StepKind::UploadConfig, "upload-config", "upload-config"),
    (StepKind::KubeadmPhase, "kubeadm-phase", "kubeadm-phase"),
    (StepKind::SnapshotEtcd, "snapshot-etcd", "snapshot-etcd"),
    (StepKind::ChangeEtcd, "change-etcd", "change-etcd"),
];

/// The name of one step of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepName {
    kind: StepKind,
    component: Option<Component>,
}

impl StepKind {
    /// The step of this kind for `component`.
    pub const fn of(self, component: Component) -> StepName {
        StepName { kind: self, component: Some(component) }
    }

    fn texts(self) -> (&'static str, &'static str) {
        let known = NAMES.iter().find(|(kind, ..)| *kind == self);
        known.map_or(("", ""), |(_, stored, shown)| (stored, shown))
    }
}

impl StepName {
    /// The step name with this text, as the journal stores it or as people read it.
    pub fn parse(text: &str) -> Option<Self> {
        let component = |text: &str| Component::ALL.into_iter().find(|component| component.name() == text);
        let (rest, component) = match text.rsplit_once('/').map(|(rest, last)| (rest, component(last))) {
            Some((rest, Some(component))) => (rest, Some(component)),
            _ => (text, None),
        };
        let kind = NAMES.iter().find(|(_, stored, shown)| *stored == rest || *shown == rest)?.0;
        Some(Self { kind, component })
    }

    /// What the step does.
    pub fn kind(self) -> StepKind {
        self.kind
    }

    /// The component that the step is about, if it is about one.
    pub fn component(self) -> Option<Component> {
        self.component
    }

    /// The id that the journal stores.
    pub fn id(self) -> StepId {
        let (stored, _) = self.kind.texts();
        match self.component {
            Some(component) => format!("{stored}/{component}").into(),
            None => stored.into(),
        }
    }
}

impl From<StepKind> for StepName {
    /// The only step of this kind.
    fn from(kind: StepKind) -> Self {
        Self { kind, component: None }
    }
}

impl From<StepKind> for StepId {
    fn from(kind: StepKind) -> Self {
        StepName::from(kind).id()
    }
}

impl From<StepName> for StepId {
    fn from(name: StepName) -> Self {
        name.id()
    }
}

impl fmt::Display for StepName {
    /// The name that people read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, shown) = self.kind.texts();
        match self.component {
            Some(component) => write!(f, "{shown}/{component}"),
            None => f.write_str(shown),
        }
    }
}

/// The name that people read for a stored step. A step that this version does not know keeps its stored name.
pub fn shown(step: &StepId) -> String {
    StepName::parse(step.as_str()).map_or_else(|| step.to_string(), |name| name.to_string())
}

/// What the engine says of a run, with the names that people read: the engine writes the stored ones. A word of another
/// sense that is spelled as one of the five old names is renamed too.
pub fn reworded(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let name = word.trim_end_matches([',', ':', ';', '.']);
        match StepName::parse(name) {
            Some(step) if step.id().as_str() == name => format!("{step}{}", &word[name.len()..]),
            _ => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The stored id of the step that a person names, in either spelling.
pub fn stored(text: &str) -> StepId {
    StepName::parse(text).map_or_else(|| text.into(), StepName::id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_name_the_same_step_and_no_other() {
        for (kind, stored_text, shown_text) in NAMES {
            for name in [StepName::from(kind), kind.of(Component::Scheduler)] {
                assert_eq!(StepName::parse(name.id().as_str()), Some(name));
                assert_eq!(StepName::parse(&name.to_string()), Some(name));
            }
            let same = |text: &str| NAMES.iter().filter(|(_, a, b)| *a == text || *b == text).count();
            assert_eq!((same(stored_text), same(shown_text)), (1, 1));
        }
        assert_eq!(stored("prefer-static").as_str(), "line-up");
        assert_eq!(stored("record-head").as_str(), "seal");
        assert_eq!(
            shown(&"way-back/vacate-port/kube-apiserver".into()),
            "prepare-rollback/vacate-port/kube-apiserver"
        );
        assert_eq!(shown(&"of-another-version".into()), "of-another-version");
        assert_eq!(stored("nowhere").as_str(), "nowhere");
    }

    #[test]
    fn a_reason_is_reworded_and_nothing_else_of_it_changes() {
        let died =
            "its process died 5 times in a row with this in flight: label-node, way-back/redirect, seal";
        let told = "its process died 5 times in a row with this in flight: label-node, prepare-rollback/redirect, record-head";
        assert_eq!(reworded(died), told);
        assert_eq!(reworded(told), told);
        let failed = "step line-up failed: two  spaces, and\na line: it's /etc/seal that is sealed";
        assert_eq!(reworded(failed), failed.replace("line-up", "prefer-static"));
    }
}
