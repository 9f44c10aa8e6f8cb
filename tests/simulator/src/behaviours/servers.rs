//! Several API servers on one cluster.

use super::failed::{Failed, expect};
use super::ground::{Ground, seen};
use super::make::config_map;
use super::names::SECOND;
use super::watches::{Watching, change, create, marked, version_now};
use fulcrum_steps::cluster::{is_ready, pod_story};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};

pub(super) async fn second(ground: &Ground) -> Result<(), Failed> {
    let before = published(&ground.client).await?;
    ground.start_second().await?;
    create(ground, "1").await?;
    let maps = ground.second_api::<ConfigMap>();
    let there = maps.get("behaves").await?;
    maps.replace("behaves", &PostParams::default(), &with_version(config_map("behaves", "2")?, &there))
        .await?;
    let seen = ground.api::<ConfigMap>().get("behaves").await?.data.unwrap_or_default();
    let value = seen.get("value").map(String::as_str);
    expect(value == Some("2"), "what is written at one is read at the other", value)?;
    tokio::time::sleep(ground.tempo.quiet).await;
    let after = published(&ground.client).await?;
    expect(before == after, "the addresses of service kubernetes are as before", (before, after))
}

fn with_version(mut map: ConfigMap, there: &ConfigMap) -> ConfigMap {
    map.metadata.resource_version.clone_from(&there.metadata.resource_version);
    map
}

/// A server's watch cache begins with a list. It cannot go on from an earlier version.
pub(super) async fn no_older_versions(ground: &Ground) -> Result<(), Failed> {
    let old = version_now(ground).await?;
    create(ground, "1").await?;
    ground.start_second().await?;
    let maps = ground.second_api::<ConfigMap>();
    match Watching::from(ground, &maps, &marked(), old).await {
        // The request was right. So the watch itself brings the refusal.
        Ok(mut watching) => {
            let event = watching.told("410 Expired").await?;
            let seen = (event.kind, event.name.as_str(), event.version);
            expect(seen == ("ERROR", "Expired", 410), "the watch is told 410 Expired", &event)
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn watch_goes_on(ground: &Ground) -> Result<(), Failed> {
    ground.start_second().await?;
    let from = create(ground, "1").await?;
    change(ground, "2").await?;
    let maps = ground.second_api::<ConfigMap>();
    let mut watching = Watching::from(ground, &maps, &marked(), from).await?;
    watching.tells("MODIFIED", "2").await?;
    change(ground, "3").await?;
    watching.tells("MODIFIED", "3").await?;
    ground.manifests.remove(SECOND)?;
    // A server that was told to end may serve its open watches for the whole of its grace.
    while watching.next("the end of the watch, with its server").await?.is_some() {}
    Ok(())
}

/// Looks through the second server: only the first one answers on the API's port.
pub(super) async fn address(ground: &Ground) -> Result<(), Failed> {
    let own = own_address(ground).await?;
    ground.start_second().await?;
    let (addresses, slice) = published(&ground.second).await?;
    expect(addresses.contains(&own) && slice.contains(&own), "its address is published", (addresses, slice))?;
    ground.stash("kube-apiserver")?;
    let out = ground.eventually("its address to be taken out of Endpoints and EndpointSlice", async || {
        let (addresses, slice) = published(&ground.second).await.map_err(seen)?;
        let gone = !addresses.contains(&own) && !slice.contains(&own);
        if gone { Ok(()) } else { Err(format!("Endpoints {addresses:?}, EndpointSlice {slice:?}")) }
    });
    let out = out.await;
    // In any case: no client should be without the API server for longer.
    ground.restore_stash()?;
    out?;
    ground
        .eventually("its address to be put back", async || {
            let (addresses, slice) = published(&ground.second).await.map_err(seen)?;
            let back = addresses.contains(&own) && slice.contains(&own);
            if back { Ok(()) } else { Err(format!("Endpoints {addresses:?}, EndpointSlice {slice:?}")) }
        })
        .await?;
    settled(ground).await
}

/// The control plane has recovered: its pods are Ready, and its leaders renew their leases.
pub(super) async fn settled(ground: &Ground) -> Result<(), Failed> {
    for name in ["kube-controller-manager", "kube-scheduler"] {
        let what = format!("lease {name} to be renewed through the API server that is back");
        let mut before = None;
        let renewed = async || {
            let lease = ground.api::<Lease>().get(name).await.map_err(seen)?;
            let now = lease.spec.and_then(|spec| spec.renew_time);
            let first = before.get_or_insert(now.clone());
            if *first == now { Err(format!("{now:?}")) } else { Ok(()) }
        };
        ground.eventually(&what, renewed).await?;
    }
    ground
        .eventually("the control plane's pods to be Ready", async || {
            let which = ListParams::default()
                .labels("tier=control-plane")
                .fields(&format!("spec.nodeName={}", ground.node));
            let pods = ground.api::<Pod>().list(&which).await.map_err(seen)?.items;
            let unready: Vec<String> = pods.iter().filter(|pod| !is_ready(pod)).map(pod_story).collect();
            if !pods.is_empty() && unready.is_empty() { Ok(()) } else { Err(unready.join("; ")) }
        })
        .await
}

/// The address that this node's API server publishes.
pub(super) async fn own_address(ground: &Ground) -> Result<String, Failed> {
    if let Some(address) = ground.flag("kube-apiserver", "advertise-address")? {
        return Ok(address);
    }
    let pod = ground.api::<Pod>().get(&format!("kube-apiserver-{}", ground.node)).await?;
    let address = pod.status.and_then(|status| status.host_ip);
    address.ok_or_else(|| Failed::new("the API server's address", "its pod has no host address"))
}

/// Addresses and ports of service `kubernetes`: in its Endpoints, and in its EndpointSlice.
async fn published(client: &Client) -> Result<(Vec<String>, Vec<String>), Failed> {
    let endpoints = Api::<Endpoints>::namespaced(client.clone(), "default").get("kubernetes").await?;
    let mut addresses = Vec::new();
    for subset in endpoints.subsets.into_iter().flatten() {
        addresses.extend(subset.addresses.into_iter().flatten().map(|address| address.ip));
        addresses.extend(subset.ports.into_iter().flatten().map(|port| format!("port {}", port.port)));
    }
    let slice = Api::<EndpointSlice>::namespaced(client.clone(), "default").get("kubernetes").await?;
    let mut in_slice: Vec<String> = slice.endpoints.into_iter().flat_map(|e| e.addresses).collect();
    let ports = slice.ports.into_iter().flatten().filter_map(|port| port.port);
    in_slice.extend(ports.map(|port| format!("port {port}")));
    Ok((addresses, in_slice))
}
