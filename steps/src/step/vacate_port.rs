//! `way-back/vacate-port/<c>`: on the way back, the DaemonSet goes and with it its process from the port. That it
//! does not listen is enough: what it has in hand it finishes beside the static one.

use super::endpoints::while_held;
use super::lease;
use super::pair::is_cut;
use super::removal::{Removal, still_listens};
use crate::component::Component;
use crate::node::Question;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Finding, Seen, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::timeout;

pub(super) struct VacatePort {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
}

impl VacatePort {
    /// Nobody may listen there when the static pod is put back: a process that was told to go, static or not, would be
    /// taken for the one that is to come.
    async fn nobody_listens(&self, removal: &Removal<'_>) -> Result<Seen<()>, StepError> {
        match removal.tell().await? {
            Seen::Ready(true) => {}
            Seen::Ready(false) => {
                return Err(StepError::fatal(format!(
                    "DaemonSet {} is not this run's any more: delete it, and roll back again",
                    self.component.daemonset_name()
                )));
            }
            Seen::NotYet(seen) => return Ok(Seen::NotYet(seen)),
        }
        let listeners = self.site.node.host.listeners(self.site.port(self.component)).await?;
        Ok(listeners.first().map_or(Seen::Ready(()), |listener| still_listens(&listener.process)))
    }

    /// With the API down nobody can delete a DaemonSet. A process of it that holds the port and does not serve is
    /// ended, so that the static one gets it.
    async fn without_the_api(&self, cx: &Context, removal: &Removal<'_>) -> Result<(), StepError> {
        cx.note("the API does not answer: the static pods are put back first");
        end_if_it_does_not_serve(&self.site, self.component, removal).await
    }
}

/// Ends the DaemonSet's process if it holds the port and does not answer as it should.
pub(super) async fn end_if_it_does_not_serve(
    site: &Site,
    component: Component,
    removal: &Removal<'_>,
) -> Result<(), StepError> {
    let Some(process) = removal.listener().await? else { return Ok(()) };
    let question = Question { mark: site.unredirected(component), ..site.question(component) };
    match site.node.host.ask(&question).await {
        Ok(answer) if answer.status == 200 => Ok(()),
        _ => Ok(site.node.host.end(&process).await?),
    }
}

#[async_trait]
impl Step for VacatePort {
    async fn probe(&self, _cx: &Context) -> Result<Finding, StepError> {
        Ok(Finding::Absent)
    }

    /// The way back does it.
    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        Ok(json!({ "port": self.site.port(self.component) }))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        if !is_cut(&self.site, cx.run(), self.component)? {
            return Ok(());
        }
        // What stands in goes too: the exact one is put back when nobody listens.
        self.site.node.manifests.remove(self.component.manifest_file())?;
        let removal = Removal::new(&self.site, self.component, cx.run());
        let patience = self.site.patience.api;
        let api = cx
            .wait("the API, to delete the DaemonSet", self.site.patience.poll, async || removal.look().await);
        let leader = match timeout(patience, api).await {
            Ok(answered) => {
                answered?;
                timeout(patience, lease::leader(&self.site, cx, self.component))
                    .await
                    .ok()
                    .transpose()?
                    .flatten()
            }
            Err(_) => return self.without_the_api(cx, &removal).await,
        };
        let what = format!("port {} to be free", self.site.port(self.component));
        let free = cx.wait(&what, self.site.patience.poll, async || self.nobody_listens(&removal).await);
        while_held(&self.site, self.component, free).await?;
        if leader.is_some() {
            lease::give_back(&self.site, cx, self.component, leader.as_deref()).await;
        }
        Ok(())
    }
}
