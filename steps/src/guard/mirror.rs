//! Keeps the mirror true: the files of this host that have what the Secrets have. The standby is started without an
//! API, and reads these.

use super::watch::Watch;
use crate::certificates::{Contents, write_mirror};
use crate::cluster::NAMESPACE;
use crate::component::Component;
use crate::manifest::InSecrets;
use jiff::Timestamp;
use tokio::time::Instant;

/// What was found of the Secrets.
#[derive(Debug, Default)]
struct Found {
    /// What has stood in a Secret since the look before, and can be started with.
    good: Vec<Contents>,
    /// What must not get into the mirror, in words.
    bad: Vec<String>,
}

impl Watch<'_> {
    /// Writes into the mirror what has changed in Secrets, once it has stood there for [`super::Intervals::proof`]. What no
    /// process could start with stays out of it, and is told.
    pub(super) async fn mirror_secrets(&mut self) {
        let Some(of) = self.site.settings.in_secrets.clone() else { return };
        let every = self.guard.intervals.proof;
        if self.teller.mirroring.looked.is_some_and(|looked| looked.elapsed() < every) {
            return;
        }
        self.teller.mirroring.looked = Some(Instant::now());
        let Some(Found { good, mut bad }) = self.changed_secrets(&of).await else { return };
        if !good.is_empty() {
            match write_mirror(&of, &good) {
                Ok(()) => self.mirrored(&good).await,
                Err(error) => bad.push(format!("{} cannot be written: {error}", of.mirror.display())),
            }
        }
        let words = (!bad.is_empty()).then(|| bad.join("; "));
        if self.teller.mirroring.told == words {
            return;
        }
        if let Some(words) = &words {
            let words = format!("the standby goes on with the certificates that it has: {words}");
            self.tell_of_secrets("SecretNotMirrored", &words).await;
        }
        self.teller.mirroring.told = words;
    }

    /// `None` if the API cannot be asked now.
    async fn changed_secrets(&mut self, of: &InSecrets) -> Option<Found> {
        let mirror = Contents::of_files(of, &of.mirror).unwrap_or_default();
        let mut found = Found::default();
        for shape in Contents::shapes(of) {
            let name = shape.secret;
            let live = self.site.cluster.secret(name).await.ok()?;
            let Some(live) = live else {
                found.bad.push(format!("Secret {NAMESPACE}/{name} is gone"));
                continue;
            };
            let contents = shape.of_secret(&live);
            let seen = &mut self.teller.mirroring.seen;
            if mirror.contains(&contents) {
                seen.remove(name);
                continue;
            }
            let digest = contents.digest();
            if seen.insert(name, digest.clone()) != Some(digest) {
                continue;
            }
            match contents.is_whole(&shape, Timestamp::now()) {
                Ok(()) => found.good.push(contents),
                Err(why) => found.bad.push(format!("Secret {NAMESPACE}/{name}: {why}")),
            }
        }
        Some(found)
    }

    /// Says what was written, and what has to be restarted for it.
    async fn mirrored(&mut self, good: &[Contents]) {
        let mut words = Vec::new();
        for one in good {
            self.teller.mirroring.seen.remove(one.secret);
            tracing::info!("Secret {NAMESPACE}/{}: the standby reads what it has now", one.secret);
            let reader = Component::ALL.into_iter().find(|component| {
                component
                    .name()
                    .strip_prefix("kube-")
                    .is_some_and(|name| one.secret == format!("{name}.conf"))
            });
            if let Some(component) = reader {
                words.push(format!(
                    "{component} reads Secret {} at its start only: `kubectl -n {NAMESPACE} rollout restart daemonset {}`",
                    one.secret,
                    component.daemonset_name()
                ));
            }
        }
        if !words.is_empty() {
            self.tell_of_secrets("SecretHasChanged", &words.join("; ")).await;
        }
    }

    async fn tell_of_secrets(&self, reason: &str, words: &str) {
        tracing::warn!("{words}");
        if let Err(error) = self.site.cluster.node_event(&self.site.settings.node, reason, words).await {
            tracing::debug!(%error, "an Event about Secrets was not written");
        }
    }
}
