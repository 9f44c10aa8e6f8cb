//! Holds this node's address in the endpoints of service `default/kubernetes`.
//!
//! An API server that is told to end takes its address out, even if another one listens there. The other one
//! restores it at its next tick, up to 10 s later. Until then pods find no API server. So this module watches
//! both objects, and restores the address as soon as it has gone.

use super::client::{Cluster, SLICE_VERSIONS};
use super::error::ClusterError;
use super::watching::{WATCH_SECONDS, next, soon};
use crate::change;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The pause after a call that failed, or a watch that was cut. The next try takes another connection.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// The two forms in which the addresses are published.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Endpoints,
    /// An EndpointSlice, of this version of its group.
    EndpointSlice(&'static str),
}

impl Cluster {
    /// Holds the address where it is, for as long as it is polled. Other nodes' addresses stay as they are.
    /// `held` becomes true when both objects are watched for the first time.
    pub async fn hold_endpoints(&self, address: IpAddr, port: u16, held: &watch::Sender<bool>) -> Infallible {
        let at = SocketAddr::new(address, port);
        let watched = AtomicUsize::new(0);
        let begun = || {
            if watched.fetch_add(1, Ordering::Relaxed) == 1 {
                held.send_replace(true);
            }
        };
        let [one, other] =
            [Kind::Endpoints, Kind::EndpointSlice(SLICE_VERSIONS[0])].map(|kind| self.hold(kind, at, &begun));
        tokio::select! {
            never = one => never,
            never = other => never,
        }
    }

