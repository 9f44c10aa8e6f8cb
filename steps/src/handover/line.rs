//! Decides which of several API servers gets new connections where no run has decided it: at a boot, and in a
//! roll-out.

use crate::component::Component;
use crate::host::{Hindrance, HostError, Steering};
use crate::settings::HandoverMode;
use crate::site::{Site, in_static_pod};

/// How often the guard tries to line up one set of listeners.
const TRIES_MAX: u32 = 5;

/// Keeps the API servers lined up.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// The sockets that listened the last time.
    known: Vec<u64>,
    /// How often the guard tried to line them up. No try is left once they are lined up.
    tries: u32,
    served: Option<u64>,
    impossible: bool,
}

impl Line {
    /// Looks which servers listen, and keeps them lined up.
    ///
    /// # Errors
    /// When the listening servers cannot be told.
    pub(crate) async fn look(&mut self, site: &Site) -> Result<(), HostError> {
        let listening = site.node.host.listening(&[site.port(Component::ApiServer)]).await?;
        self.keep(site, listening.into_iter().map(|(_, inode)| inode).collect()).await
    }

    /// Lines the servers up if other sockets listen than before. `listening` are the sockets on the API
    /// server's port.
    ///
    /// Leaves them alone beside a static server if the hand-over does not steer: it waits for answers that
    /// the kernel spreads.
    ///
    /// # Errors
    /// When the listening servers cannot be told. What the machine cannot do is said once. A server that goes
    /// meanwhile is noticed the next time.
    pub(crate) async fn keep(&mut self, site: &Site, listening: Vec<u64>) -> Result<(), HostError> {
        if self.known != listening {
            (self.known, self.tries) = (listening, 0);
        }
        if self.impossible || self.known.is_empty() || self.tries >= TRIES_MAX {
            return Ok(());
        }
        self.tries += 1;
        let host = &site.node.host;
        let all = host.listeners(site.port(Component::ApiServer)).await?;
        let group = all.first().map(|first| first.group_of(&all)).unwrap_or_default();
        let in_line: Vec<InLine> = group
            .iter()
            .map(|one| InLine { inode: one.inode, is_static: in_static_pod(&one.process) })
            .collect();
        if site.settings.handover != HandoverMode::Steer && in_line.iter().any(|one| one.is_static) {
            self.tries = TRIES_MAX;
            return Ok(());
        }
        let Some(steering) = prefer(&in_line, self.served) else { return Ok(()) };
        match host.steer(&group, steering).await {
            Ok(()) => {
                tracing::debug!(?steering, "lined up");
                self.tries = TRIES_MAX;
                if let Steering::Prefer { serving, .. } = steering {
                    self.served = Some(serving);
                }
            }
            Err(error) if matches!(error.hindrance, Hindrance::NotPermitted | Hindrance::Unsupported) => {
                tracing::warn!(%error, "API servers that listen side by side are not lined up on this machine");
                self.impossible = true;
            }
            Err(error) => tracing::debug!(%error, "not lined up"),
        }
        Ok(())
    }
}

/// A server that listens on the API server's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InLine {
    /// Its socket.
    pub(crate) inode: u64,
    /// Whether it belongs to a static pod.
    pub(crate) is_static: bool,
}

/// Decides which server gets new connections to the API server's port, and which server is next in line.
/// `all` are the servers that listen, the oldest process first. `served` is the server that got new
/// connections before. A static pod's server comes first: it is a fallback, or has not been cut yet. The
/// newest server is the newcomer, which must reach itself to become ready.
pub(crate) fn prefer(all: &[InLine], served: Option<u64>) -> Option<Steering> {
    let by_hand = all.iter().find(|one| one.is_static);
    let before = || all.iter().find(|one| Some(one.inode) == served);
    let serving = by_hand.or_else(before).or(all.first())?.inode;
    let newcomer = all.iter().rfind(|one| one.inode != serving).map(|one| one.inode);
    Some(Steering::Prefer { serving, newcomer })
}
