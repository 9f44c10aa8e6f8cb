//! Gives back the leader's lease of a component whose process has gone.
//!
//! Controller manager and scheduler do not let go of their lease when they end, and the next leader waits for
//! it to run out (15 s). A lease is given back only if its holder provably no longer renews it.
//!
//! A candidate looks whether the lease is free every 2 to 4.4 s. It sends nothing else. So the time of its
//! looks can be seen. The leader is taken away shortly before a look: the component has no leader for 3 s at
//! most, instead of up to 4.4.

use crate::cluster::ClusterError;
use crate::component::Component;
use crate::host::{HostError, Process};
use crate::look::answered;
use crate::site::{Site, in_api_pod};
use crate::timeouts::Timeouts;
use fulcrum_engine::{Context, StepError};
use k8s_openapi::api::coordination::v1::Lease;
use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::timeout;

/// The leader. Every process has an identity of its own, `<hostname>_<uuid>`. The leader before a second
/// process exists is the first process. `None` if there is no leader, or it is another node's process.
pub(crate) async fn leader(
    site: &Site,
    cx: &Context,
    component: Component,
) -> Result<Option<String>, StepError> {
    let Some(name) = component.lease_name() else { return Ok(None) };
    let get = async || answered(site.cluster.lease(name).await);
    let lease = cx.wait(&format!("the API, to read Lease {name}"), site.timeouts.poll, get).await?;
    Ok(own_holder(site, lease.as_ref()))
}

/// Waits for a moment at which the component's candidate, in the DaemonSet's pod, will soon look at its
/// lease. Best effort, as is [`give_back`]: without it, only time is lost.
pub(crate) async fn await_candidate(site: &Site, cx: &Context, component: Component) {
    let Timeouts { candidate, looked, poll, .. } = site.timeouts;
    let slack = poll * 3;
    let port = site.port(component);
    cx.note("waiting for the next one to have looked at the lease");
    let has_looked = async {
        loop {
            let listeners = site.node.host.listeners(port).await?;
            let next = listeners.into_iter().rfind(|listener| in_api_pod(&listener.process));
            let Some(next) = next else { return Ok::<_, HostError>(()) };
            match site.node.host.last_sent(&next.process, port).await? {
                Some(ago) if (looked..=looked + slack).contains(&ago) => return Ok(()),
                _ => tokio::time::sleep(poll).await,
            }
        }
    };
    tokio::select! {
        looked = timeout(candidate + looked + slack, has_looked) => match looked {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("{component}: {error}"),
            Err(_) => tracing::debug!("{component}: it did not look at its lease at a moment that could be seen"),
        },
        () = cx.stopped() => {}
    }
}

/// Gives back the component's lease when the process that may hold it has gone. Best effort: without it, only
/// time is lost.
///
/// Gives it back at once if `gone`, the [`leader`] that has gone, still holds it. Otherwise looks twice, a
/// leader's renewal period apart, and gives it back if no process renews it.
pub(crate) async fn give_back(site: &Site, cx: &Context, component: Component, gone: Option<&str>) {
    let Some(name) = component.lease_name() else { return };
    let given = timeout(site.timeouts.lease_quiet * 3, try_to(site, cx, name, gone)).await;
    match given {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the lease of {component} was not given back"),
        Err(_) => tracing::debug!("no answer in time: the lease of {component} was not given back"),
    }
}

/// Gives back the lease of this node's leader as soon as its process has ended, for as long as `work` takes: a
/// roll-out, in which another process of the component waits for that lease.
///
/// Who leads is told by the lease while no other process of the component listens here: one listens before it stands
/// for election. Work that is taken up beside two processes cannot tell. At its end the lease is looked at twice, as
/// [`give_back`] does. Best effort, too.
pub(crate) async fn handed_on<T>(
    site: &Site,
    cx: &Context,
    component: Component,
    work: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    let Some(name) = component.lease_name() else { return work.await };
    let relay = Relay { site, component, name, is_blind: AtomicBool::new(false) };
    let done = tokio::select! {
        done = work => done?,
        never = relay.go_on() => match never {},
    };
    if relay.is_blind.load(Ordering::Relaxed) {
        give_back(site, cx, component, None).await;
    }
    Ok(done)
}

struct Relay<'a> {
    site: &'a Site,
    component: Component,
    name: &'a str,
    /// Whether there were two processes from the beginning.
    is_blind: AtomicBool,
}

/// The only process that listens, and who leads.
struct Led {
    process: Process,
    /// `None` if that is no process of this node, as far as its name tells.
    holder: Option<String>,
}

