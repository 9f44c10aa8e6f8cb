//! A pivoted control plane, a change of it, and what that leaves.

use super::child::Change;
use super::error::RehearsalError;
use super::kubeadm::SimulatedKubeadm;
use super::pace::SOON;
use super::simulated_site::{SimulatedSite, settings_of};
use super::story::Story;
use super::tour::{outcome, reason};
use super::version::Version;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{Ending, Observer, Outcome, Plan, PlanError, Silent};
use fulcrum_steps::certificates::{Pace, Renewable, Renewal, inventory};
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::JournalView;
use fulcrum_steps::plan::{self, RENEW_CERTS, RenewCerts, UPGRADE};
use fulcrum_steps::settings::Settings;
use fulcrum_steps::upgrade::{Wish, target};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// A self-hosted control plane, and the change that is rehearsed on it.
#[derive(Debug)]
pub struct Begun {
    /// The pivot, which is completed.
    pub pivot: RunId,
    /// The change.
    pub change: Change,
    before: Before,
}

/// What a change may leave changed, beside what a pivot may.
#[derive(Debug, PartialEq, Eq)]
struct Before {
    /// The DaemonSets' pod templates.
    templates: Vec<(Component, Value)>,
    /// kubeadm's configuration of the cluster.
    configuration: Option<String>,
    /// Content and last change of each file that kubeadm renews.
    certificates: BTreeMap<PathBuf, (Vec<u8>, SystemTime)>,
}

impl Change {
    /// The plan of the run that makes the change.
    ///
    /// # Errors
    /// Never in practice.
    pub fn plan(self, settings: &Settings, pivot: RunId) -> Result<Plan, PlanError> {
        match self {
            Self::Edit(edit) => plan::edit(settings, pivot, edit),
            Self::Upgrade(upgrade) => plan::upgrade(settings, pivot, upgrade),
            Self::UpgradeEtcd(upgrade) => plan::upgrade_etcd(settings, pivot, upgrade),
            Self::RenewCerts(wanted) => plan::renew_certs(settings, pivot, wanted),
            Self::RollCerts(wanted) => plan::roll_certs(settings, pivot, wanted),
            Self::Adopt(_, found) => plan::adopt(settings, &found, SOON),
        }
    }
}

impl SimulatedSite {
    /// Pivots, and finds what the story changes then.
    ///
    /// # Errors
    /// When the pivot does not complete, or the change is refused.
    pub async fn begin(&self, story: Story, version: Version) -> Result<Begun, RehearsalError> {
        let journal = self.journal()?;
        let pivoted = self.pivot(&journal, Arc::new(Silent)).await?;
        if outcome(&pivoted) != Some(Outcome::Completed) {
            let seen = format!("before anything was changed: {}", reason(&pivoted));
            return Err(RehearsalError::Ended(seen));
        }
        self.is_self_hosted().await?;
        self.keep_standby(&journal)?;
        let settings = settings_of(&journal, pivoted.run)?;
        let change = match story {
            Story::Pivot | Story::Secrets => {
                return Err(RehearsalError::Change("a pivot changes no pivot".to_owned()));
            }
            Story::Upgrade => Change::Upgrade(self.next_release(&settings, version).await?),
            Story::Certs => Change::RenewCerts(self.all_certificates().await?),
        };
        Ok(Begun { pivot: pivoted.run, change, before: self.look_before().await? })
    }

    /// Carries the change out, as far as it gets.
    ///
    /// # Errors
    /// When the journal fails.
    pub async fn carry_out(
        &self,
        journal: &Journal,
        begun: &Begun,
        watching: Arc<dyn Observer>,
    ) -> Result<Ending, RehearsalError> {
        let settings = Settings { of_pivot: Some(begun.pivot), ..settings_of(journal, begun.pivot)? };
        let plan = begun.change.clone().plan(&settings, begun.pivot)?;
        Ok(self.engine(journal, settings).await?.observer(watching).start(plan).await?)
    }

    /// Checks what a change with this outcome has left: a self-hosted control plane, with the change or as it was
    /// before.
    ///
    /// # Errors
    /// With the difference. Always for a change that ended in neither way.
    pub(super) async fn change_stands(&self, begun: &Begun, ended: Outcome) -> Result<(), RehearsalError> {
        self.is_self_hosted().await?;
        let (now, before) = (self.look_before().await?, &begun.before);
        let seen = |words: String| Err(RehearsalError::Change(words));
        match ended {
            Outcome::RolledBack => match now.differs(before) {
                None => Ok(()),
                Some(what) => seen(format!("{what} is not as it was before the change")),
            },
            Outcome::Completed => match begun.change.is_missing(&now, before) {
                None => Ok(()),
                Some(what) => seen(format!("{what} is as it was before the change")),
            },
            other => Err(RehearsalError::Ended(format!("as {other}"))),
        }
    }

    /// As the guard does when it starts.
    fn keep_standby(&self, journal: &Journal) -> Result<(), RehearsalError> {
        let told = JournalView::of(&journal.reader())?;
        let told = told.ok_or_else(|| RehearsalError::Change("the journal has no pivot".to_owned()))?;
        Ok(told.standby(&self.state_dir()).begin(&told.retired)?)
    }

