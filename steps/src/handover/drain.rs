//! Drains a server that was told to end.
//!
//! An API server that was told to end stops listening at once. Then it waits for its watches, which do not
//! end by themselves: all of its pod's 30 s. Once it has had time to finish the requests in hand, only idle
//! watches are left. They are cut either way.

use super::hold_back::HoldBack;
use crate::component::Component;
use crate::host::Process;
use crate::site::Site;
use fulcrum_engine::{Context, Look, Pending, StepError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// New connections go to another server now. Waits until those have arrived that were on their way to the one
/// that will go.
pub(crate) async fn arrivals(site: &Site, cx: &Context) {
    cx.note("letting connections arrive that are being set up");
    let _ = timeout(site.timeouts.handshake, cx.stopped()).await;
}

/// A process that is on its way out, if there is one.
pub(crate) struct Drain {
    old: Option<Process>,
    port: u16,
    stopped_listening: Mutex<Option<Instant>>,
    held_back: Mutex<Option<HoldBack>>,
    given: Duration,
}

impl Drain {
    /// The process that serves the component now and is `the_one`. It gets the time `given` from when it
    /// stops listening. After a crash of this program it may no longer listen. Then the kubelet ends it,
    /// after its pod's grace period.
    pub(crate) async fn of(
        site: &Site,
        component: Component,
        the_one: impl Fn(&Process) -> bool,
        given: Duration,
    ) -> Result<Self, StepError> {
        Self::at(site, site.port(component), the_one, given).await
    }

    /// The process that listens on `port` and is `the_one`. It gets as much time as in [`Drain::of`].
    pub(crate) async fn at(
        site: &Site,
        port: u16,
        the_one: impl Fn(&Process) -> bool,
        given: Duration,
    ) -> Result<Self, StepError> {
        let listeners = site.node.host.listeners(port).await?;
        let old = listeners.into_iter().map(|listener| listener.process).find(the_one);
        Ok(Self { old, port, given, ..Self::none() })
    }

    /// No process.
    pub(crate) fn none() -> Self {
        let (stopped_listening, held_back) = Default::default();
        Self { old: None, port: 0, stopped_listening, held_back, given: Duration::ZERO }
    }

    /// Another server serves, and this one is told to end in the next call. See [`HoldBack`].
    pub(crate) async fn hold_back(&self, site: &Site, component: Component) {
        let held = HoldBack::begin(site, component, self.old.as_ref(), self.port).await;
        *self.held_back.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    /// Takes `process`, which no longer listens, if there is no other process to drain.
    #[must_use]
    pub(crate) fn or(self, process: Option<Process>) -> Self {
        Self { old: self.old.or(process), ..self }
    }

    /// Whether there is a process to drain.
    pub(crate) fn is_some(&self) -> bool {
        self.old.is_some()
    }

    /// Whether it has gone. Ends it when its time is up.
    pub(crate) async fn look(&self, site: &Site) -> Look<()> {
        let Some(old) = &self.old else { return Ok(()) };
        let uid = old.pod_uid.as_deref().unwrap_or_default();
        if !site.node.host.pod_processes(uid).await?.iter().any(|process| process.pid == old.pid) {
            return Ok(());
        }
        let listeners = site.node.host.listeners(self.port).await?;
        let listens = listeners.iter().any(|listener| listener.process.pid == old.pid);
        if !listens {
            let held = self.held_back.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(held) = held {
                held.end().await;
            }
        }
        if self.silent_for(listens) >= self.given {
            site.node.host.end(old).await?;
        }
        Err(Pending::NotYet(match listens {
            true => format!("pid {} still listens", old.pid),
            false => format!("pid {} no longer listens and finishes what it has in hand", old.pid),
        }))
    }

    /// How long it has not been listening, as of this look.
    fn silent_for(&self, listens: bool) -> Duration {
        let mut since = self.stopped_listening.lock().unwrap_or_else(PoisonError::into_inner);
        if listens {
            *since = None;
            return Duration::ZERO;
        }
        since.get_or_insert_with(Instant::now).elapsed()
    }
}
