//! `prove-certs`: waits until every process has the certificates that were renewed. Who serves is asked by a
//! handshake. Who reads by itself has had the time to. Who reads at its start only was started since.

use crate::certificates::{Entry, Pace, Program, Reload, Renewable, State, User, inventory};
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Look, Pending, ProbeResult, Step, StepError};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

pub(super) struct ProveCerts {
    pub(super) site: Arc<Site>,
    pub(super) names: Vec<Renewable>,
}

impl ProveCerts {
    async fn look(&self) -> Look<Value> {
        let (site, root) = (&self.site, self.site.kubernetes_dir());
        let found =
            inventory(&*site.node.host, &site.ports(), &root, Pace::patient(site.timeouts.minute)).await;
        let is_ours = |entry: &&Entry| self.names.iter().any(|name| name.name() == entry.name);
        let (mut proven, mut open) = (BTreeMap::<String, [Vec<&str>; 2]>::new(), Vec::new());
        for entry in found.entries.iter().filter(is_ours) {
            let ends = |user: &User| self.ends_with_its_manifest(user, &entry.users);
            for user in entry.users.iter().filter(|user| is_restarted_here(user) && !ends(user)) {
                let who = format!("{} (pid {})", user.program, user.pid);
                match &user.state {
                    State::Presented | State::Current => {
                        let [presents, has] = proven.entry(who).or_default();
                        let list = if user.state == State::Presented { presents } else { has };
                        if !list.contains(&entry.name.as_str()) {
                            list.push(&entry.name);
                        }
                    }
                    State::Due => open.push(format!("{who} will have {} soon", entry.name)),
                    State::PresentsOther(_) => open.push(format!("{who} presents another {}", entry.name)),
                    State::HoldsOlder { .. } => open.push(format!("{who} holds an older {}", entry.name)),
                    State::Unseen(why) => open.push(format!("{who}, {}: {why}", entry.name)),
                }
            }
        }
        match open.is_empty() {
            true => Ok(proven
                .into_iter()
                .map(|(who, [presents, has])| (who, json!({ "presents": presents, "has": has })))
                .collect::<Map<_, _>>()
                .into()),
            false => Err(Pending::NotYet(open.join("; "))),
        }
    }

    /// Whether this process is one of two of its component, after a boot in the middle of the run has put the static pod
    /// back. It holds an older certificate or cannot be asked, the one beside it has the new one, and the hand-over that
    /// follows ends the static pod's.
    fn ends_with_its_manifest(&self, user: &User, beside: &[User]) -> bool {
        let Program::Component(component) = user.program else { return false };
        let has = |other: &User| {
            other.program == user.program && matches!(other.state, State::Presented | State::Current)
        };
        matches!(user.state, State::HoldsOlder { .. } | State::Unseen(_))
            && self.site.node.manifests.file(component.manifest_file()).exists()
            && beside.iter().any(has)
    }
}

/// Nothing here restarts etcd or the kubelet. A person was told before.
fn is_restarted_here(user: &User) -> bool {
    matches!(user.program, Program::Component(_)) || user.reload != Reload::Never
}

#[async_trait]
impl Step for ProveCerts {
    /// A second look costs no more than a probe.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let what = "every process, to have the new certificates";
        // The kubelet writes what a Secret has into a pod's files within a minute and a half. Then they read it.
        let minute = self.site.timeouts.minute;
        let (began, kubelet) = (Instant::now(), minute * 3);
        let in_secrets = self.site.settings.in_secrets.is_some();
        cx.wait(what, self.site.timeouts.poll, async || match in_secrets && began.elapsed() < kubelet {
            true => Err(Pending::NotYet(format!("Secrets reach every process within {kubelet:?}"))),
            false => self.look().await,
        })
        .await
    }

    /// The step changed nothing.
    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}
