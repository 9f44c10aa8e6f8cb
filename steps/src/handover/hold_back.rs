//! Spares clients the answer "apiserver is shutting down".
//!
//! An API server that ends rejects requests on its open connections with 503, until it has told its clients
//! to go elsewhere (GOAWAY). That takes milliseconds, in which a busy client is sure to ask (*measured*: 2 of
//! 8,000 requests). So what clients send there is held back, from before the server is told to end until it
//! has told them. Then they send it again, elsewhere. Watches, and answers that are under way, are not
//! touched.
//!
//! Whatever can be found out before is: which object, which version, which pod. Between holding back and the end there
//! is only the call that ends. That call may still be slow (*measured*: 1.6 s on a busy machine), and the kubelet
//! comes after it. So what is held back is held again while the server listens, for at most
//! [`Timeouts::hold_most`].

use crate::component::Component;
use crate::host::{Process, RedirectState};
use crate::site::Site;
use crate::timeouts::Timeouts;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// How often it is seen whether the server still listens. A look takes microseconds.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// By what part of the time clients are held back after the end where new connections are redirected. What is held back is
/// also the last word of a client that goes elsewhere. Connection tracking may know such a connection as open for longer,
/// and a new one from the same port would not be redirected, to a server that has just begun to start (*seen*: 1 of some
/// 5,000 after a second). Where the kernel chooses among listeners there is no such memory.
const SHORTER: u32 = 5;

/// Holds back what is sent to a server that will be told to end. Beside its owner, a task goes on with that while the
/// server listens, within its bound. If this process dies, the kernel lets go by itself.
pub(crate) struct HoldBack {
    hold: Hold,
    began: Instant,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Hold {
    site: Site,
    process: Process,
    port: u16,
    /// The process's sockets that listen at the port.
    listening: Vec<(u16, u64)>,
    /// How long clients are held back once it listens no more.
    goodbye: Duration,
}

impl HoldBack {
    /// Begins now, if there is such a process and it is an API server. The caller has nothing left to find out: it
    /// tells the server to end next.
    pub(crate) async fn begin(
        site: &Site,
        component: Component,
        process: Option<&Process>,
        port: u16,
    ) -> Option<Self> {
        let process = process.filter(|_| component == Component::ApiServer)?.clone();
        let listeners = site.node.host.listeners(port).await.unwrap_or_default();
        let own = listeners.iter().filter(|listener| listener.process.pid == process.pid);
        let listening = own.map(|listener| (port, listener.inode)).collect();
        let redirected = matches!(site.redirect_state().await, Ok(RedirectState::Active));
        let goodbye = if redirected { site.timeouts.goodbye / SHORTER } else { site.timeouts.goodbye };
        let hold = Hold { site: site.clone(), process, port, listening, goodbye };
        let began = Instant::now();
        hold.hold(site.timeouts.hold).await;
        let going_on = hold.clone();
        Some(Self { hold, began, task: tokio::spawn(async move { going_on.go_on(began).await }) })
    }

    /// The server no longer listens: it tells its clients in this moment.
    pub(crate) async fn end(self) {
        if !self.is_over() {
            self.task.abort();
            self.hold.hold(self.hold.farewell(self.began, Instant::now())).await;
        }
    }

    /// Whether clients get through again, or will in this moment.
    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for HoldBack {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hold {
    /// Goes on until the server no longer listens, or until the bound.
    async fn go_on(&self, began: Instant) {
        let timeouts = &self.site.timeouts;
        let mut until = began + timeouts.hold;
        loop {
            sleep(LOOK_AGAIN.min(timeouts.poll)).await;
            let listens = self.listens().await;
            let now = Instant::now();
            if !listens {
                return self.hold(self.farewell(began, now)).await;
            }
            if now >= began + timeouts.hold_most {
                tracing::debug!("pid {} still listens: its clients get through", self.process.pid);
                return;
            }
            if let Some(more) = renewal(timeouts, began, until, now) {
                until = now + more;
                self.hold(more).await;
            }
        }
    }

    fn farewell(&self, began: Instant, now: Instant) -> Duration {
        farewell(self.site.timeouts.hold_most, self.goodbye, began, now)
    }

    /// Whether the server listens still, as far as can be seen.
    async fn listens(&self) -> bool {
        let Ok(now) = self.site.node.host.listening(&[self.port]).await else { return true };
        now.iter().any(|socket| self.listening.contains(socket))
    }

    /// Best effort. If this fails, a few requests may fail, and nothing else.
    async fn hold(&self, most: Duration) {
        match self.site.node.host.hold_back(&self.process, self.port, most).await {
            Ok(held) => {
                tracing::debug!("holding {held} connections of pid {} for {most:?}", self.process.pid);
            }
            Err(error) => tracing::debug!("{error}"),
        }
    }
}

/// For how long clients are held back again, `now`, if it is time for that: they have been since `began`, and are until
/// `until`. Not beyond the bound.
fn renewal(timeouts: &Timeouts, began: Instant, until: Instant, now: Instant) -> Option<Duration> {
    let left = until.saturating_duration_since(now);
    let most = (began + timeouts.hold_most).saturating_duration_since(now);
    (left <= timeouts.hold / 3 && most > left).then(|| most.min(timeouts.hold))
}

/// For how long clients are held back once the server no longer listens, `now`. Within the bound, but for a little.
fn farewell(hold_most: Duration, goodbye: Duration, began: Instant, now: Instant) -> Duration {
    let left = (began + hold_most).saturating_duration_since(now);
    goodbye.min(left).max(goodbye / SHORTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_time_to_tell_every_client_within_the_bound() {
        let timeouts = Timeouts::default();
        let (began, Timeouts { goodbye, hold_most, .. }) = (Instant::now(), timeouts);
        let at = |now| farewell(hold_most, goodbye, began, now);
        assert_eq!(at(began), goodbye);
        assert_eq!(at(began + hold_most - goodbye / 2), goodbye / 2);
        assert_eq!(at(began + hold_most), goodbye / SHORTER);
    }

    /// On a slow machine the server is told seconds after clients were first held back.
    #[test]
    fn clients_are_held_back_until_the_server_goes_and_not_beyond_the_bound() {
        let timeouts = Timeouts::default();
        let began = Instant::now();
        let (mut until, mut now) = (began + timeouts.hold, began);
        while now < began + timeouts.hold_most {
            assert!(until > now, "let go of after {:?}", now - began);
            if let Some(more) = renewal(&timeouts, began, until, now) {
                until = now + more;
            }
            assert!(until <= began + timeouts.hold_most);
            now += LOOK_AGAIN;
        }
        assert_eq!(until, began + timeouts.hold_most);
        assert_eq!(renewal(&timeouts, began, until, now), None);
        assert_eq!(renewal(&timeouts, began, began + timeouts.hold, began), None, "it has just begun");
        // The machine stood still meanwhile: better late than never.
        let late = began + timeouts.hold + timeouts.hold / 2;
        assert_eq!(renewal(&timeouts, began, began + timeouts.hold, late), Some(timeouts.hold / 2));
    }
}
