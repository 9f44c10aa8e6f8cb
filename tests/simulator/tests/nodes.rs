//! A site on each of several nodes.

use fulcrum_simulator::rehearsal::{Setup, SimulatedSite, Version};
use fulcrum_steps::check::Check;
use fulcrum_steps::preflight::CheckResult;

async fn results(site: &SimulatedSite) -> Vec<CheckResult> {
    match site.preflight().await {
        Ok(report) => report.results,
        Err(refused) => refused.results,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_node_is_a_site_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let setup = Setup::built_in(Version::DEFAULT).unwrap().with_nodes(3);
    let sites = SimulatedSite::boot_all(&setup, root.path()).await.unwrap();
    for (site, name) in sites.iter().zip(["node-1", "node-2", "node-3"]) {
        // Through the balancer, and by the process that listens on this machine.
        let results = results(site).await;
        let node = results.iter().find(|result| result.check == Check::Node).unwrap();
        assert!(node.seen.contains(name), "{node:?}");
        let address = site.machine().address().to_string();
        let server = &site.before["kube-apiserver.yaml"].content;
        assert!(server.contains(&format!("--advertise-address={address}\n")), "{server}");
    }
    let boots = || sites.iter().map(|site| site.machine().snapshot().boot_id).collect::<Vec<_>>();
    let before = boots();
    sites[1].reboot().await.unwrap();
    for site in &sites {
        site.is_as_before().await.unwrap();
    }
    let after = boots();
    assert_eq!([0, 1, 2].map(|number| before[number] == after[number]), [true, false, true]);
}
