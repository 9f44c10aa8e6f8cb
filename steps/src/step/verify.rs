//! `verify`: checks that the cluster works without the static pods. Changes nothing.

use crate::cluster::{NAMESPACE, is_ready};
use crate::component::Component;
use crate::look::answered;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Look, Pending, ProbeResult, Step, StepError};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

pub(super) struct Verify {
    pub(super) site: Arc<Site>,
    /// The component whose pods are looked at. All three if none is named.
    pub(super) only: Option<Component>,
}

impl Verify {
    /// The API is ready, and pods find it.
    pub(super) async fn api(&self) -> Look<()> {
        answered(self.site.cluster.readyz().await)?;
        let endpoints = answered(self.site.cluster.api_endpoints().await)?;
        let Some(own) = self.site.published() else { return Ok(()) };
        if !endpoints.contains(&own) {
            let all: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
            let all = if all.is_empty() { "no ready endpoint".to_owned() } else { all.join(", ") };
            return Err(Pending::NotYet(format!("service default/kubernetes has {all}, not {own}")));
        }
        self.listens_at(own).await
    }

    /// A process listens where pods are sent to.
    async fn listens_at(&self, own: IpAddr) -> Look<()> {
        let port = self.site.port(Component::ApiServer);
        let listeners = self.site.node.host.listeners(port).await?;
        let takes = |at: IpAddr| at == own || at.is_unspecified() && (at.is_ipv6() || own.is_ipv4());
        if listeners.iter().any(|listener| takes(listener.address.ip().to_canonical())) {
            return Ok(());
        }
        Err(Pending::NotYet(format!("pods are sent to {own}, where no process listens on port {port}")))
    }

    /// The component has a leader, which has said so since `since`: only a running process can.
    pub(super) async fn led(&self, component: Component, since: Timestamp) -> Look<()> {
        let Some(name) = component.lease_name() else { return Ok(()) };
        let lease = answered(self.site.cluster.lease(name).await)?;
        let (holder, renewed) = lease.map_or((None, None), holder_and_renewal);
        match renewed {
            Some(renewed) if renewed > since && holder.is_some() => Ok(()),
            _ => Err(Pending::NotYet(format!(
                "Lease {NAMESPACE}/{name} was last renewed {} by {}",
                renewed.map_or("never".to_owned(), |time| time.to_string()),
                holder.as_deref().unwrap_or("no process")
            ))),
        }
    }

    /// The DaemonSet counts pods, and the one on this node is Ready. Those of other nodes are not this run's matter.
    async fn counted(&self, component: Component) -> Look<()> {
        let name = component.daemonset_name();
        let daemonset = answered(self.site.cluster.daemonset(name).await)?;
        let Some(daemonset) = daemonset else {
            return Err(Pending::NotYet(format!("DaemonSet {name} is gone")));
        };
        let number = |field: &str| daemonset["status"][field].as_u64().unwrap_or(0);
        let (desired, ready) = (number("desiredNumberScheduled"), number("numberReady"));
        if desired > 0 && ready >= desired {
            return Ok(());
        }
        let labels = Site::pod_labels(component);
        let here = answered(self.site.cluster.pods_on(&self.site.settings.node, &labels).await)?;
        match desired > 1 && here.iter().any(is_ready) {
            true => Ok(()),
            false => Err(Pending::NotYet(format!("DaemonSet {name} has {ready} of {desired} pods ready"))),
        }
    }

    async fn all(&self, since: Timestamp) -> Look<()> {
        self.api().await?;
        for component in Component::ALL.into_iter().filter(|one| self.only.is_none_or(|only| only == *one)) {
            self.counted(component).await?;
            self.led(component, since).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Step for Verify {
    /// A second look costs no more than a probe.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let since = Timestamp::now();
        cx.wait("the cluster to work without static pods", self.site.timeouts.poll, async || {
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
