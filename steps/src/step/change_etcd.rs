//! `change-etcd`: gives this node's etcd its new image, and waits until the new process serves: with the right version,
//! as a healthy member, without an alarm.
//!
//! Undo: the former manifest, byte for byte, where both are of one minor release. An etcd of another minor release may have
//! rewritten the data, and the former one would not start on them: then the new one stays. If it does not serve, only a
//! person can go on, with the snapshot.

use super::lock;
use crate::host::{FileImage, Process};
use crate::site::{Site, describe, in_static_pod};
use crate::upgrade::{EtcdChange, EtcdVersion, etcd_answers, etcd_of, no_alarm, with_etcd_image};
use async_trait::async_trait;
use fulcrum_engine::{Context, Look, Pending, ProbeResult, Step, StepError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::Instant;

pub(super) struct ChangeEtcd {
    pub(super) site: Arc<Site>,
    pub(super) change: EtcdChange,
}

/// What was there before.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedEtcd {
    /// The manifest.
    pub(crate) manifest: FileImage,
    /// The pod that ran. The kubelet makes its uid from the manifest.
    pod_uid: String,
}

impl ChangeEtcd {
    fn saved(cx: &Context) -> Result<Option<SavedEtcd>, StepError> {
        cx.pre_image().map(serde_json::from_slice).transpose().map_err(StepError::fatal)
    }

    fn changed(&self, saved: &SavedEtcd) -> Result<FileImage, StepError> {
        let EtcdChange { from, to, .. } = &self.change;
        let content = with_etcd_image(&saved.manifest.content, &from.image, &to.image);
        Ok(saved.manifest.with_content(content.map_err(StepError::fatal)?))
    }

    fn edited(&self) -> StepError {
        StepError::fatal(format!(
            "{} is neither as it was nor as this run would make it: somebody else has changed it; make it one of the two",
            self.site.node.manifests.file(&self.change.file).display()
        ))
    }

    /// The process of a static pod that listens where clients of etcd connect.
    async fn process(&self) -> Look<Process> {
        let port = self.change.member.port;
        let listeners = self.site.node.host.listeners(port).await?;
        let found = listeners.into_iter().map(|one| one.process).find(in_static_pod);
        found.ok_or_else(|| Pending::NotYet(format!("no process of a static pod listens on port {port}")))
    }

    /// Whether etcd serves as this version, from the pod of before or from another one.
    async fn serves(&self, version: EtcdVersion, saved: &SavedEtcd, as_before: bool) -> Look<Process> {
        let process = self.process().await?;
        if (process.pod_uid.as_ref() == Some(&saved.pod_uid)) != as_before {
            return Err(Pending::NotYet(format!("{} still listens", describe(&process))));
        }
        let seen = etcd_answers(&self.site, &self.change, version).await?;
        // An alarm is no reason to keep the former one from coming back.
        if !as_before {
            no_alarm(&seen)?;
        }
        Ok(process)
    }

    async fn wait(
        &self,
        cx: &Context,
        version: EtcdVersion,
        saved: &SavedEtcd,
        as_before: bool,
    ) -> Result<Process, StepError> {
        let what = format!("etcd {version} to serve");
        let look = async || self.serves(version, saved, as_before).await;
        cx.wait(&what, self.site.timeouts.poll, look).await
    }

    /// The new etcd stays, if it serves. Its own run has waited for that already, unless it was cut short.
    async fn stays(&self, cx: &Context, saved: &SavedEtcd) -> Result<(), StepError> {
        let (from, to) = (self.change.from.version, self.change.to.version);
        let until = Instant::now() + self.site.timeouts.image;
        let look = async || match self.serves(to, saved, false).await {
            Err(Pending::NotYet(seen)) if Instant::now() >= until => Err(self.is_stuck(cx, &seen).into()),
            seen => seen,
        };
        cx.wait(&format!("etcd {to} to serve, which stays"), self.site.timeouts.poll, look).await?;
        cx.note(format!("etcd {to} stays: it does not go back to {from}"));
        Ok(())
    }

    fn is_stuck(&self, cx: &Context, seen: &str) -> StepError {
        let EtcdChange { from, to, file, .. } = &self.change;
        StepError::fatal(format!(
            "etcd {} does not serve ({seen}), and may have rewritten its data, so that {} would not start on them: see `crictl \
             logs` for its reason; if no container of it has ever started, copy {} to {}; else restore {} with `etcdutl \
             snapshot restore`; then `fulcrum resume`",
            to.version,
            from.version,
            self.site.archive_of(cx.run()).join(file).display(),
            self.site.node.manifests.file(file).display(),
            self.site.etcd_snapshot_of(cx.run()).display(),
        ))
    }
}

#[async_trait]
impl Step for ChangeEtcd {
    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, _cx: &Context) -> Result<Vec<u8>, StepError> {
        let EtcdChange { file, from, .. } = &self.change;
        let manifest = self.site.node.manifests.read(file)?.ok_or_else(|| self.edited())?;
        if etcd_of(&manifest.content).as_ref() != Some(&from.image) {
            return Err(self.edited());
        }
        let process = match self.process().await {
            Ok(process) => process,
            Err(Pending::NotYet(seen)) => return Err(StepError::retry(seen)),
            Err(Pending::Failed(error)) => return Err(error),
        };
        let saved = SavedEtcd { manifest, pod_uid: process.pod_uid.unwrap_or_default() };
        Ok(serde_json::to_vec(&saved).map_err(StepError::fatal)?)
    }

    /// A change that was cut short is gone on with: the manifest says how far it came.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let (manifests, EtcdChange { file, to, .. }) = (&self.site.node.manifests, &self.change);
        let saved =
            Self::saved(cx)?.ok_or_else(|| StepError::fatal("the manifest from before is not kept"))?;
        let changed = self.changed(&saved)?;
        manifests.sweep(file)?;
        let mut began = Instant::now();
        match manifests.read(file)? {
            Some(now) if now == saved.manifest => {
                let spared = async || self.change.spared(&self.site).await;
                cx.wait("the others to spare this node's etcd", self.site.timeouts.poll, spared).await?;
                lock::still_ours(&self.site, cx).await?;
                began = Instant::now();
                manifests.write(file, &changed)?;
            }
            Some(now) if now == changed => manifests.record_found(file, &changed),
            _ => return Err(self.edited()),
        }
        let process = self.wait(cx, to.version, &saved, false).await?;
        let away = began.elapsed().as_secs_f32();
        cx.note(format!("etcd {} serves after {away:.1} s", to.version));
        Ok(json!({ "pid": process.pid, "manifest": changed.digest(), "version": to.version.to_string() }))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let Some(saved) = Self::saved(cx)? else { return Ok(()) };
        let (manifests, EtcdChange { file, from, .. }) = (&self.site.node.manifests, &self.change);
        let changed = self.changed(&saved)?;
        manifests.sweep(file)?;
        match manifests.read(file)? {
            Some(now) if now == saved.manifest => manifests.record_found(file, &saved.manifest),
            Some(now) if now == changed && !self.change.can_go_back() => return self.stays(cx, &saved).await,
            Some(now) if now == changed => manifests.write(file, &saved.manifest)?,
            _ => return Err(self.edited()),
        }
        self.wait(cx, from.version, &saved, true).await.map(drop)
    }
}
