//! Who of several API servers gets new connections while no run decides it: at a boot, and in a roll-out.

use super::decide::{InLine, line_up};
use crate::component::Component;
use crate::node::{Hindrance, HostError, Steering};
use crate::site::{Site, in_static_pod};

/// Keeps the API servers lined up.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Those that were lined up last, by their sockets.
    known: Vec<u64>,
    served: Option<u64>,
    impossible: bool,
}

impl Line {
    /// Lines them up if others listen than before: `listening` are the sockets on the API server's port.
    ///
    /// # Errors
    /// When who listens cannot be told. What the machine cannot do is said once, and whoever goes meanwhile is seen the
    /// next time.
    pub(super) async fn keep(&mut self, site: &Site, listening: Vec<u64>) -> Result<(), HostError> {
        if self.impossible || self.known == listening {
            return Ok(());
        }
        let host = &site.node.host;
        let all = host.listeners(site.port(Component::ApiServer)).await?;
        let group = all.first().map(|first| first.group_of(&all)).unwrap_or_default();
        let in_line: Vec<InLine> = group
            .iter()
            .map(|one| InLine { inode: one.inode, is_static: in_static_pod(&one.process) })
            .collect();
        let Some(steering) = line_up(&in_line, self.served) else { return Ok(()) };
        match host.steer(&group, steering).await {
            Ok(()) => {
                tracing::debug!(?steering, "lined up");
                self.known = listening;
                if let Steering::LineUp { serving, .. } = steering {
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
