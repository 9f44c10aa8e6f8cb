//! `renew-certs`: has kubeadm renew the certificates, one after the other. Undo: puts the files back that
//! `archive-certs` has kept, byte for byte, with their mode and owner.
//!
//! A kubeadm that was killed may leave a new key beside an old certificate. Such files are put back first, and
//! renewed again. What is renewed is not renewed twice.

use super::archive_certs::kept;
use crate::certificates::{Compared, KeptFile, Renewable};
use crate::change;
use crate::host::{Hindrance, kubeadm_is_at_rest};
use crate::site::Site;
use crate::step_name::StepKind;
use async_trait::async_trait;
use fulcrum_engine::{Context, Pending, ProbeResult, Step, StepError, StepId};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::Arc;

pub(super) struct RenewCerts {
    pub(super) site: Arc<Site>,
    pub(super) names: Vec<Renewable>,
}

/// What the files of a certificate are.
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

    fn of<'a>(&self, name: Renewable, kept: &'a [KeptFile]) -> Vec<&'a KeptFile> {
        let files = name.files(&self.root());
        kept.iter().filter(|one| files.contains(&one.path)).collect()
    }

    fn stands(&self, name: Renewable, kept: &[KeptFile]) -> Stands {
        let files = self.of(name, kept);
        let others = files.iter().filter(|one| one.compare() == Compared::Other).count();
        match (others, name.whole(&self.root())) {
            (0, _) => Stands::Former,
            (others, Ok(_)) if others == files.len() => Stands::Renewed,
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

    async fn renew(&self, name: Renewable, kept: &[KeptFile]) -> Result<(), StepError> {
        let renewing = self.site.node.host.renew_certificate(name.name(), &self.root()).await;
        // Also of a part: whoever reads the history must know what was written.
        for one in self.of(name, kept).into_iter().filter(|one| one.compare() == Compared::Other) {
            change::record(change::file(&one.path, Some(one.state()), one.state_now()));
        }
        renewing.map_err(|error| match error.hindrance {
            Hindrance::Unsupported => StepError::fatal(error),
            _ => StepError::retry(error),
        })?;
        match (self.stands(name, kept), name.whole(&self.root())) {
            (Stands::Renewed, _) => Ok(()),
            (_, Err(cause)) => Err(StepError::retry(format!("kubeadm has renewed {name}, and yet {cause}"))),
            _ => Err(StepError::retry(format!(
                "kubeadm says that it has renewed {name}; its files are as before"
            ))),
        }
    }

    fn told(&self, kept: &[KeptFile]) -> Value {
        let mut told = Map::new();
        for name in &self.names {
            if let Ok(certificate) = name.whole(&self.root()) {
                told.insert(
                    name.name().to_owned(),
                    json!({ "ends": certificate.not_after.to_string(), "sha256": certificate.sha256() }),
                );
            }
        }
        let files = kept.iter().map(|one| (one.path.display().to_string(), json!(one.state_now())));
        json!({ "certificates": told, "files": files.collect::<Map<_, _>>() })
    }

    /// The files that are neither those from before nor those that this run has made.
    fn of_another(cx: &Context, kept: &[KeptFile]) -> Vec<String> {
        let Some(made) = cx.output_value(StepId::from(StepKind::RenewCerts).as_str()) else {
            return Vec::new();
        };
        let is_another = |one: &&KeptFile| {
            one.compare() == Compared::Other
                && json!(one.state_now()) != made["files"][one.path.display().to_string()]
        };
        kept.iter().filter(is_another).map(|one| one.path.display().to_string()).collect()
    }
}

#[async_trait]
impl Step for RenewCerts {
    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        let kept = kept(cx)?;
        let stands: Vec<Stands> = self.names.iter().map(|name| self.stands(*name, &kept)).collect();
        let renewed = stands.iter().filter(|one| **one == Stands::Renewed).count();
        Ok(match renewed {
            all if all == stands.len() => ProbeResult::Done,
            0 if !stands.contains(&Stands::Half) => ProbeResult::Absent,
            some => ProbeResult::Partial(format!("{some} of {} certificates are renewed", stands.len())),
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let kept = kept(cx)?;
        if kept.is_empty() {
            return Err(StepError::fatal("the files from before were not kept"));
        }
        self.nothing_else_writes(cx).await?;
        for name in &self.names {
            match self.stands(*name, &kept) {
                Stands::Renewed => continue,
                Stands::Former => {}
                Stands::Half => self.of(*name, &kept).into_iter().try_for_each(KeptFile::restore)?,
            }
            cx.report(format!("kubeadm renews {name}"));
            self.renew(*name, &kept).await?;
        }
        Ok(self.told(&kept))
    }

    async fn output(&self, cx: &Context) -> Result<Value, StepError> {
        let kept = kept(cx)?;
        for one in kept.iter().filter(|one| one.compare() == Compared::Other) {
            change::record(change::file(&one.path, Some(one.state()), one.state_now()));
        }
        Ok(self.told(&kept))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let kept = kept(cx)?;
        if kept.is_empty() {
            return Ok(());
        }
        self.nothing_else_writes(cx).await?;
        let others = Self::of_another(cx, &kept);
        if !others.is_empty() {
            return Err(StepError::fatal(format!(
                "{}: neither the file from before nor the one that was renewed here: somebody has changed it since, and \
                 all of them stay as they are; put the files of {} there by hand if they are wanted, then `fulcrum resume`",
                others.join(", "),
                kept[0].copy.parent().unwrap_or(&kept[0].copy).display()
            )));
        }
        Ok(kept.iter().try_for_each(KeptFile::restore)?)
    }
}
