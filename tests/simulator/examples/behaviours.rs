//! Checks what the rehearsal and a real cluster have in common: on the rehearsal, or on a kubeadm node.
//!
//! ```text
//! behaviours --rehearsal [--nodes N] [WORD...]
//! behaviours [--kubeconfig FILE] [--manifests-dir DIR] [WORD...]     on the node, as root
//! behaviours --list
//! ```
//!
//! Where the cluster has several control-plane nodes, the behaviours of several nodes are checked, too. With
//! words, only the behaviours whose names contain one of them. Prints a line a behaviour and, last,
//! `N passed, N failed`; ends with 0 if none failed, 1 if any did, 2 if it could not begin.
//!
//! On a node it makes pods and takes them away again, starts a second API server on port 6444, and takes the
//! node's own API server away for half a minute: not for a node that anybody needs. A run that is killed
//! leaves what it made; the next one takes it away.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints what it finds")]

use fulcrum_simulator::behaviours::{ALL, Behaviour, Ground, Other, SECOND_PORT, SEVERAL, Tempo};
use fulcrum_simulator::{Simulator, SimulatorOptions, write_certificates, write_control_plane};
use fulcrum_steps::cluster::{ROLE_LABEL, connect};
use fulcrum_steps::host::{ManifestsDir, Proc};
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the command line asks for.
struct Asked {
    rehearsal: bool,
    /// How many nodes the rehearsal has.
    nodes: u8,
    list: bool,
    kubeconfig: PathBuf,
    manifests_dir: PathBuf,
    words: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("behaviours: {error}");
            ExitCode::from(2)
        }
    }
}

/// How many failed.
async fn run() -> Result<usize, Box<dyn Error>> {
    let asked = asked(std::env::args().skip(1))?;
    if asked.list {
        ALL.iter().chain(SEVERAL).for_each(|behaviour| println!("{}", behaviour.name));
        return Ok(0);
    }
    if !asked.rehearsal {
        let ground = on_node(&asked.kubeconfig, &asked.manifests_dir).await?;
        return Ok(check(&ground, &asked.words).await);
    }
    let dir = tempfile::tempdir()?;
    let first = SimulatorOptions::new(dir.path().join("0/manifests"));
    let others: Vec<_> = (1..asked.nodes)
        .map(|number| first.beside(number, dir.path().join(format!("{number}/manifests"))))
        .collect();
    for options in std::iter::once(&first).chain(&others) {
        std::fs::create_dir_all(&options.manifests_dir)?;
        write_control_plane(options)?;
        write_certificates(options)?;
    }
    let manifests = ManifestsDir::new(&first.manifests_dir);
    let simulator = Simulator::start_with(first, others)?;
    let clients = (simulator.client(), simulator.client_at(SECOND_PORT));
    let ground = Ground::survey(clients, manifests, simulator.host(), Tempo::REHEARSAL).await?;
    let others = simulator.nodes().skip(1);
    let others = others.map(|node| Other { node: node.name().to_owned(), client: node.client() }).collect();
    Ok(check(&ground.beside(others), &asked.words).await)
}

async fn check(ground: &Ground, words: &[String]) -> usize {
    let chosen = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let (mut passed, mut failed) = (0, 0);
    let several: &[Behaviour] = if ground.others.is_empty() { &[] } else { SEVERAL };
    for behaviour in ALL.iter().chain(several).filter(|behaviour| chosen(behaviour.name)) {
        let began = Instant::now();
        match behaviour.check(ground).await {
            Ok(()) => {
                passed += 1;
                println!("ok   {} ({:.1} s)", behaviour.name, began.elapsed().as_secs_f64());
            }
            Err(error) => {
                failed += 1;
                println!("FAIL {}: {error}", behaviour.name);
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    failed
}

/// This machine, as the kubeconfig's user sees its cluster.
async fn on_node(kubeconfig: &Path, manifests_dir: &Path) -> Result<Ground, Box<dyn Error>> {
    let access = connect(kubeconfig).await?;
    let mut config =
        Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &KubeConfigOptions::default())
            .await?;
    config.connect_timeout = Some(Duration::from_secs(3));
    // What is answered is what is looked at: nothing is tried again.
    config.default_retry = false;
    let mut second = config.clone();
    second.cluster_url = at(&config.cluster_url, None, SECOND_PORT)?;
    let clients = (Client::try_from(config.clone())?, Client::try_from(second)?);
    let host = Arc::new(Proc::new(access.local_tls));
    let manifests = ManifestsDir::new(manifests_dir);
    manifests.names()?;
    let ground = Ground::survey(clients, manifests, host, Tempo::NODE).await?;
    let others = others(&ground, &config).await?;
    Ok(ground.beside(others))
}

/// The other control-plane nodes, each with a client of its own API server.
async fn others(ground: &Ground, config: &Config) -> Result<Vec<Other>, Box<dyn Error>> {
    let nodes = Api::<Node>::all(ground.client.clone());
    let mut others = Vec::new();
    for node in nodes.list(&ListParams::default().labels(ROLE_LABEL)).await? {
        let name = node.metadata.name.unwrap_or_default();
        let addresses = node.status.and_then(|status| status.addresses).unwrap_or_default();
        let Some(own) = addresses.into_iter().find(|address| address.type_ == "InternalIP") else { continue };
        if name != ground.node {
            let mut config = config.clone();
            let port = config.cluster_url.port_u16().unwrap_or(443);
            config.cluster_url = at(&config.cluster_url, Some(&own.address), port)?;
            others.push(Other { node: name, client: Client::try_from(config)? });
        }
    }
    Ok(others)
}

/// This URL with another port, and perhaps another host.
fn at(url: &http::Uri, host: Option<&str>, port: u16) -> Result<http::Uri, Box<dyn Error>> {
    let host = host.or(url.host()).ok_or("the kubeconfig's server has no host")?;
    let mut parts = url.clone().into_parts();
    parts.authority = Some(format!("{host}:{port}").parse()?);
    Ok(http::Uri::from_parts(parts)?)
}

fn asked(mut arguments: impl Iterator<Item = String>) -> Result<Asked, Box<dyn Error>> {
    let mut asked = Asked {
        rehearsal: false,
        nodes: 1,
        list: false,
        kubeconfig: "/etc/kubernetes/admin.conf".into(),
        manifests_dir: "/etc/kubernetes/manifests".into(),
        words: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--rehearsal" => asked.rehearsal = true,
            "--nodes" => asked.nodes = value()?.parse()?,
            "--list" => asked.list = true,
            "--kubeconfig" => asked.kubeconfig = value()?.into(),
            "--manifests-dir" => asked.manifests_dir = value()?.into(),
            option if option.starts_with('-') => {
                return Err(format!("no such option: {option}; see the head of the example's source").into());
            }
            _ => asked.words.push(argument),
        }
    }
    Ok(asked)
}
