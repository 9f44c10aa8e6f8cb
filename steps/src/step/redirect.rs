//! `redirect`, `end-redirect`: new connections to the API server's port go to the bridge.

use super::job::RedirectAct;
use crate::component::Component;
use crate::handover::drain::arrivals;
use crate::handover::pair::is_cut;
use crate::host::{Redirect, RedirectState};
use crate::look::answered;
use crate::site::{Site, describe};
use async_trait::async_trait;
use fulcrum_engine::{Context, Look, Pending, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const API: Component = Component::ApiServer;
/// An API server must answer this often in a row on the real port before the redirect ends.
const ANSWERS_IN_A_ROW: u32 = 3;

pub(super) struct RedirectStep {
    pub(super) site: Arc<Site>,
    pub(super) forward: Option<RedirectAct>,
    pub(super) back: Option<RedirectAct>,
}

impl RedirectStep {
    /// The service's addresses, looked up on the way there. So the way back needs no API for them.
    fn services(cx: &Context) -> Result<Vec<SocketAddr>, StepError> {
        Ok(cx
            .pre_image()
            .map(serde_json::from_slice)
            .transpose()
            .map_err(StepError::fatal)?
            .unwrap_or_default())
    }

    /// The redirect's target, as of now.
    async fn target(&self, cx: &Context) -> Look<Redirect> {
        let Some(to) = self.site.bridge_port()? else {
            return Err(Pending::NotYet("there is no bridge".to_owned()));
        };
        self.site.bridge_serves(to).await?;
        let Some(address) = self.site.outward() else {
            return Err(Pending::NotYet("this node has no address but loopback ones".to_owned()));
        };
        let (port, services) = (self.site.port(API), Self::services(cx)?);
        Ok(Redirect { port, to, services, address })
    }

    async fn begin(&self, cx: &Context) -> Result<Value, StepError> {
        let what = "the bridge, before connections go there";
        let redirect = cx.wait(what, self.site.timeouts.poll, async || self.target(cx).await).await?;
        self.site.begin_redirect(&redirect).await?;
        let what = "new connections to arrive at the bridge";
        cx.wait(what, self.site.timeouts.poll, async || self.arrive_at(redirect.to).await).await?;
        arrivals(&self.site, cx).await;
        Ok(json!(redirect))
    }

    /// Whether the bridge answers a client that does not know of it.
    async fn arrive_at(&self, to: u16) -> Look<()> {
        let bridge = self.site.bridge_serves(to).await?;
        let Some(question) = self.site.outward_question() else { return Ok(()) };
        match self.site.node.host.ask(&question).await {
            Ok(answer) if answer.process.as_ref().is_some_and(|who| who.pid == bridge.pid) => Ok(()),
            Ok(answer) => {
                let who = answer.process.as_ref().map_or("a process that is gone".to_owned(), describe);
                Err(Pending::NotYet(format!("{who} answers at {}", question.address)))
            }
            Err(error) => Err(Pending::NotYet(error.to_string())),
        }
    }

    /// Begins the redirect if it can: going back is more important than the gap.
    async fn begin_for_the_way_back(&self, cx: &Context) -> Result<(), StepError> {
        if is_cut(&self.site, cx.run(), API)? && self.site.bridge_port()?.is_some() {
            let begun = timeout(self.site.timeouts.bridge, self.begin(cx)).await;
            let why = match begun {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the bridge was not reached in time".to_owned(),
            };
            if timeout(Duration::ZERO, cx.stopped()).await.is_ok() {
                return Err(StepError::stopped());
            }
            tracing::warn!("new connections are not redirected, and the way back has a gap: {why}");
            cx.note(format!("going on without a redirect: {why}"));
            if self.site.redirect_state().await? == RedirectState::Active {
                self.site.end_redirect().await?;
            }
        }
        Ok(())
    }

    /// Ends the redirect, but not before a server serves on the real port.
    async fn end(&self, cx: &Context) -> Result<(), StepError> {
        if self.site.redirect_state().await? != RedirectState::Active {
            return Ok(());
        }
        let what = format!("an API server to answer on port {}", self.site.port(API));
        cx.wait(&what, self.site.timeouts.poll, async || {
            for _ in 0..ANSWERS_IN_A_ROW {
                self.site.api_serves().await.map_err(Pending::NotYet)?;
            }
            Ok(())
        })
        .await?;
        self.site.end_redirect().await?;
        arrivals(&self.site, cx).await;
        Ok(())
    }
}

#[async_trait]
impl Step for RedirectStep {
    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        let get = async || answered(self.site.cluster.api_service().await);
        let what = "the API, to read service default/kubernetes";
        Ok(serde_json::to_vec(&cx.wait(what, self.site.timeouts.poll, get).await?)
            .map_err(StepError::fatal)?)
    }

    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(match (self.forward, self.site.redirect_state().await?) {
            (Some(RedirectAct::Begin), RedirectState::Active) => ProbeResult::Done,
            // Its purpose is over: the DaemonSet's process serves alone.
            (Some(RedirectAct::Begin), _) if is_cut(&self.site, cx.run(), API)? => ProbeResult::Done,
            (Some(RedirectAct::End), RedirectState::Absent | RedirectState::Ended) => ProbeResult::Done,
            _ => ProbeResult::Absent,
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        match self.forward {
            None => Ok(json!({ "services": Self::services(cx)? })),
            Some(RedirectAct::Begin) => self.begin(cx).await,
            Some(RedirectAct::End) => self.end(cx).await.map(|()| Value::Null),
        }
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        match self.back {
            None => Ok(()),
            Some(RedirectAct::Begin) => self.begin_for_the_way_back(cx).await,
            Some(RedirectAct::End) => self.end(cx).await,
        }
    }
}
