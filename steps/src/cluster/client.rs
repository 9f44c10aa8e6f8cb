//! The calls to the API.

use super::error::{Cause, ClusterError};
use super::etcd_door::{EtcdDoor, ToEtcd};
use super::names::NAMESPACE;
use crate::change;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    Endpoints, Event, EventSource, Namespace, Node, ObjectReference, Pod, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The longest that one call may take. kube has no read timeout of its own, and this program ends the servers
/// that it talks to.
const CALL_WITHIN: Duration = Duration::from_secs(10);

/// The API of the cluster.
#[derive(Clone)]
pub struct Cluster {
    pub(super) client: Client,
    /// Makes another client of the same API.
    connect: Option<Arc<dyn Fn() -> kube::Result<Client> + Send + Sync>>,
    /// Makes clients of etcd's members.
    pub(super) to_etcd: Option<ToEtcd>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cluster")
    }
}

impl Cluster {
    /// The cluster that `client` reaches.
    pub fn new(client: Client) -> Self {
        Self { client, connect: None, to_etcd: None }
    }

    /// A cluster for which `connect` makes further clients.
    #[must_use]
    pub(crate) fn renewed_by(
        self,
        connect: impl Fn() -> kube::Result<Client> + Send + Sync + 'static,
    ) -> Self {
        Self { connect: Some(Arc::new(connect)), ..self }
    }

    /// A cluster whose etcd `to_etcd` reaches.
    #[must_use]
    pub fn with_etcd(
        self,
        to_etcd: impl Fn(&EtcdDoor, &str) -> Result<Client, String> + Send + Sync + 'static,
    ) -> Self {
        Self { to_etcd: Some(Arc::new(to_etcd)), ..self }
    }

    /// This cluster over connections of its own, if `connect` can make them. An open connection stays with
    /// the server that took it.
    #[must_use]
    pub(crate) fn afresh(&self) -> Self {
        match self.connect.as_ref().map(|connect| connect()) {
            Some(Ok(client)) => Self { client, ..self.clone() },
            Some(Err(error)) => {
                tracing::debug!("no other connection can be made: {error}");
                self.clone()
            }
            None => self.clone(),
        }
    }

    /// This cluster over a connection that is made now, so that it does not lead to a server that gets no new ones: not
    /// even by way of a balancer, whose open connections are held back as a client's are. The call that follows has
    /// nothing left to set up.
    pub(crate) async fn newly_connected(&self) -> Self {
        let cluster = self.afresh();
        // What fails here fails at that call again, which says so.
        let _ = cluster.version().await;
        cluster
    }

