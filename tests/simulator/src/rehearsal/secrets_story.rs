//! A control plane that has its certificates in Secrets, after its pivot: a power cut, a rotation, and what the way back
//! must not leave.

use super::error::RehearsalError;
use super::keys::{FOR_ROOT, Keys};
use super::pace::{POLL, SOON, intervals};
use super::pulse::Pulse;
use super::simulated_site::{SimulatedSite, settings_of};
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_steps::certificates::Renewable;
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::{Ended, Guard};
use fulcrum_steps::manifest::{InSecrets, SecretFile};
use fulcrum_steps::unit::PATIENCE;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// The certificate that is rotated: its process reads it by itself.
const ROTATED: Renewable = Renewable::Apiserver;

impl SimulatedSite {
    /// The years of such a control plane: a power cut, and a rotation.
    ///
    /// # Errors
    /// With what did not go as it must.
    pub(super) async fn lives_with_secrets(&self, pivot: RunId) -> Result<(), RehearsalError> {
        let of = self.in_secrets_of(pivot)?;
        self.survives_a_power_cut(&of, None).await?;
        self.rotates(&of).await
    }

    /// Where this pivot has put the certificates.
    pub(super) fn in_secrets_of(&self, pivot: RunId) -> Result<InSecrets, RehearsalError> {
        let of = settings_of(&self.journal()?, pivot)?.in_secrets;
        of.ok_or_else(|| RehearsalError::Change("the pivot puts no certificate into a Secret".to_owned()))
    }

    /// The keys of this node.
    pub(super) fn keys(&self) -> io::Result<Keys> {
        Keys::of(&self.kubernetes_dir())
    }

    /// Turns the power off and on. No Secret can be read then: the standby reads the mirror. It serves, and the guard hands
    /// the control plane over again.
    pub(super) async fn survives_a_power_cut(
        &self,
        of: &InSecrets,
        clients: Option<&Pulse>,
    ) -> Result<(), RehearsalError> {
        clients.inspect(|pulse| pulse.power_off());
        let start = self.loses_power().await?;
        let standby = self.manifests().read(Component::ApiServer.manifest_file())?;
        let mirror = of.mirror.join("pki").display().to_string();
        if !standby.is_some_and(|standby| standby.content.contains(&mirror)) {
            let seen = format!("at the boot the guard has restored no API server that reads {mirror}");
            return Err(RehearsalError::Change(seen));
        }
        clients.inspect(|pulse| pulse.power_on());
        self.has_power_again(start).await?;
        self.guard_goes_on().await?;
        self.stands_with_secrets(of).await
    }

    /// Puts another certificate into its file and its Secret, as `docs/certificates.md` says for one of another origin,
    /// and waits until the guard has it in the mirror.
    pub(super) async fn rotates(&self, of: &InSecrets) -> Result<(), RehearsalError> {
        self.host.renew_certificate(ROTATED.name(), &of.root).await?;
        let read = |file: SecretFile| Ok((file.key, ByteString(fs::read(of.root.join(file.path))?)));
        let data = of.files().filter(|file| file.secret == ROTATED.name()).map(read);
        let patch = json!({ "data": data.collect::<io::Result<BTreeMap<_, _>>>()? });
        self.secrets().patch(ROTATED.name(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
        let stop = CancellationToken::new();
        let (intervals, told_to_stop) = (intervals(PATIENCE), stop.clone());
        let guard = Guard { env: self, intervals, roll_certificates: false, stop: told_to_stop };
        // The guard that has carried out a run begins anew, as systemd has it.
        let guarding = async { while guard.run(|| {}).await == Ended::RunIsOver {} };
        let mirrored = async {
            let mirrored = tokio::time::timeout(SOON, self.until_mirrored(of)).await;
            stop.cancel();
            let late = || format!("after {SOON:?} the mirror has not what was put into Secret {ROTATED}");
            mirrored.unwrap_or_else(|_| Err(RehearsalError::Change(late())))
        };
        tokio::join!(guarding, mirrored).1?;
        self.stands_with_secrets(of).await
    }

    async fn until_mirrored(&self, of: &InSecrets) -> Result<(), RehearsalError> {
        while let Some(path) = differing(of, &of.root, &of.mirror)? {
            tracing::trace!("the mirror's {path} is another one");
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Checks that everything is self-hosted, and that the Secrets and the mirror have what the files have.
    pub(super) async fn stands_with_secrets(&self, of: &InSecrets) -> Result<(), RehearsalError> {
        self.is_self_hosted().await?;
        for file in of.files() {
            let live = self.secrets().get(file.secret).await?.data.unwrap_or_default().remove(file.key);
            if live.map(|live| live.0) != Some(fs::read(of.root.join(file.path))?) {
                let seen = format!("Secret {}, {}: not what {} has", file.secret, file.key, file.path);
                return Err(RehearsalError::Change(seen));
            }
        }
        match differing(of, &of.root, &of.mirror)? {
            None => self.hides(&self.keys()?, Some(&of.mirror)),
            Some(path) => Err(RehearsalError::Change(format!("the mirror's {path} is another one"))),
        }
    }

    /// Checks that the way back has left no Secret, no mirror, and no key in a file that is not kubeadm's.
    pub(super) async fn keeps_no_secret(
        &self,
        journal: &Journal,
        pivot: RunId,
        mut keys: Keys,
    ) -> Result<(), RehearsalError> {
        keys.learn(&self.kubernetes_dir())?;
        let of = settings_of(journal, pivot)?.in_secrets;
        if let Some(of) = of.filter(|of| of.mirror.exists()) {
            return Err(RehearsalError::Change(format!("{} is left", of.mirror.display())));
        }
        let left = self.secrets().list(&ListParams::default()).await?.items;
        if let Some(name) = left.into_iter().find_map(|secret| secret.metadata.name) {
            return Err(RehearsalError::Change(format!("Secret {name} is left")));
        }
        self.hides(&keys, None)
    }

    /// Checks that each key is in kubeadm's files and in the mirror alone, and that only root can read those.
    fn hides(&self, keys: &Keys, mirror: Option<&Path>) -> Result<(), RehearsalError> {
        let root = self.kubernetes_dir();
        for (path, mode) in keys.found_in(&root)? {
            let is_kubeadms = path.starts_with(root.join("pki")) || path.parent() == Some(&root);
            let is_known = is_kubeadms || mirror.is_some_and(|mirror| path.starts_with(mirror));
            if !is_known || mode != FOR_ROOT {
                let seen = format!("{}, mode {mode:04o}, has a key", path.display());
                return Err(RehearsalError::Change(seen));
            }
        }
        Ok(())
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.machine().client(), "kube-system")
    }
}

/// The first file that these directories do not have alike.
fn differing(of: &InSecrets, one: &Path, other: &Path) -> io::Result<Option<&'static str>> {
    for SecretFile { path, .. } in of.files() {
        if fs::read(one.join(path))? != fs::read(other.join(path))? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