impl Relay<'_> {
    async fn go_on(&self) -> Infallible {
        let (mut led, mut is_first) = (None, true);
        loop {
            match self.look(&mut led).await {
                Ok(()) if is_first => {
                    self.is_blind.store(led.is_none(), Ordering::Relaxed);
                    is_first = false;
                }
                Ok(()) => {}
                Err(error) => tracing::debug!("{}: {error}", self.component),
            }
            tokio::time::sleep(self.site.timeouts.poll).await;
        }
    }

    async fn look(&self, led: &mut Option<Led>) -> Result<(), StepError> {
        match led {
            Some(seen) if self.has_ended(&seen.process).await? => {
                let lease = self.site.cluster.lease(self.name).await?;
                let held =
                    lease.filter(|lease| seen.holder.is_some() && holder(lease) == seen.holder.as_deref());
                match held {
                    // The next look sees whether a renewal was on its way.
                    Some(lease) => self.site.cluster.give_back_lease(&lease).await?,
                    None => *led = None,
                }
            }
            Some(Led { holder: Some(_), .. }) => {}
            Some(Led { holder: None, .. }) => *led = self.only_one().await?.or(led.take()),
            None => *led = self.only_one().await?,
        }
        Ok(())
    }

    /// The process of the DaemonSet's pod and who leads, if no other one listens before the look at the lease and after it.
    async fn only_one(&self) -> Result<Option<Led>, StepError> {
        let Some(process) = self.listener().await? else { return Ok(None) };
        let lease = self.site.cluster.lease(self.name).await?;
        let holder = own_holder(self.site, lease.as_ref());
        let again = self.listener().await?;
        Ok(again.filter(|again| again.pid == process.pid).map(|process| Led { process, holder }))
    }

    async fn listener(&self) -> Result<Option<Process>, HostError> {
        let listeners = self.site.node.host.listeners(self.site.port(self.component)).await?;
        let [one] = listeners.as_slice() else { return Ok(None) };
        Ok(Some(one.process.clone()).filter(in_api_pod))
    }

    async fn has_ended(&self, process: &Process) -> Result<bool, HostError> {
        let Some(uid) = &process.pod_uid else { return Ok(false) };
        let left = self.site.node.host.pod_processes(uid).await?;
        Ok(left.iter().all(|one| one.pid != process.pid))
    }
}

async fn try_to(site: &Site, cx: &Context, name: &str, gone: Option<&str>) -> Result<(), ClusterError> {
    // Read after its holder's death. A renewal that was still on its way makes this a conflict.
    let Some(mut lease) = site.cluster.lease(name).await? else { return Ok(()) };
    if gone.is_some() && holder(&lease) == gone {
        site.cluster.give_back_lease(&lease).await?;
        match site.cluster.lease(name).await? {
            Some(now) if holder(&now) == gone => lease = now,
            _ => return Ok(()),
        }
    }
    let Some(holder) = holder(&lease) else { return Ok(()) };
    // Another node's leader that renews late is not this node's to depose.
    let nodes = site.cluster.nodes_labelled(&site.settings.role_label).await?;
    if is_of_another(holder, &nodes, &site.settings.node) {
        return Ok(());
    }
    cx.note(format!("looking whether Lease {name} is still renewed"));
    tokio::select! {
        () = tokio::time::sleep(site.timeouts.lease_quiet) => site.cluster.give_back_lease(&lease).await,
        () = cx.stopped() => Ok(()),
    }
}

/// Whether the holder is a process of another one of these nodes. A process is named after its machine's hostname, which
/// need not be the name of its node: then it cannot be told.
fn is_of_another(holder: &str, nodes: &[String], own: &str) -> bool {
    let host = holder.rsplit_once('_').map_or(holder, |(host, _)| host);
    host != own && nodes.iter().any(|node| node == host)
}

/// The holder, if that is a process of this node, as far as its name tells.
fn own_holder(site: &Site, lease: Option<&Lease>) -> Option<String> {
    let host = format!("{}_", site.settings.node);
    lease.and_then(holder).filter(|holder| holder.starts_with(&host)).map(str::to_owned)
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_another_nodes_if_it_has_its_name() {
        let nodes = ["cp1".to_owned(), "cp11".to_owned(), "cp_2".to_owned()];
        for (holder, expected) in [
            ("cp1_0a1b", false),
            ("cp11_0a1b", true),
            ("cp_2_0a1b", true),
            ("host.example_0a1b", false),
            ("", false),
        ] {
            assert_eq!(is_of_another(holder, &nodes, "cp1"), expected, "{holder}");
        }
    }
}