    /// The server's version, e.g. `v1.35.3`.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn version(&self) -> Result<String, ClusterError> {
        let version = within("ask the API server for its version", self.client.apiserver_version()).await?;
        Ok(version.git_version)
    }

    /// Whether the API server that answers says it is ready. If not, the error has what it says.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn readyz(&self) -> Result<(), ClusterError> {
        let attempt = "ask the API server whether it is ready";
        let request = http::Request::get("/readyz").body(Vec::new()).map_err(|error| ClusterError {
            attempt: attempt.to_owned(),
            cause: Cause::Unreadable(error.to_string()),
        })?;
        within(attempt, self.client.request_text(request)).await.map(|_| ())
    }

    /// The identity of this cluster: the uid of its control plane's namespace.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn uid(&self) -> Result<String, ClusterError> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespace = within(&format!("get namespace {NAMESPACE}"), namespaces.get(NAMESPACE)).await?;
        Ok(namespace.metadata.uid.unwrap_or_default())
    }

    /// The node, if there is one of that name.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn node(&self, name: &str) -> Result<Option<Node>, ClusterError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        within(&format!("get node {name}"), nodes.get_opt(name)).await
    }

    /// Sets a label of the node, or with `None` removes it.
    ///
    /// # Errors
    /// When the API server cannot be asked, or there is no such node.
    pub(crate) async fn label_node(
        &self,
        name: &str,
        label: &str,
        value: Option<&str>,
    ) -> Result<(), ClusterError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({ "metadata": { "labels": { label: value } } }));
        let parameters = PatchParams::default();
        within(&format!("label node {name} with {label}"), nodes.patch(name, &parameters, &patch))
            .await
            .map(|_| ())
    }

    /// A pod of the control plane's namespace.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn pod(&self, name: &str) -> Result<Option<Pod>, ClusterError> {
        within(&format!("get pod {NAMESPACE}/{name}"), self.pods().get_opt(name)).await
    }

    /// Deletes a pod. No error if it is gone.
    ///
    /// # Errors
    /// When the API server cannot be asked, or refuses.
    pub async fn delete_pod(&self, name: &str, uid: &str) -> Result<(), ClusterError> {
        let attempt = format!("delete pod {NAMESPACE}/{name}");
        gone(within(&attempt, self.pods().delete(name, &only(uid))).await.map(|_| ()))
    }

    /// A DaemonSet of the control plane's namespace, as the API has it.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn daemonset(&self, name: &str) -> Result<Option<Value>, ClusterError> {
        let attempt = format!("get DaemonSet {NAMESPACE}/{name}");
        let found = within(&attempt, self.daemonsets().get_opt(name)).await?;
        found.map(|object| to_value(&attempt, &object)).transpose()
    }

    /// Creates a DaemonSet. With `dry_run` the server only says whether it would.
    ///
    /// # Errors
    /// When the API server cannot be asked, refuses, or has one of that name
    /// (a conflict: perhaps from this very call, tried twice).
    pub async fn create_daemonset(&self, daemonset: &Value, dry_run: bool) -> Result<Value, ClusterError> {
        let name = daemonset["metadata"]["name"].as_str().unwrap_or_default();
        let attempt = format!("create DaemonSet {NAMESPACE}/{name}");
        let object = from_value(&attempt, daemonset)?;
        let parameters = PostParams { dry_run, field_manager: Some("fulcrum".to_owned()) };
        let made = within(&attempt, self.daemonsets().create(&parameters, &object)).await?;
        change::record_object("DaemonSet", None, Some(&made).filter(|_| !dry_run));
        to_value(&attempt, &made)
    }

    /// Replaces a DaemonSet that was read, with the version in which it was read: a conflict if it has changed
    /// since. With `dry_run` the server only says whether it would.
    ///
    /// # Errors
    /// When the API server cannot be asked, or refuses.
    pub async fn replace_daemonset(&self, daemonset: &Value, dry_run: bool) -> Result<Value, ClusterError> {
        let name = daemonset["metadata"]["name"].as_str().unwrap_or_default();
        let attempt = format!("replace DaemonSet {NAMESPACE}/{name}");
        let object = from_value(&attempt, daemonset)?;
        let parameters = PostParams { dry_run, field_manager: Some("fulcrum".to_owned()) };
        let made = within(&attempt, self.daemonsets().replace(name, &parameters, &object)).await?;
        to_value(&attempt, &made)
    }

    /// Sets annotations of a DaemonSet (its own, not its pods').
    ///
    /// # Errors
    /// When the API server cannot be asked, or there is no such DaemonSet.
    pub(crate) async fn annotate_daemonset(
        &self,
        name: &str,
        annotations: &Value,
    ) -> Result<(), ClusterError> {
        let before = self.daemonset(name).await?.unwrap_or_default();
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        let attempt = format!("annotate DaemonSet {NAMESPACE}/{name}");
        within(&attempt, self.daemonsets().patch(name, &PatchParams::default(), &patch)).await?;
        change::record_annotations(&format!("DaemonSet/{NAMESPACE}/{name}"), &before, annotations);
        Ok(())
    }

    /// Deletes the DaemonSet with this uid. No error if it is gone. Its pods go later.
    ///
    /// # Errors
    /// When the API server cannot be asked, or refuses.
    pub async fn delete_daemonset(&self, name: &str, uid: &str) -> Result<(), ClusterError> {
        let attempt = format!("delete DaemonSet {NAMESPACE}/{name}");
        gone(within(&attempt, self.daemonsets().delete(name, &only(uid))).await.map(|_| ()))
    }

    /// A Lease of the control plane's namespace.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn lease(&self, name: &str) -> Result<Option<Lease>, ClusterError> {
        within(&format!("get Lease {NAMESPACE}/{name}"), self.leases().get_opt(name)).await
    }

    /// Gives back a leader's lease, as its holder would have: for the candidates, it has run out. Does
    /// nothing if the lease is no longer exactly as `seen`: then a process renews it.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub(crate) async fn give_back_lease(&self, seen: &Lease) -> Result<(), ClusterError> {
        let mut lease = seen.clone();
        let name = lease.metadata.name.clone().unwrap_or_default();
        let spec = lease.spec.get_or_insert_default();
        // client-go writes this when it releases.
        (spec.holder_identity, spec.lease_duration_seconds) = (Some(String::new()), Some(1));
        let attempt = format!("give back Lease {NAMESPACE}/{name}");
        // With the resourceVersion that was seen. A renewal in between makes this a conflict.
        let given = within(&attempt, self.leases().replace(&name, &PostParams::default(), &lease)).await;
        gone(given.map(|given| change::record_object("Lease", Some(seen), Some(&given))))
    }

    /// Records an event about the node.
    ///
    /// # Errors
    /// When the API server cannot be asked, or refuses.
    pub(crate) async fn node_event(
        &self,
        node: &str,
        reason: &str,
        message: &str,
    ) -> Result<(), ClusterError> {
        let now = Time(k8s_openapi::jiff::Timestamp::now());
        let event = Event {
            metadata: ObjectMeta { generate_name: Some("fulcrum-".to_owned()), ..ObjectMeta::default() },
            // The kubelet names its node like this, without a namespace and with its name for a uid.
            involved_object: ObjectReference {
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                uid: Some(node.to_owned()),
                ..ObjectReference::default()
            },
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            type_: Some("Warning".to_owned()),
            source: Some(EventSource { component: Some("fulcrum".to_owned()), host: Some(node.to_owned()) }),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            count: Some(1),
            ..Event::default()
        };
        let events: Api<Event> = Api::namespaced(self.client.clone(), "default");
        let attempt = format!("write an event about node {node}");
        let made = within(&attempt, events.create(&PostParams::default(), &event)).await;
        made.map(|made| change::record_object("Event", None, Some(&made)))
    }

    /// The addresses under which pods find the API server: the ready ones of service `default/kubernetes`.
    /// Releases before 1.21 serve slices under another version, or none. See [`crate::release`].
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub(crate) async fn api_endpoints(&self) -> Result<Vec<IpAddr>, ClusterError> {
        let which = ListParams::default().labels("kubernetes.io/service-name=kubernetes");
        for version in SLICE_VERSIONS {
            let kind = GroupVersionKind::gvk("discovery.k8s.io", version, "EndpointSlice");
            let slices: Api<DynamicObject> =
                Api::namespaced_with(self.client.clone(), "default", &ApiResource::from_gvk(&kind));
            let attempt = "list the endpoints of service default/kubernetes";
            match within(attempt, slices.list(&which)).await {
                Err(error) if error.code() == Some(404) => {}
                found => {
                    return Ok(found?.items.iter().flat_map(|slice| ready_in_slice(&slice.data)).collect());
                }
            }
        }
        let endpoints: Api<Endpoints> = Api::namespaced(self.client.clone(), "default");
        let found = within("get Endpoints default/kubernetes", endpoints.get_opt("kubernetes")).await?;
        let subsets = found.and_then(|endpoints| endpoints.subsets).unwrap_or_default();
        let ready = subsets.into_iter().flat_map(|subset| subset.addresses.unwrap_or_default());
        Ok(ready.filter_map(|address| address.ip.parse().ok()).collect())
    }

    /// Where pods find the API server: the addresses and ports of service `default/kubernetes` itself.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub(crate) async fn api_service(&self) -> Result<Vec<SocketAddr>, ClusterError> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), "default");
        let service = within("get service default/kubernetes", services.get_opt("kubernetes")).await?;
        let spec = service.and_then(|service| service.spec).unwrap_or_default();
        let all = spec.cluster_ips.unwrap_or_default().into_iter().chain(spec.cluster_ip);
        let mut addresses: Vec<IpAddr> = all.filter_map(|address| address.parse().ok()).collect();
        addresses.sort();
        addresses.dedup();
        let ports =
            spec.ports.unwrap_or_default().into_iter().filter_map(|port| u16::try_from(port.port).ok());
        Ok(ports.flat_map(|port| addresses.iter().map(move |ip| SocketAddr::new(*ip, port))).collect())
    }

    pub(super) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(super) fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Untyped: no field is lost that this program's types do not know.
    fn daemonsets(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("apps", "v1", "DaemonSet");
        Api::namespaced_with(self.client.clone(), NAMESPACE, &ApiResource::from_gvk(&kind))
    }
}

