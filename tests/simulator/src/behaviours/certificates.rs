//! Certificates that are renewed while their servers run. What a process holds as a client cannot be asked, on a real
//! node as little as here.

use super::failed::{Failed, expect};
use super::ground::{Ground, seen};
use fulcrum_evidence::sha256_hex;
use fulcrum_steps::certificates::Renewable;
use std::net::{Ipv4Addr, SocketAddr};

/// Where kubeadm's etcd listens for clients of its own machine.
const ETCD: u16 = 2379;

/// kubeadm renews; the API server looks each minute, and etcd at each connection. The renewed files stay.
pub(super) async fn renewed(ground: &Ground) -> Result<(), Failed> {
    let manifests = ground.manifests.path();
    let root = manifests.parent().unwrap_or(manifests);
    for (name, port) in [(Renewable::Apiserver, ground.api_port()?), (Renewable::EtcdServer, ETCD)] {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let server = async || -> Result<_, Failed> {
            Ok(ground.host.listeners(port).await?.into_iter().next().map(|listener| listener.process.pid))
        };
        let before = server().await?;
        let whole = || name.whole(root).map_err(|cause| Failed::new(format!("reading {name}"), cause));
        let former = whole()?.sha256();
        ground.host.renew_certificate(name.name(), root).await?;
        let now = whole()?.sha256();
        expect(now != former, "kubeadm makes another certificate, and its key belongs to it", name)?;
        let what = format!("the renewed {name} to be presented");
        let look = async || {
            let presented = ground.host.presented(at, None).await.map_err(seen)?;
            let leaf = presented.chain.first().map(|leaf| sha256_hex(leaf));
            if leaf.as_ref() == Some(&now) { Ok(()) } else { Err(format!("{leaf:?}")) }
        };
        ground.eventually(&what, look).await?;
        // etcd ends a connection without a client's certificate, too soon to see which process did. But one listens.
        let after = server().await?;
        expect(
            before.is_some() && before == after,
            "the process that presents it is the same",
            (before, after),
        )?;
    }
    Ok(())
}
