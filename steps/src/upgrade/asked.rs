//! What clients have asked of the API servers that a release takes away. Each server counts its own clients' requests, so
//! each is asked itself: a balancer would ask one of them.

use super::{RemovedApi, Version, removed_apis};
use crate::cluster::{Cluster, addresses};
use crate::host::{Host, Question};
use k8s_openapi::api::core::v1::Node;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Where an API server says what it was asked.
const METRICS: &str = "/metrics";

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The APIs that go.
    pub(super) apis: Vec<RemovedApi>,
    /// The API servers that could not be asked, and why.
    pub(super) silent: Vec<String>,
}

/// Asks the API server of each of these nodes.
pub(super) async fn asked(
    (cluster, host): (&Cluster, &dyn Host),
    (nodes, port): (&[Node], u16),
    to: Version,
) -> Asked {
    let (mut found, mut silent) = (BTreeMap::<String, RemovedApi>::new(), Vec::new());
    let mut note = |metrics: &str, of: Option<&str>| {
        for api in removed_apis(metrics, to) {
            let known = found.entry(api.resource.clone()).or_insert(api);
            known.asked_of.extend(of.map(str::to_owned));
        }
    };
    for node in nodes {
        let name = node.metadata.name.clone().unwrap_or_default();
        match metrics_of(host, node, port).await {
            Ok(metrics) => note(&metrics, Some(&name)),
            Err(why) => silent.push(format!("that of {name} ({why})")),
        }
    }
    // The kubeconfig may have an identity that only its own way has, such as a token.
    if !silent.is_empty() || nodes.is_empty() {
        match cluster.metrics().await {
            Ok(metrics) => {
                note(&metrics, None);
                // There is no other than the one that has answered.
                silent.retain(|_| nodes.len() > 1);
            }
            Err(error) => silent.extend(nodes.is_empty().then(|| error.to_string())),
        }
    }
    Asked { apis: found.into_values().collect(), silent }
}

async fn metrics_of(host: &dyn Host, node: &Node, port: u16) -> Result<String, String> {
    let address = addresses(node).first().copied();
    let address = address.ok_or("the cluster knows no address of the node")?;
    let address = SocketAddr::new(address, port);
    let question = Question { address, path: METRICS.to_owned(), tls: true, mark: None };
    let read = host.read(&question).await.map_err(|error| error.to_string())?;
    match read.answer.status {
        200 => Ok(read.body),
        status => Err(format!("{address} answers {status} to {METRICS}")),
    }
}
