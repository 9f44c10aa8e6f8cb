//! The present state of the bridge, the API server on a second port, and of the redirect to it.
//!
//! Both are looked at and never remembered. The manifest is the bridge and says its port. The kernel has the
//! redirect.

use crate::change;
use crate::component::Component;
use crate::host::{Hindrance, HostError, MARK_SERVING, Process, Question, Redirect, RedirectState};
use crate::look::once;
use crate::manifest::{BRIDGE, StaticPod};
use crate::settings::HandoverMode;
use crate::site::{Site, describe, in_static_pod};
use fulcrum_engine::{Look, Pending, StepError};
use serde_json::{Value, json};
use std::io;
use std::net::{IpAddr, SocketAddr};

/// The bridge's file in the kubelet's manifests directory.
pub const BRIDGE_FILE: &str = "kube-apiserver-bridge.yaml";
/// The redirect, in the history.
const REDIRECT: &str = "redirect of new connections to the API server";
/// The first port that is tried, and the number of ports.
const FIRST_PORT: u16 = 16443;
const PORTS: u16 = 100;
/// How often a bridge is asked before it counts as gone.
const QUESTIONS: u32 = 3;

impl Site {
    /// The mark for questions to the component that must reach the real port, even while new connections to
    /// it are redirected.
    pub(crate) fn unredirected(&self, component: Component) -> Option<u32> {
        let redirected = component == Component::ApiServer && self.settings.handover != HandoverMode::Restart;
        redirected.then_some(MARK_SERVING)
    }

    /// The port of the bridge. `None` if its manifest is missing, or is none.
    pub(crate) fn bridge_port(&self) -> io::Result<Option<u16>> {
        let image = self.node.manifests.read(BRIDGE_FILE)?;
        let pod =
            image.and_then(|image| StaticPod::parse(Component::ApiServer, image.content.as_bytes()).ok());
        Ok(pod.filter(|pod| pod.name() == BRIDGE).map(|pod| pod.port()))
    }

    /// A port on which no process listens.
    pub(crate) async fn free_port(&self) -> Result<u16, StepError> {
        for port in (FIRST_PORT..).take(PORTS.into()) {
            if port != self.port(Component::ApiServer) && self.node.host.listeners(port).await?.is_empty() {
                return Ok(port);
            }
        }
        let last = FIRST_PORT + (PORTS - 1);
        Err(StepError::fatal(format!("no port of {FIRST_PORT} to {last} is free for a second API server")))
    }

    /// Whether the bridge serves on this port.
    pub(crate) async fn bridge_serves(&self, port: u16) -> Look<Process> {
        let mut question = Question { mark: None, ..self.question(Component::ApiServer) };
        question.address.set_port(port);
        let answer = match self.node.host.ask(&question).await {
            Ok(answer) => answer,
            Err(error) => return Err(Pending::NotYet(error.to_string())),
        };
        Err(Pending::NotYet(match answer.process.filter(in_static_pod) {
            Some(process) if answer.status == 200 => return Ok(process),
            Some(process) => format!("{} answers {} to {}", describe(&process), answer.status, question.path),
            None => format!("a process in no static pod answers on port {port}"),
        }))
    }

    /// Whether any API server answers on the real port.
    pub(crate) async fn api_serves(&self) -> Result<(), String> {
        let mark = self.unredirected(Component::ApiServer);
        let question = Question { mark, ..self.question(Component::ApiServer) };
        match self.node.host.ask(&question).await {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => {
                let who = answer.process.as_ref().map_or("a process that is gone".to_owned(), describe);
                Err(format!("{who} answers {} to {}", answer.status, question.path))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// An address of this node at which other machines reach API servers.
    pub(crate) fn outward(&self) -> Option<IpAddr> {
        let asked = Some(self.question(Component::ApiServer).address.ip());
        let outward = |ip: &IpAddr| !ip.is_loopback() && !ip.is_unspecified();
        asked.filter(outward).or_else(|| self.settings.node_addresses.iter().copied().find(outward))
    }

    /// The question of a client that does not know of the bridge.
    pub(crate) fn outward_question(&self) -> Option<Question> {
        let question = self.question(Component::ApiServer);
        let address = SocketAddr::new(self.outward()?, question.address.port());
        Some(Question { address, mark: None, ..question })
    }

    /// How much of a redirect is in place. Without nft there is none.
    pub(crate) async fn redirect_state(&self) -> Result<RedirectState, HostError> {
        match self.node.host.redirect_state().await {
            Err(error) if error.hindrance == Hindrance::Unsupported => Ok(RedirectState::Absent),
            other => other,
        }
    }

    /// Sends new connections to the bridge.
    pub(crate) async fn begin_redirect(&self, redirect: &Redirect) -> Result<(), HostError> {
        self.node.host.redirect(redirect).await?;
        change::record(change::state(REDIRECT, &Value::Null, &json!(redirect)));
        Ok(())
    }

    /// Lets new connections arrive where they were sent to.
    pub(crate) async fn end_redirect(&self) -> Result<(), HostError> {
        self.node.host.end_redirect().await?;
        change::record(change::state(REDIRECT, &json!("active"), &Value::Null));
        Ok(())
    }

    /// Ends a redirect that points nowhere, as a bridge that died has left it, and says why. `None` if there
    /// is nothing to mend. `resume`, `rollback` and the guard begin with this: new connections go nowhere
    /// until then.
    ///
    /// # Errors
    /// When the machine cannot be asked, or does not end the redirect.
    pub async fn mend_redirect(&self) -> Result<Option<String>, HostError> {
        if self.redirect_state().await? != RedirectState::Active {
            return Ok(None);
        }
        let mut seen = match self.bridge_port() {
            Ok(Some(port)) => match self.ask_bridge(port).await {
                Ok(()) => return Ok(None),
                Err(seen) => seen,
            },
            Ok(None) => format!("{} is not there", self.node.manifests.file(BRIDGE_FILE).display()),
            Err(error) => error.to_string(),
        };
        self.end_redirect().await?;
        seen.insert_str(0, "new connections to the API server were redirected to a bridge that does not serve, and are not any more: ");
        Ok(Some(seen))
    }

    async fn ask_bridge(&self, port: u16) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..QUESTIONS {
            match once(self.bridge_serves(port).await) {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(seen)) => last = seen,
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(self.timeouts.poll).await;
        }
        Err(last)
    }
}
