//! `verify`: the cluster works without the static pods. Looks only.

use crate::cluster::NAMESPACE;
use crate::component::Component;
use crate::handover::seen;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, ProbeResult, Seen, Step, StepError};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

pub(super) struct Verify {
    pub(super) site: Arc<Site>,
}

impl Verify {
    /// The API is ready, and pods find it.
    async fn api(&self) -> Result<Seen<()>, StepError> {
        if let Seen::NotYet(seen) = seen(self.site.cluster.readyz().await)? {
            return Ok(Seen::NotYet(seen));
        }
        let endpoints = match seen(self.site.cluster.api_endpoints().await)? {
            Seen::Ready(endpoints) => endpoints,
            Seen::NotYet(seen) => return Ok(Seen::NotYet(seen)),
        };
        let Some(own) = self.site.published() else { return Ok(Seen::Ready(())) };
        if !endpoints.contains(&own) {
            let all: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
            let all = if all.is_empty() { "no ready endpoint".to_owned() } else { all.join(", ") };
            return Ok(Seen::NotYet(format!("service default/kubernetes has {all}, not {own}")));
        }
        self.listens_at(own).await
    }

    /// Somebody listens where pods are sent to.
    async fn listens_at(&self, own: IpAddr) -> Result<Seen<()>, StepError> {
        let port = self.site.port(Component::ApiServer);
        let listeners = self.site.node.host.listeners(port).await?;
        let takes = |at: IpAddr| at == own || at.is_unspecified() && (at.is_ipv6() || own.is_ipv4());
        Ok(match listeners.iter().any(|listener| takes(listener.address.ip().to_canonical())) {
            true => Seen::Ready(()),
            false => Seen::NotYet(format!("pods are sent to {own}, where nobody listens on port {port}")),
        })
    }

    /// Somebody leads, and has said so since `since`: only a process that runs can.
    async fn led(&self, component: Component, since: Timestamp) -> Result<Seen<()>, StepError> {
        let Some(name) = component.lease_name() else { return Ok(Seen::Ready(())) };
        let lease = match seen(self.site.cluster.lease(name).await)? {
            Seen::Ready(lease) => lease,
            Seen::NotYet(seen) => return Ok(Seen::NotYet(seen)),
        };
        let (holder, renewed) = lease.map_or((None, None), holder_and_renewal);
        Ok(match renewed {
            Some(renewed) if renewed > since && holder.is_some() => Seen::Ready(()),
            _ => Seen::NotYet(format!(
                "Lease {NAMESPACE}/{name} was last renewed {} by {}",
                renewed.map_or("never".to_owned(), |time| time.to_string()),
                holder.as_deref().unwrap_or("nobody")
            )),
        })
    }

    /// The DaemonSet's own count.
    async fn counted(&self, component: Component) -> Result<Seen<()>, StepError> {
        let name = component.daemonset_name();
        let daemonset = match seen(self.site.cluster.daemonset(name).await)? {
            Seen::Ready(daemonset) => daemonset,
            Seen::NotYet(seen) => return Ok(Seen::NotYet(seen)),
        };
        let Some(daemonset) = daemonset else {
            return Ok(Seen::NotYet(format!("DaemonSet {name} is gone")));
        };
        let number = |field: &str| daemonset["status"][field].as_u64().unwrap_or(0);
        let (desired, ready) = (number("desiredNumberScheduled"), number("numberReady"));
        if desired == 0 || ready < desired {
            return Ok(Seen::NotYet(format!("DaemonSet {name} has {ready} of {desired} pods ready")));
        }
        Ok(Seen::Ready(()))
    }

    async fn all(&self, since: Timestamp) -> Result<Seen<()>, StepError> {
        if let Seen::NotYet(seen) = self.api().await? {
            return Ok(Seen::NotYet(seen));
        }
        for component in Component::ALL {
            for look in [self.counted(component).await?, self.led(component, since).await?] {
                if let Seen::NotYet(seen) = look {
                    return Ok(Seen::NotYet(seen));
                }
            }
        }
        Ok(Seen::Ready(()))
    }
}

#[async_trait]
impl Step for Verify {
    /// Looking again is the same as doing it.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let since = Timestamp::now();
        cx.wait_seen("the cluster to work without static pods", self.site.patience.poll, async || {
            self.all(since).await
        })
        .await?;
        Ok(json!({ "verified": since.to_string() }))
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}

fn holder_and_renewal(lease: Lease) -> (Option<String>, Option<Timestamp>) {
    let spec = lease.spec.unwrap_or_default();
    (spec.holder_identity.filter(|holder| !holder.is_empty()), spec.renew_time.map(|time| time.0))
}
