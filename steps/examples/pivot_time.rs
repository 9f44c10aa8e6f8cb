//! How long the pivot of a rehearsal takes, and the way back: `cargo run --release --example pivot_time`.
//!
//! The real plan, steps, engine and journal, on the built-in control plane, in a temporary directory.

#![allow(clippy::print_stdout, reason = "a program that prints what it measures")]

use fulcrum_engine::state::Journal;
use fulcrum_engine::{Ending, Engine, Session};
use fulcrum_steps::cluster::{Cluster, is_ready};
use fulcrum_steps::component::Component;
use fulcrum_steps::node::{ManifestsDir, Node};
use fulcrum_steps::plan;
use fulcrum_steps::preflight::{Ask, preflight};
use fulcrum_steps::rehearsal::{Rehearsal, RehearsalOptions, write_control_plane};
use fulcrum_steps::site::{Handover, Patience, Settings, Site};
use fulcrum_steps::step::library;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often waits look again. What they wait for takes milliseconds.
const POLL: Duration = Duration::from_millis(4);
const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let manifests = ManifestsDir::new(dir.path().join("manifests"));
    std::fs::create_dir(manifests.path())?;
    let options = RehearsalOptions::new(manifests.path());
    write_control_plane(&options)?;
    let began = Instant::now();
    let mut lap = lap(began);
    let rehearsal = Rehearsal::start(options)?;
    let cluster = Cluster::new(rehearsal.client());
    settle(&rehearsal, &cluster).await?;
    lap("the control plane is up");
    let ask = Ask {
        manifests,
        host: rehearsal.host(),
        cluster: cluster.clone(),
        kubeconfig: "/none".into(),
        node_name: None,
        handover: Handover::Restart,
    };
    let settings = preflight(&ask).await?.settings;
    lap("checked");
    let journal = Journal::open(dir.path().join("state"), "pivot_time")?;
    let plan = plan::pivot(&settings, DEADLINE)?;
    let engine = engine(&journal, site(settings, cluster, &rehearsal, dir.path())).await?;
    let pivoted = engine.start(plan).await?;
    say(&pivoted);
    lap("pivoted");
    say(&engine.unwind(pivoted.run, "the way back").await?);
    lap("back");
    println!("{:>7.1} ms in all", began.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

/// Prints how long each lap took.
fn lap(mut since: Instant) -> impl FnMut(&str) {
    move |what| {
        println!("{:>7.1} ms {what}", since.elapsed().as_secs_f64() * 1e3);
        since = Instant::now();
    }
}

fn say(ending: &Ending) {
    println!("           {}", ending.phase);
}

async fn settle(rehearsal: &Rehearsal, cluster: &Cluster) -> Result<(), Box<dyn Error>> {
    rehearsal.until("a control plane", DEADLINE, |seen| seen.api_up && seen.leaders.len() == 2).await?;
    let ready = async {
        loop {
            let pods = cluster.pods_labelled("tier=control-plane").await.unwrap_or_default();
            if pods.iter().filter(|pod| is_ready(pod)).count() > Component::ALL.len() {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    Ok(tokio::time::timeout(DEADLINE, ready).await?)
}

fn site(settings: Settings, cluster: Cluster, rehearsal: &Rehearsal, dir: &Path) -> Arc<Site> {
    let node = Node { manifests: ManifestsDir::new(&settings.manifests_dir), host: rehearsal.host() };
    let patience = Patience {
        poll: POLL,
        lease_quiet: POLL * 8,
        drain: POLL * 4,
        drain_alone: POLL * 2,
        settle: POLL * 6,
    };
    Arc::new(Site { node, cluster, settings, archive: dir.join("archive"), patience })
}

async fn engine(journal: &Journal, site: Arc<Site>) -> Result<Engine, Box<dyn Error>> {
    let boot_id = site.node.host.boot_id().await?;
    let session = Session { boot_id, pid: std::process::id(), program: "pivot_time".to_owned() };
    Ok(Engine::new(journal.clone(), library(site), session))
}
