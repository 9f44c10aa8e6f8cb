//! The rehearsal's handle: starts it, talks to it, breaks it, watches it.

use super::fault::{Ability, ApiFault, Disk, Flaw, Which};
use super::host::SimulatedHost;
use super::log::Happened;
use super::options::SimulatorOptions;
use super::server::{self, Server};
use super::shared::Shared;
use super::snapshot::Snapshot;
use fulcrum_steps::host::Host;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A running rehearsal. Dropping it ends everything that is simulated; files stay as they are.
#[derive(Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    /// The port under which every client expects the API.
    port: u16,
    driver: Option<JoinHandle<()>>,
    servers: Mutex<JoinSet<()>>,
}

/// A wait for a condition on the snapshot was in vain.
#[derive(Debug, thiserror::Error)]
#[error("waited {waited:?} for {what}; last seen: {seen:?}")]
pub struct WaitError {
    /// The condition.
    pub what: String,
    /// How long the wait was.
    pub waited: Duration,
    /// The last snapshot.
    pub seen: Box<Snapshot>,
}

impl Simulator {
    /// Starts the world. From here on the kubelet reads the manifests directory.
    ///
    /// # Errors
    /// If no thread can be started for it.
    pub fn start(options: SimulatorOptions) -> io::Result<Self> {
        let (tick, dir) = (options.pace.tick, options.manifests_dir.clone());
        let port = options.api_port;
        let shared = Arc::new(Shared::new(options));
        let driven = shared.clone();
        // On a thread of its own: it reads files, and has to go on while a test blocks its runtime.
        let driver =
            std::thread::Builder::new().name("rehearsal".into()).spawn(move || driven.drive(&dir, tick))?;
        Ok(Self { shared, port, driver: Some(driver), servers: Mutex::default() })
    }

    /// A client in this process, of the API under its usual port. Needs a tokio runtime.
    pub fn client(&self) -> kube::Client {
        self.client_at(self.port)
    }

    /// A client of the API servers that listen on another port: `--secure-port=6444`.
    pub fn client_at(&self, port: u16) -> kube::Client {
        kube::Client::new(Server::new(self.shared.clone(), port), "default")
    }

    /// The machine, for the steps. Needs a tokio runtime.
    pub fn host(&self) -> Arc<dyn Host> {
        Arc::new(SimulatedHost::new(self.client()))
    }

    /// Serves API and machine as plain HTTP on a listener. Returns its address.
    ///
    /// # Errors
    /// If the listener does not know its own address.
    pub fn serve_on(&self, listener: TcpListener) -> io::Result<SocketAddr> {
        self.serve_port_on(self.port, listener)
    }

    /// Serves the API servers that listen on another simulated port.
    ///
    /// # Errors
    /// If the listener does not know its own address.
    pub fn serve_port_on(&self, port: u16, listener: TcpListener) -> io::Result<SocketAddr> {
        let address = listener.local_addr()?;
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.spawn(server::accept(Server::new(self.shared.clone(), port), listener));
        Ok(address)
    }

    /// Client and machine of a rehearsal that another process serves at this address.
    ///
    /// # Errors
    /// If no HTTP client can be made. Nothing is sent yet.
    pub fn connect(address: SocketAddr) -> kube::Result<(kube::Client, Arc<dyn Host>)> {
        let url =
            http::Uri::builder().scheme("http").authority(address.to_string()).path_and_query("/").build();
        let mut config = kube::Config::new(url.map_err(kube::Error::HttpError)?);
        config.default_retry = false;
        // Nothing is encrypted. And reading all that a machine trusts takes longer than starting this
        // program.
        config.root_cert = Some(Vec::new());
        let client = kube::Client::try_from(config)?;
        Ok((client.clone(), Arc::new(SimulatedHost::new(client))))
    }

    /// Kills the processes meant, as SIGKILL would. The kubelet starts them again. Returns how many were
    /// killed.
    pub fn crash(&self, which: impl Into<Which>) -> usize {
        self.shared.lock().crash(&which.into(), self.shared.now())
    }

    /// Kills the processes meant and keeps the kubelet from starting them until [`Self::repair`].
    pub fn hold_down(&self, which: impl Into<Which>) {
        self.shared.lock().hold_down(which.into(), self.shared.now());
    }

    /// Gives the processes meant a flaw. It does not affect a process that has passed the point where the
    /// flaw shows.
    pub fn flaw(&self, which: impl Into<Which>, flaw: Flaw) {
        self.shared.lock().faults.set_flaw(which.into(), flaw);
    }

    /// Takes back what [`Self::hold_down`] and [`Self::flaw`] did for this very `which`.
    pub fn repair(&self, which: impl Into<Which>) {
        self.shared.lock().faults.clear_flaws(&which.into());
    }

    /// Makes coming API requests fail.
    pub fn inject(&self, fault: ApiFault) {
        self.shared.lock().faults.inject(fault);
    }

    /// Takes back every fault that was injected.
    pub fn clear_injected(&self) {
        self.shared.lock().faults.clear_injected();
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

    /// Makes the kubelet slower by this factor, in noticing and in starting, from now on. 1 is its own pace.
    pub fn slow_kubelet(&self, factor: u32) {
        let now = self.shared.now();
        self.shared.lock().slow_kubelet(factor, now);
    }

    /// Sets how much room is left on the node's disk. This process's own writes are not affected.
    pub fn disk(&self, disk: Disk) {
        self.shared.lock().faults.disk = disk;
    }

    /// Sets how much memory the machine has, in bytes, from now on. Nothing that runs is killed.
    pub fn memory(&self, bytes: u64) {
        self.shared.lock().machine.memory = bytes;
    }

    /// Takes an ability from the machine's kernel.
    pub fn lack(&self, ability: Ability) {
        self.shared.lock().machine.lacks.insert(ability);
    }

    /// Connects a program outside of pods to this port over loopback, from now on.
    pub fn connect_over_loopback(&self, program: &str, port: u16) {
        self.shared.lock().machine.connected.push((program.to_owned(), port));
    }

    /// Turns the power off and on.
    pub fn reboot(&self) {
        self.shared.lock().reboot(self.shared.now());
    }

    /// Turns the power off. As [`Self::reboot`], but nothing starts before [`Self::power_on`].
    pub fn power_off(&self) {
        self.shared.lock().power_off(self.shared.now());
    }

    /// Boots the machine and starts its kubelet.
    pub fn power_on(&self) {
        self.shared.lock().power_on(self.shared.now());
    }

    /// What runs at present.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.lock().snapshot()
    }

    /// What happened so far.
    pub fn log(&self) -> Vec<Happened> {
        self.shared.lock().log.lines()
    }

    /// Waits until a condition holds, looking at every move of the world.
    ///
    /// # Errors
    /// If it does not within `deadline`.
    pub async fn until(
        &self,
        what: &str,
        deadline: Duration,
        mut holds: impl FnMut(&Snapshot) -> bool + Send,
    ) -> Result<Snapshot, WaitError> {
        let mut moved = self.shared.moved();
        let end = tokio::time::Instant::now() + deadline;
        loop {
            let seen = self.snapshot();
            if holds(&seen) {
                return Ok(seen);
            }
            if tokio::time::timeout_at(end, moved.changed()).await.is_err() {
                return Err(WaitError { what: what.into(), waited: deadline, seen: Box::new(seen) });
            }
        }
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