    /// The next minor release; of the newest one that is known, the next patch.
    async fn next_release(
        &self,
        settings: &Settings,
        version: Version,
    ) -> Result<plan::Upgrade, RehearsalError> {
        self.kubeadm_was_here(version).await?;
        let next = version.next();
        let live = self.daemonsets().await?;
        let kubeadm = SimulatedKubeadm(next);
        let wish = Wish::new((&self.cluster, &*self.host), settings, &live, &kubeadm);
        let found = target(&wish).await.map_err(|refused| RehearsalError::Change(refused.to_string()))?;
        let why = format!("{} to {}", found.from, found.to);
        Ok(plan::Upgrade { merged: found.merged, noted: found.noted, rest: None, within: SOON, why })
    }

    /// kubeadm notes in the cluster what it has made.
    async fn kubeadm_was_here(&self, version: Version) -> Result<(), RehearsalError> {
        let mut map = ConfigMap::default();
        map.metadata.name = Some("kubeadm-config".to_owned());
        let text = format!(
            "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v{version}\n"
        );
        map.data = Some([("ClusterConfiguration".to_owned(), text)].into());
        let maps: Api<ConfigMap> = Api::namespaced(self.machine().client(), "kube-system");
        maps.create(&PostParams::default(), &map).await?;
        Ok(())
    }

    async fn all_certificates(&self) -> Result<RenewCerts, RehearsalError> {
        let ports = Component::ALL.map(|one| (one, one.default_port())).into();
        let (root, minute) = (self.kubernetes_dir(), super::pace::timeouts().minute);
        let found = inventory(&*self.host, &ports, &root, Pace::patient(minute)).await;
        let renewal = Renewal::of(&[], &found, &root, Timestamp::now());
        let renewal = renewal.map_err(|refused| RehearsalError::Change(refused.to_string()))?;
        Ok(RenewCerts::of(&renewal, SOON))
    }

    pub(super) fn kubernetes_dir(&self) -> PathBuf {
        let manifests = self.manifests();
        manifests.path().parent().unwrap_or(manifests.path()).to_owned()
    }

    async fn daemonsets(&self) -> Result<Vec<(Component, Value)>, RehearsalError> {
        let mut live = Vec::new();
        for component in Component::ALL {
            let name = component.daemonset_name();
            let found = self.cluster.daemonset(name).await?;
            let gone = || RehearsalError::Change(format!("DaemonSet {name} is gone"));
            live.push((component, found.ok_or_else(gone)?));
        }
        Ok(live)
    }

    async fn look_before(&self) -> Result<Before, RehearsalError> {
        let live = self.daemonsets().await?;
        let template = |(component, live): (Component, Value)| (component, live["spec"]["template"].clone());
        let (root, configuration) = (self.kubernetes_dir(), self.cluster.kubeadm_configuration().await?);
        let mut certificates = BTreeMap::new();
        for path in Renewable::all().flat_map(|name| name.files(&root)).filter(|path| path.exists()) {
            let seen = (fs::read(&path)?, fs::metadata(&path)?.modified()?);
            certificates.insert(path, seen);
        }
        Ok(Before { templates: live.into_iter().map(template).collect(), configuration, certificates })
    }
}

impl Before {
    /// The first thing that differs.
    fn differs(&self, other: &Self) -> Option<String> {
        let mut templates = self.templates.iter().zip(&other.templates);
        let template = templates.find(|(now, before)| now != before);
        let template = template.map(|((component, _), _)| component.daemonset_name().to_owned());
        let configuration = (self.configuration != other.configuration).then(|| "kubeadm-config".to_owned());
        template.or(configuration).or_else(|| {
            let differs = |path: &&PathBuf| self.certificates.get(*path) != other.certificates.get(*path);
            let path = self.certificates.keys().chain(other.certificates.keys()).find(differs);
            path.map(|path| path.display().to_string())
        })
    }
}

impl Change {
    /// What should have changed, and has not.
    fn is_missing(&self, now: &Before, before: &Before) -> Option<String> {
        let is_as_before = |component: &Component| {
            let of = |seen: &Before| seen.templates.iter().find(|(one, _)| one == component).cloned();
            of(now) == of(before)
        };
        let templates: Vec<Component> = match self {
            Self::Edit(edit) => vec![edit.component],
            Self::Upgrade(upgrade) => upgrade.merged.iter().map(|merged| merged.component).collect(),
            Self::RenewCerts(wanted) => wanted.rolled.keys().copied().collect(),
            Self::RollCerts(wanted) => wanted.keys().copied().collect(),
            Self::UpgradeEtcd(_) | Self::Adopt(..) => Vec::new(),
        };
        let template = templates.into_iter().find(is_as_before);
        let template = template.map(|component| component.daemonset_name().to_owned());
        let files = matches!(self, Self::RenewCerts(_)).then_some(&now.certificates);
        template.or_else(|| {
            let same = |(path, (bytes, _)): &(&PathBuf, &(Vec<u8>, SystemTime))| {
                before.certificates.get(*path).is_some_and(|(former, _)| former == bytes)
            };
            files?.iter().find(same).map(|(path, _)| path.display().to_string())
        })
    }
}

/// The runs of changes: those that a person asks for after a pivot.
pub(super) fn is_a_change(kind: &str) -> bool {
    matches!(kind, UPGRADE | RENEW_CERTS)
}
