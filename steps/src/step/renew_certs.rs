//! `renew-certs/<name>`: has kubeadm renew one certificate. Before that its files are copied to a directory for root:
//! they have keys in them, and the journal has their paths and digests only. Undo: puts the files back, byte for byte,
//! with their mode and owner, and removes the copies.
//!
//! A kubeadm that was killed may leave a new key beside an old certificate. Such files are put back first, and
//! renewed again. What is renewed is not renewed twice.

use crate::certificates::{Compared, KeptDir, KeptFile, Renewable};
use crate::change;
use crate::host::{Hindrance, kubeadm_is_at_rest};
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Pending, ProbeResult, Step, StepError};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::Arc;

pub(super) struct RenewCerts {
    pub(super) site: Arc<Site>,
    pub(super) name: Renewable,
}

/// What the files of the certificate are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// Those from before.
    Former,
    /// Others, of which certificate and key belong together.
    Renewed,
    /// A part of it.
    Half,
}

impl RenewCerts {
    fn root(&self) -> PathBuf {
        self.site.kubernetes_dir()
    }

    fn dir(&self, cx: &Context) -> KeptDir {
        KeptDir::of(&self.site.archive(), cx.run())
    }

    /// The files from before. None if the step has not come so far.
    fn kept(cx: &Context) -> Result<Vec<KeptFile>, StepError> {
        cx.pre_image().map_or(Ok(Vec::new()), |files| serde_json::from_slice(files).map_err(StepError::fatal))
    }

    fn stands(&self, kept: &[KeptFile]) -> Stands {
        let others = kept.iter().filter(|one| one.compare() == Compared::Other).count();
        match (others, self.name.whole(&self.root())) {
            (0, _) => Stands::Former,
            (others, Ok(_)) if others == kept.len() => Stands::Renewed,
            _ => Stands::Half,
        }
    }

    /// What is killed with its process goes on for a moment, and writes.
    async fn nothing_else_writes(&self, cx: &Context) -> Result<(), StepError> {
        let look = async || match kubeadm_is_at_rest(&self.root())? {
            true => Ok(()),
            false => Err(Pending::NotYet("it is at work".to_owned())),
        };
        cx.wait("a kubeadm that was started before, to end", self.site.timeouts.poll, look).await
    }

    async fn renew(&self, kept: &[KeptFile]) -> Result<(), StepError> {
        let name = self.name;
        let renewing = self.site.node.host.renew_certificate(name.name(), &self.root()).await;
        // Also of a part: the history must say what was written.
        record(kept);
        renewing.map_err(|error| match error.hindrance {
            Hindrance::Unsupported => StepError::fatal(error),
            _ => StepError::retry(error),
        })?;
        match (self.stands(kept), name.whole(&self.root())) {
            (Stands::Renewed, _) => Ok(()),
            (_, Err(cause)) => Err(StepError::retry(format!("kubeadm has renewed {name}, and yet {cause}"))),
            _ => {
                let text =
                    format!("kubeadm says that it has renewed {name}; not all of its files have changed");
                Err(StepError::retry(text))
            }
        }
    }

    fn told(&self, kept: &[KeptFile]) -> Result<Value, StepError> {
        let certificate = self.name.whole(&self.root()).map_err(StepError::retry)?;
        let files = kept.iter().map(|one| (one.path.display().to_string(), json!(one.state_now())));
        Ok(json!({ "ends": certificate.not_after.to_string(), "files": files.collect::<Map<_, _>>() }))
    }

    /// The files that are neither those from before nor those that this step has made.
    fn of_another(cx: &Context, kept: &[KeptFile]) -> Vec<String> {
        let Some(made) = cx.output_value(cx.step().as_str()) else { return Vec::new() };
        let is_another = |one: &&KeptFile| {
            one.compare() == Compared::Other
                && json!(one.state_now()) != made["files"][one.path.display().to_string()]
        };
        kept.iter().filter(is_another).map(|one| one.path.display().to_string()).collect()
    }
}

/// Records what has become of the files.
fn record(kept: &[KeptFile]) {
    for one in kept.iter().filter(|one| one.compare() == Compared::Other) {
        change::record(change::file(&one.path, Some(one.state()), one.state_now()));
    }
}

#[async_trait]
impl Step for RenewCerts {
    fn saves(&self) -> bool {
        true
    }

    /// The copies are on the disk before the journal names them.
    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        self.nothing_else_writes(cx).await?;
        // What would be kept must be worth coming back to.
        self.name.whole(&self.root()).map_err(StepError::fatal)?;
        let kept = self.dir(cx).keep(self.name, &self.root())?;
        Ok(serde_json::to_vec(&kept).map_err(StepError::fatal)?)
    }

    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(match self.stands(&Self::kept(cx)?) {
            Stands::Renewed => ProbeResult::Done,
            Stands::Former => ProbeResult::Absent,
            Stands::Half => ProbeResult::Partial(format!("the files of {} are half renewed", self.name)),
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let kept = Self::kept(cx)?;
        if kept.is_empty() {
            return Err(StepError::fatal("the files from before were not kept"));
        }
        self.nothing_else_writes(cx).await?;
        match self.stands(&kept) {
            Stands::Renewed => return self.told(&kept),
            Stands::Former => {}
            Stands::Half => kept.iter().try_for_each(KeptFile::restore)?,
        }
        self.renew(&kept).await?;
        self.told(&kept)
    }

    async fn output(&self, cx: &Context) -> Result<Value, StepError> {
        let kept = Self::kept(cx)?;
        record(&kept);
        self.told(&kept)
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let kept = Self::kept(cx)?;
        let Some(first) = kept.first() else { return Ok(()) };
        self.nothing_else_writes(cx).await?;
        let others = Self::of_another(cx, &kept);
        if !others.is_empty() {
            return Err(StepError::fatal(format!(
                "{}: neither the file from before nor the one that was renewed here: somebody has changed it since, and \
                 it stays; put the files of {} there by hand if they are wanted, then `fulcrum resume`",
                others.join(", "),
                first.copy.parent().unwrap_or(&first.copy).display()
            )));
        }
        kept.iter().try_for_each(KeptFile::restore)?;
        Ok(self.dir(cx).forget_files(&kept)?)
    }
}