    async fn hold(&self, kind: Kind, at: SocketAddr, begun: &(impl Fn() + Sync)) -> Infallible {
        let mut begun = Some(begun);
        let mut kind = kind;
        loop {
            // On connections of its own: open ones may lead to the server that ends.
            if let Err(error) = kind.hold(&self.afresh(), at, &mut begun).await {
                tracing::debug!("{error}; trying again");
                match (error.code(), kind.older()) {
                    (Some(404), Some(older)) => kind = older,
                    // The cluster has no slices: only the Endpoints are held.
                    (Some(404), None) if matches!(kind, Kind::EndpointSlice(_)) => {
                        if let Some(begun) = begun.take() {
                            begun();
                        }
                        return std::future::pending().await;
                    }
                    _ => {}
                }
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

impl Kind {
    /// The version that an older release serves instead.
    fn older(self) -> Option<Self> {
        let Self::EndpointSlice(version) = self else { return None };
        let at = SLICE_VERSIONS.iter().position(|known| *known == version)?;
        SLICE_VERSIONS.get(at + 1).map(|older| Self::EndpointSlice(older))
    }

    /// Holds the address until its watch ends. Calls `begun` once, when the watch has begun.
    async fn hold(
        self,
        cluster: &Cluster,
        at: SocketAddr,
        begun: &mut Option<impl Fn()>,
    ) -> Result<(), ClusterError> {
        let api = self.api(cluster);
        let which = "metadata.name=kubernetes";
        // A list's version is current. An object's own version can be older than what a new server knows, and
        // the server would refuse its watch.
        let listed = ListParams::default().fields(which);
        let listed = soon(&format!("list {self:?} default/kubernetes"), api.list(&listed)).await?;
        for object in &listed.items {
            self.put_back(&api, object, at).await?;
        }
        let version = listed.metadata.resource_version.unwrap_or_default();
        let which = WatchParams::default().fields(which).timeout(WATCH_SECONDS);
        let watching = format!("watch {self:?} default/kubernetes");
        let events = soon(&watching, api.watch(&which, &version)).await?;
        let mut events = std::pin::pin!(events);
        // The watch keeps its connection to itself. This call opens another one. So the address can be
        // restored without setting a connection up at a moment when every client of the old server does that.
        soon(&format!("get {self:?} default/kubernetes"), api.get("kubernetes")).await?;
        if let Some(begun) = begun.take() {
            begun();
        }
        while let Some(event) = next(&watching, &mut events).await? {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    self.put_back(&api, &object, at).await?;
                }
                WatchEvent::Deleted(_) => return Ok(()),
                WatchEvent::Error(status) => {
                    return Err(ClusterError::new(&watching, kube::Error::Api(status)));
                }
                WatchEvent::Bookmark(_) => {}
            }
        }
        Ok(())
    }

    async fn put_back(
        self,
        api: &Api<DynamicObject>,
        object: &DynamicObject,
        at: SocketAddr,
    ) -> Result<(), ClusterError> {
        let Some(mut patch) = self.with_address(&object.data, at) else { return Ok(()) };
        // A change by another writer since then is not overwritten: it makes a conflict, and the watch
        // reports it.
        patch["metadata"] = json!({ "resourceVersion": object.metadata.resource_version });
        let attempt = format!("put {} back into {self:?} default/kubernetes", at.ip());
        let parameters = PatchParams::default();
        let began = Instant::now();
        match soon(&attempt, api.patch("kubernetes", &parameters, &Patch::Merge(patch))).await {
            Err(error) if error.is_conflict() => Ok(()),
            other => other.map(|made| {
                tracing::info!("{attempt}: done within {:?}", began.elapsed());
                let kind = if matches!(self, Self::Endpoints) { "Endpoints" } else { "EndpointSlice" };
                change::record_object(kind, Some(object), Some(&made));
            }),
        }
    }

    /// The change that brings the address back. `None` if the address is there, or cannot be.
    fn with_address(self, object: &Value, at: SocketAddr) -> Option<Value> {
        let ip = at.ip().to_string();
        let ports = json!([{ "name": "https", "port": at.port(), "protocol": "TCP" }]);
        let list = |field: &str| object[field].as_array().cloned().unwrap_or_default();
        match self {
            Self::Endpoints => {
                let mut subsets = list("subsets");
                let there = |subset: &Value, field: &str| {
                    subset[field].as_array().is_some_and(|all| all.iter().any(|one| one["ip"] == ip))
                };
                if subsets.iter().any(|s| there(s, "addresses") || there(s, "notReadyAddresses")) {
                    return None;
                }
                match subsets.first_mut().and_then(|subset| subset["addresses"].as_array_mut()) {
                    Some(addresses) => addresses.push(json!({ "ip": ip })),
                    None => subsets = vec![json!({ "addresses": [{ "ip": ip }], "ports": ports })],
                }
                Some(json!({ "subsets": subsets }))
            }
            Self::EndpointSlice(_) => {
                let family = if at.is_ipv4() { "IPv4" } else { "IPv6" };
                let mut endpoints = list("endpoints");
                let there =
                    |one: &Value| one["addresses"].as_array().is_some_and(|all| all.contains(&json!(ip)));
                if object["addressType"] != family || endpoints.iter().any(there) {
                    return None;
                }
                let ports = Some(list("ports")).filter(|ports| !ports.is_empty()).map_or(ports, Value::Array);
                endpoints.push(json!({ "addresses": [ip], "conditions": { "ready": true } }));
                Some(json!({ "endpoints": endpoints, "ports": ports }))
            }
        }
    }

    fn api(self, cluster: &Cluster) -> Api<DynamicObject> {
        let kind = match self {
            Self::Endpoints => GroupVersionKind::gvk("", "v1", "Endpoints"),
            Self::EndpointSlice(version) => {
                GroupVersionKind::gvk("discovery.k8s.io", version, "EndpointSlice")
            }
        };
        let mut resource = ApiResource::from_gvk(&kind);
        if let Self::Endpoints = self {
            "endpoints".clone_into(&mut resource.plural);
        }
        Api::namespaced_with(cluster.client.clone(), "default", &resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_nodes_address_is_put_back() {
        let at: SocketAddr = "10.0.0.1:6443".parse().unwrap();
        let ports = json!([{ "name": "https", "port": 6443, "protocol": "TCP" }]);
        let slice = |endpoints: Value, ports: &Value| json!({ "addressType": "IPv4", "endpoints": endpoints, "ports": ports });
        let [mine, other] =
            ["10.0.0.1", "10.0.0.2"].map(|ip| json!({ "addresses": [ip], "conditions": { "ready": true } }));
        let put = |object: Value| Kind::EndpointSlice("v1").with_address(&object, at);
        assert_eq!(put(slice(json!([mine, other]), &ports)), None);
        let both = json!({ "endpoints": [other, mine], "ports": ports });
        assert_eq!(put(slice(json!([other]), &ports)), Some(both));
        let alone = json!({ "endpoints": [mine], "ports": ports });
        assert_eq!(
            put(slice(Value::Null, &Value::Null)),
            Some(alone),
            "the ports have gone with the last address"
        );
        assert_eq!(put(json!({ "addressType": "IPv6" })), None);
        let put = |object: Value| Kind::Endpoints.with_address(&object, at);
        let subset = |ips: &[&str]| {
            json!({ "subsets": [{ "ports": ports,
            "addresses": ips.iter().map(|ip| json!({ "ip": ip })).collect::<Vec<_>>() }] })
        };
        assert_eq!(put(subset(&["10.0.0.1"])), None);
        assert_eq!(put(subset(&["10.0.0.2"])), Some(subset(&["10.0.0.2", "10.0.0.1"])));
        assert_eq!(put(json!({})), Some(subset(&["10.0.0.1"])));
    }
}
