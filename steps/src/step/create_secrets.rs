//! `create-secrets`: makes a Secret of each certificate and kubeconfig that the DaemonSets read, and the mirror, which
//! is what the standby reads. The journal has their names and digests, never what is in them. Undo: deletes the
//! Secrets that this run has made, and removes the mirror.
//!
//! A Secret that was there before is somebody else's: the step fails and touches none. A certificate that was
//! changed in its Secret only is not lost with the Secret: the mirror then stays.

use crate::certificates::{Contents, remove_mirror, write_mirror};
use crate::cluster::{NAMESPACE, RUN_ANNOTATION};
use crate::look::answered;
use crate::manifest::InSecrets;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, ProbeResult, Step, StepError};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) struct CreateSecrets {
    pub(super) site: Arc<Site>,
}

/// A Secret of the API, compared with what it should have.
enum Found {
    Absent,
    /// This run has made it, of these files.
    Made,
    /// This run has made it, of other files.
    Older(Box<Secret>),
    /// Another owner's.
    NotOurs,
}

impl CreateSecrets {
    fn of(&self) -> Result<&InSecrets, StepError> {
        let of = self.site.settings.in_secrets.as_ref();
        of.ok_or_else(|| StepError::fatal("the run does not say which certificates are to be in Secrets"))
    }

    /// What the Secrets should have.
    fn wanted(&self) -> Result<Vec<Contents>, StepError> {
        let of = self.of()?;
        Contents::of_files(of, &of.root)
            .map_err(|error| StepError::fatal(format!("the files for the Secrets: {error}")))
    }

    async fn live(&self, cx: &Context, name: &str) -> Result<Option<Secret>, StepError> {
        let get = async || answered(self.site.cluster.secret(name).await);
        cx.wait(&format!("the API, to read Secret {name}"), self.site.timeouts.poll, get).await
    }

    async fn find(&self, cx: &Context, wanted: &Contents) -> Result<Found, StepError> {
        let Some(live) = self.live(cx, wanted.secret).await? else { return Ok(Found::Absent) };
        Ok(match (is_of(cx, &live), wanted.of_secret(&live) == *wanted) {
            (false, _) => Found::NotOurs,
            (true, true) => Found::Made,
            (true, false) => Found::Older(Box::new(live)),
        })
    }

    async fn make(&self, cx: &Context, wanted: &Contents) -> Result<(), StepError> {
        let annotations = [(RUN_ANNOTATION.to_owned(), cx.run().to_string())].into();
        let secret = wanted.to_secret(NAMESPACE, annotations);
        let what = format!("the API, to create Secret {}", wanted.secret);
        match self.find(cx, wanted).await? {
            Found::Made => Ok(()),
            Found::NotOurs => Err(StepError::fatal(there_before(wanted.secret))),
            Found::Older(live) => {
                let mut secret = secret;
                secret.metadata = live.metadata.clone();
                let replace = async || answered(self.site.cluster.replace_secret(&live, &secret).await);
                cx.wait(&what, self.site.timeouts.poll, replace).await.map(drop)
            }
            Found::Absent => {
                let create = async || match self.site.cluster.create_secret(&secret).await {
                    // Perhaps this very call, sent twice. The existing object decides.
                    Err(error) if error.is_conflict() => Ok(()),
                    other => answered(other).map(drop),
                };
                cx.wait(&what, self.site.timeouts.poll, create).await?;
                match self.find(cx, wanted).await? {
                    Found::Made => Ok(()),
                    _ => Err(StepError::fatal(there_before(wanted.secret))),
                }
            }
        }
    }
}

fn there_before(name: &str) -> String {
    format!(
        "Secret {NAMESPACE}/{name} is there, and this run has not made it: delete it, or pivot without \
         --store-certs-in-secrets"
    )
}

/// Whether this run has made it.
fn is_of(cx: &Context, live: &Secret) -> bool {
    let annotations = live.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(RUN_ANNOTATION)) == Some(&cx.run().to_string())
}

fn output(contents: &[Contents]) -> Value {
    contents.iter().map(|one| (one.secret.to_owned(), json!(one.digest()))).collect::<Map<_, _>>().into()
}

#[async_trait]
impl Step for CreateSecrets {
    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        let (wanted, of) = (self.wanted()?, self.of()?);
        let mut made = 0;
        for one in &wanted {
            match self.find(cx, one).await? {
                Found::Made => made += 1,
                Found::Absent | Found::Older(_) => {}
                Found::NotOurs => return Ok(ProbeResult::Foreign(there_before(one.secret))),
            }
        }
        let mirrored = Contents::of_files(of, &of.mirror).is_ok_and(|mirror| mirror == wanted);
        Ok(match made {
            0 => ProbeResult::Absent,
            made if made == wanted.len() && mirrored => ProbeResult::Done,
            made => ProbeResult::Partial(format!("{made} of {} Secrets are there", wanted.len())),
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let wanted = self.wanted()?;
        for one in &wanted {
            self.make(cx, one).await?;
        }
        write_mirror(self.of()?, &wanted)?;
        Ok(output(&wanted))
    }

    async fn output(&self, _cx: &Context) -> Result<Value, StepError> {
        Ok(output(&self.wanted()?))
    }

    /// The Secrets' own contents decide whether the mirror may go: what is in the host's files, too, is not lost.
    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let of = self.of()?;
        let Ok(files) = Contents::of_files(of, &of.root) else {
            return Err(StepError::retry("the host's files cannot be read: the Secrets stay until they can"));
        };
        let mut only_there = Vec::new();
        let mut made = Vec::new();
        for file in &files {
            let Some(live) = self.live(cx, file.secret).await?.filter(|live| is_of(cx, live)) else {
                continue;
            };
            let contents = file.of_secret(&live);
            if contents != *file {
                only_there.push(contents);
            }
            made.push(live);
        }
        if !only_there.is_empty() {
            write_mirror(of, &only_there)?;
            let names: Vec<&str> = only_there.iter().map(|one| one.secret).collect();
            tracing::warn!(
                "what is in Secret {} is in no file of {}: it stays in {}",
                names.join(", "),
                of.root.display(),
                of.mirror.display()
            );
        }
        for live in &made {
            let name = live.metadata.name.as_deref().unwrap_or_default();
            let delete = async || answered(self.site.cluster.delete_secret(live).await);
            cx.wait(&format!("the API, to delete Secret {name}"), self.site.timeouts.poll, delete).await?;
        }
        // A mirror that was kept by an earlier attempt has something that the files do not have.
        let mirror = Contents::of_files(of, &of.mirror);
        if mirror.is_err() || mirror.is_ok_and(|mirror| mirror == files) {
            remove_mirror(of)?;
        }
        Ok(())
    }
}
