//! `snapshot-etcd`: keeps etcd's manifest and a snapshot of its data in the archive, for a person who has nothing else
//! left. A snapshot holds every Secret of the cluster: root alone can read it. Undo keeps both.

use crate::change;
use crate::site::Site;
use crate::upgrade::EtcdChange;
use async_trait::async_trait;
use fulcrum_engine::state::fsync;
use fulcrum_engine::{Context, ProbeResult, Step, StepError};
use rustix::fs::statvfs;
use serde_json::{Value, json};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

/// The mode of the snapshot.
const MODE: u32 = 0o600;

pub(super) struct SnapshotEtcd {
    pub(super) site: Arc<Site>,
    pub(super) change: EtcdChange,
}

impl SnapshotEtcd {
    /// etcd may write to the same disk: this one must not fill it.
    async fn refuse_a_full_disk(&self, dir: &Path) -> Result<(), StepError> {
        let EtcdChange { door, member, .. } = &self.change;
        let size = self.site.cluster.etcd_size(door, &member.url).await?;
        let disk = statvfs(dir).map_err(|errno| {
            StepError::retry(format!("see how much room there is in {}: {errno}", dir.display()))
        })?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free / 2 >= size {
            return Ok(());
        }
        Err(StepError::fatal(format!(
            "etcd's database has {size} bytes, and {} has room for {free}: a snapshot would fill it; make room for twice the \
             database",
            dir.display()
        )))
    }
}

#[async_trait]
impl Step for SnapshotEtcd {
    /// A snapshot that was cut short is made again.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let (site, EtcdChange { file, door, member, .. }) = (&self.site, &self.change);
        let image = site.node.manifests.read(file)?;
        let image = image.ok_or_else(|| {
            StepError::fatal(format!(
                "{} is gone: no etcd to upgrade",
                site.node.manifests.file(file).display()
            ))
        })?;
        let dir = site.archive_of(cx.run());
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        fsync::sync_dir(&site.archive())?;
        fsync::sync_dir(&site.state_dir)?;
        let manifest = dir.join(file);
        let owner = Some((image.uid, image.gid));
        fsync::write_atomic(&manifest, image.content.as_bytes(), Some(image.mode), owner)?;
        let state = change::file_state(image.content.as_bytes(), image.mode, owner);
        change::record(change::file(&manifest, None, Some(state)));

        let path = site.etcd_snapshot_of(cx.run());
        fsync::sweep(&path)?;
        self.refuse_a_full_disk(&dir).await?;
        let snapshot = site.cluster.etcd_snapshot(door, &member.url, &path).await?;
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let state = change::state_of_digest(&snapshot.sha256, MODE, owner);
        change::record(change::file(&path, None, Some(state)));
        cx.note(format!("etcd's snapshot is {}: a person restores it, with etcdutl", path.display()));
        Ok(json!({ "manifest": manifest, "snapshot": path, "of": snapshot }))
    }

    /// What was cut short goes: it is of no use, and holds Secrets.
    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        if self.site.archive_of(cx.run()).exists() {
            fsync::sweep(&self.site.etcd_snapshot_of(cx.run()))?;
        }
        Ok(())
    }
}
