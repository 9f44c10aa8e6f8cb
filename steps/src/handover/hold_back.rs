//! Spares clients the answer "apiserver is shutting down".
//!
//! An API server that ends rejects requests on its open connections with 503, until it has told its clients
//! to go elsewhere (GOAWAY). That takes milliseconds, in which a busy client is sure to ask (*measured*: 2 of
//! 8,000 requests). So what clients send there is held back, from before the server is told to end until it
//! has told them. Then they send it again, elsewhere. Watches, and answers that are under way, are not
//! touched.

use crate::component::Component;
use crate::host::Process;
use crate::site::Site;

/// Holds back what is sent to a server that will be told to end.
pub(crate) struct HoldBack {
    process: Process,
    port: u16,
}

impl HoldBack {
    /// Begins now, if there is such a process and it is an API server. The caller tells it to end next.
    pub(crate) async fn begin(
        site: &Site,
        component: Component,
        process: Option<&Process>,
        port: u16,
    ) -> Option<Self> {
        let process = process.filter(|_| component == Component::ApiServer)?;
        let held = Self { process: process.clone(), port };
        held.hold(site, site.timeouts.hold).await;
        Some(held)
    }

    /// The server no longer listens: it tells its clients in this moment.
    pub(crate) async fn end(self, site: &Site) {
        self.hold(site, site.timeouts.goodbye).await;
    }

    /// Best effort. If this fails, a few requests may fail, and nothing else.
    async fn hold(&self, site: &Site, most: std::time::Duration) {
        match site.node.host.hold_back(&self.process, self.port, most).await {
            Ok(held) => {
                tracing::debug!("holding {held} connections of pid {} for {most:?}", self.process.pid);
            }
            Err(error) => tracing::debug!("{error}"),
        }
    }
}
