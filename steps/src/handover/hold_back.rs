//! No client is told "apiserver is shutting down".
//!
//! An API server that ends answers 503 to what reaches it on connections that it has, from when it begins to reject
//! requests until it has told its clients to go elsewhere (GOAWAY): milliseconds, in which a busy client is sure to ask
//! (*measured*: 2 of 8,000 requests). So what clients send there is held back from before it is told to end until it has
//! told them; then they send it again, elsewhere. Watches, and answers that are under way, are not touched.

use crate::component::Component;
use crate::host::Process;
use crate::site::Site;

/// What is sent to a server that is about to be told to end.
pub(crate) struct HoldBack {
    process: Process,
    port: u16,
}

impl HoldBack {
    /// From now on, if there is such a process and it is an API server. The next thing to do is to tell it to end.
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

    /// It does not listen any more: its clients are told in this moment.
    pub(crate) async fn end(self, site: &Site) {
        self.hold(site, site.timeouts.goodbye).await;
    }

    /// Best effort: if this fails, a few requests may fail, and nothing else.
    async fn hold(&self, site: &Site, most: std::time::Duration) {
        match site.node.host.hold_back(&self.process, self.port, most).await {
            Ok(held) => {
                tracing::debug!("holding {held} connections of pid {} for {most:?}", self.process.pid);
            }
            Err(error) => tracing::debug!("{error}"),
        }
    }
}
