//! What goes on beside the calls: claims are renewed, and notifications are listened for.

use super::shared::{Core, lock};
use std::sync::Weak;
use std::time::Duration;
use tokio::time::Instant;

/// The pause after a failure.
const AGAIN: Duration = Duration::from_millis(200);

/// Renews the claims of this process until the store is gone. A claim that was not renewed in time is lost, also if
/// the server cannot be asked.
pub(super) async fn renew(core: Weak<Core>) {
    loop {
        let Some(core) = core.upgrade() else { return };
        let (lease, holds) = (core.lease, core.holds());
        let asked = Instant::now();
        let mut is_renewed = holds.is_empty();
        if !is_renewed {
            match tokio::time::timeout(lease / 6, core.renew(&holds)).await {
                Ok(Ok(renewed)) => {
                    is_renewed = true;
                    for hold in &holds {
                        match renewed.contains(&(hold.run, hold.token)) {
                            true => *lock(&hold.until) = asked + lease,
                            false => hold.lost.cancel(),
                        }
                    }
                }
                Ok(Err(error)) => tracing::debug!(%error, "claims were not renewed"),
                Err(_) => tracing::debug!("claims were not renewed in time"),
            }
        }
        let soon = Instant::now() + lease / 6;
        for hold in core.holds().iter().filter(|hold| *lock(&hold.until) < soon) {
            hold.lost.cancel();
        }
        drop((core, holds));
        tokio::time::sleep(if is_renewed { lease / 3 } else { AGAIN.min(lease / 6) }).await;
    }
}

/// Tells workers when a run may be due, until the store is gone.
pub(super) async fn listen(core: Weak<Core>) {
    loop {
        let (listening, mut woken) = {
            let Some(core) = core.upgrade() else { return };
            (core.pool.listen(core.woken.clone()).await, core.woken.subscribe())
        };
        match listening {
            Ok(client) => {
                // What was notified before is due: a worker looks after each connection.
                if let Some(core) = core.upgrade() {
                    core.woken.send_modify(|count| *count += 1);
                }
                // The connection tells of its own end, too.
                while !client.is_closed() && woken.changed().await.is_ok() {}
            }
            Err(error) => tracing::debug!(%error, "workers look for runs without being notified"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}
