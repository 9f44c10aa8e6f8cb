//! The rehearsal's handle: starts it, talks to it, breaks it, watches it.

use super::etcd::Alarm;
use super::host::SimulatedHost;
use super::log::Happened;
use super::options::SimulatorOptions;
use super::server::{AT, Server};
use super::shared::Shared;
use super::simulated_node::SimulatedNode;
use super::world::{Caller, Target};
use fulcrum_steps::host::Host;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::thread::JoinHandle;

/// A running rehearsal. Dropping it ends everything that is simulated; files stay as they are.
///
/// Where nothing else is said, it stands for its first node, which most rehearsals have alone.
#[derive(Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    first: SimulatedNode,
    others: Vec<SimulatedNode>,
    driver: Option<JoinHandle<()>>,
}

impl Simulator {
    /// Starts a world of one node. From here on the kubelet reads the manifests directory.
    ///
    /// # Errors
    /// If no thread can be started for it.
    pub fn start(options: SimulatorOptions) -> io::Result<Self> {
        Self::start_with(options, Vec::new())
    }

    /// Starts a world of several control-plane nodes, as [`SimulatorOptions::beside`] describes them. What is
    /// not a node's own (versions, pace, ports, etcd) is as with the first.
    ///
    /// # Errors
    /// If no thread can be started for it.
    pub fn start_with(first: SimulatorOptions, others: Vec<SimulatorOptions>) -> io::Result<Self> {
        let tick = first.pace.tick;
        let all = std::iter::once(&first).chain(&others);
        let dirs: Vec<_> = all.map(|node| node.manifests_dir.clone()).collect();
        let count = others.len();
        let shared = Arc::new(Shared::new(first, others));
        let (first, others) = (SimulatedNode::new(&shared, 0), 1..=count);
        let others = others.map(|number| SimulatedNode::new(&shared, number)).collect();
        let driven = shared.clone();
        // On a thread of its own: it reads files, and has to go on while a test blocks its runtime.
        let driver =
            std::thread::Builder::new().name("rehearsal".into()).spawn(move || driven.drive(&dirs, tick))?;
        Ok(Self { shared, first, others, driver: Some(driver) })
    }

    /// Its nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &SimulatedNode> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The node with this number, counted from 0.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn node(&self, number: usize) -> &SimulatedNode {
        number.checked_sub(1).map_or(&self.first, |other| &self.others[other])
    }

    /// A client outside of the cluster, as a person's. Its connections go through the balancer.
    pub fn from_outside(&self) -> kube::Client {
        let port = self.shared.lock().options.api_port;
        let caller = Caller { on: None, target: Target::Balancer, port };
        kube::Client::new(Server::new(self.shared.clone(), caller), "default")
    }

    /// Client and machine of a rehearsal that another process serves at this address.
    ///
    /// # Errors
    /// If no HTTP client can be made. Nothing is sent yet.
    pub fn connect(address: SocketAddr) -> kube::Result<(kube::Client, Arc<dyn Host>)> {
        let client = client_of(address, "/")?;
        Ok((client.clone(), Arc::new(SimulatedHost::new(client))))
    }

    /// A client, on the machine of a rehearsal that another process serves at `address`, of the process that
    /// listens at `to`: [`SimulatedNode::client_to`] from there.
    ///
    /// # Errors
    /// If no HTTP client can be made. Nothing is sent yet.
    pub fn connect_to(address: SocketAddr, to: SocketAddr) -> kube::Result<kube::Client> {
        client_of(address, &format!("{AT}{to}"))
    }

    /// Ends the connection of every open watch, as a load balancer or a proxy would.
    pub fn cut_watches(&self) {
        self.shared.lock().watch_cuts += 1;
        self.shared.tell_all();
    }

    /// Forgets the changes so far, as etcd's compaction does. A watch from an older version is told 410
    /// Expired.
    pub fn compact(&self) {
        let mut world = self.shared.lock();
        let version = world.store.version();
        world.store.history.forget(version);
    }

    /// Makes etcd's members report an alarm, or none.
    pub fn alarm(&self, alarm: Option<Alarm>) {
        self.shared.lock().alarm = alarm;
    }

    /// What happened so far.
    pub fn log(&self) -> Vec<Happened> {
        self.shared.lock().log.lines()
    }
}

impl Deref for Simulator {
    type Target = SimulatedNode;

    fn deref(&self) -> &SimulatedNode {
        &self.first
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(driver) = self.driver.take() {
            driver.thread().unpark();
            // A driver that panicked needs no action: the snapshot stood still, and tests saw it.
            let _ = driver.join();
        }
    }
}

fn client_of(address: SocketAddr, path: &str) -> kube::Result<kube::Client> {
    let url = http::Uri::builder().scheme("http").authority(address.to_string()).path_and_query(path).build();
    let mut config = kube::Config::new(url.map_err(kube::Error::HttpError)?);
    config.default_retry = false;
    // Nothing is encrypted. And reading all that a machine trusts takes longer than starting this program.
    config.root_cert = Some(Vec::new());
    kube::Client::try_from(config)
}