/// The versions under which the API serves EndpointSlices, the newest first.
pub(super) const SLICE_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// The ready addresses in a slice. An address without a word about it is ready.
fn ready_in_slice(slice: &Value) -> Vec<IpAddr> {
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != false);
    let addresses = ready.flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten());
    addresses.filter_map(|address| address.as_str()?.parse().ok()).collect()
}

/// One call, with its deadline and its purpose.
pub(super) async fn within<T>(
    attempt: &str,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ClusterError> {
    let answer = match tokio::time::timeout(CALL_WITHIN, call).await {
        Ok(result) => result.map_err(|error| ClusterError::new(attempt, error)),
        Err(_) => Err(ClusterError { attempt: attempt.to_owned(), cause: Cause::Timeout(CALL_WITHIN) }),
    };
    match &answer {
        Ok(_) => tracing::debug!("{attempt}: done"),
        Err(error) => tracing::debug!("{error}"),
    }
    answer
}

/// Deletes this very object, not a later one of that name. The garbage collector deletes what it owns, in the
/// background.
pub(super) fn only(uid: &str) -> DeleteParams {
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    DeleteParams::background().preconditions(preconditions)
}

/// An object that is not there (404), or is another object by now (409), is gone.
pub(super) fn gone(result: Result<(), ClusterError>) -> Result<(), ClusterError> {
    match result {
        Err(error) if matches!(error.code(), Some(404 | 409)) => Ok(()),
        other => other,
    }
}

pub(super) fn to_value(attempt: &str, object: &DynamicObject) -> Result<Value, ClusterError> {
    serde_json::to_value(object).map_err(|error| unreadable(attempt, &error))
}

pub(super) fn from_value(attempt: &str, object: &Value) -> Result<DynamicObject, ClusterError> {
    serde_json::from_value(object.clone()).map_err(|error| unreadable(attempt, &error))
}

fn unreadable(attempt: &str, error: &serde_json::Error) -> ClusterError {
    ClusterError { attempt: attempt.to_owned(), cause: Cause::Unreadable(error.to_string()) }
}
