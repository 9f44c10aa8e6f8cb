//! `update-secrets`: gives the Secrets, and the mirror, what kubeadm's files have now. Its undo is a step of its own,
//! `prepare-rollback/update-secrets`, which comes before the renewal: on the way back the Secrets get what they had when
//! the former files are there again.

use crate::certificates::{Contents, write_mirror};
use crate::cluster::NAMESPACE;
use crate::look::{answered, before_a_fallback};
use crate::manifest::InSecrets;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Look, Pending, ProbeResult, Step, StepError};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) struct UpdateSecrets {
    pub(super) site: Arc<Site>,
}

/// Changes nothing; its undo is the way back. Fails where a Secret has something else than the files: the renewal
/// would overwrite it.
pub(super) struct PrepareUpdateSecrets {
    pub(super) site: Arc<Site>,
}

fn of(site: &Site) -> Result<&InSecrets, StepError> {
    let of = site.settings.in_secrets.as_ref();
    of.ok_or_else(|| StepError::fatal("the run does not say which certificates are in Secrets"))
}

/// Makes the Secrets and the mirror have what the files have. What a person has added to a Secret stays.
async fn update(site: &Site, cx: &Context) -> Result<Value, StepError> {
    let of = of(site)?;
    let files = Contents::of_files(of, &of.root)
        .map_err(|error| StepError::retry(format!("the files for the Secrets: {error}")))?;
    for one in &files {
        let what = format!("the API, to change Secret {}", one.secret);
        cx.wait(&what, site.timeouts.poll, async || update_one(site, one).await).await?;
    }
    write_mirror(of, &files)?;
    let digests = files.iter().map(|one| (one.secret.to_owned(), json!(one.digest())));
    Ok(digests.collect::<Map<_, _>>().into())
}

async fn update_one(site: &Site, file: &Contents) -> Look<()> {
    let live = answered(site.cluster.secret(file.secret).await)?;
    let live = live.ok_or_else(|| {
        StepError::fatal(format!(
            "Secret {NAMESPACE}/{} is gone: the pods that mount it cannot start again; `fulcrum rollback` brings the \
             static pods back",
            file.secret
        ))
    })?;
    if file.of_secret(&live) == *file {
        return Ok(());
    }
    let mut wanted = live.clone();
    wanted.data.get_or_insert_default().extend(file.bytes());
    match site.cluster.replace_secret(&live, &wanted).await {
        Err(error) if error.is_conflict() => Err(Pending::NotYet(error.to_string())),
        other => answered(other).map(drop),
    }
}

/// The Secrets that have something else than the files.
async fn other_than_files(site: &Site) -> Look<Vec<&'static str>> {
    let of = of(site)?;
    let files = Contents::of_files(of, &of.root)
        .map_err(|error| StepError::fatal(format!("the files for the Secrets: {error}")))?;
    let mut others = Vec::new();
    for file in &files {
        let live = answered(site.cluster.secret(file.secret).await)?;
        if live.is_none_or(|live| file.of_secret(&live) != *file) {
            others.push(file.secret);
        }
    }
    Ok(others)
}

#[async_trait]
impl Step for UpdateSecrets {
    /// Making them equal again costs no more than comparing.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        update(&self.site, cx).await
    }

    /// The Secrets get the former files when these are back: `prepare-rollback/update-secrets`.
    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}

#[async_trait]
impl Step for PrepareUpdateSecrets {
    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        let look = async || other_than_files(&self.site).await;
        let others = cx.wait("the API, to compare the Secrets", self.site.timeouts.poll, look).await?;
        if others.is_empty() {
            return serde_json::to_vec(&true).map_err(StepError::fatal);
        }
        Err(StepError::fatal(format!(
            "Secret {} has something else than the files below {}: put what is right into these first; nothing was changed",
            others.join(", "),
            of(&self.site)?.root.display()
        )))
    }

    /// There is nothing to look for.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        Ok(Value::Null)
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        if cx.pre_image().is_none() {
            return Ok(());
        }
        let back = update(&self.site, cx);
        before_a_fallback(self.site.timeouts.api, "to put the Secrets back", back).await.map(drop)
    }
}
