//! One node of a rehearsal: its clients and its machine, what breaks it, and what is seen of it.

use super::fault::{Ability, ApiFault, DeprecatedApi, Disk, Flaw, Which};
use super::host::SimulatedHost;
use super::server::{self, Server};
use super::shared::Shared;
use super::snapshot::Snapshot;
use super::world::{Caller, Target};
use fulcrum_steps::host::{Host, Strain};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A node of a running [`Simulator`](super::Simulator).
#[derive(Debug)]
pub struct SimulatedNode {
    shared: Arc<Shared>,
    /// Its place among the cluster's nodes.
    number: usize,
    name: String,
    address: IpAddr,
    /// The port under which every client expects the API.
    port: u16,
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

impl SimulatedNode {
    pub(super) fn new(shared: &Arc<Shared>, number: usize) -> Self {
        let options = shared.lock().nodes[number].options.clone();
        Self {
            shared: Arc::clone(shared),
            number,
            name: options.node_name,
            address: options.node_address,
            port: options.api_port,
            servers: Mutex::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    fn caller(&self, target: Target, port: u16) -> Caller {
        Caller { on: Some(self.number), target, port }
    }

    fn client_of(&self, target: Target, port: u16) -> kube::Client {
        kube::Client::new(Server::new(self.shared.clone(), self.caller(target, port)), "default")
    }

    /// A client in this process, on this node, of this node's API under its usual port. Needs a tokio
    /// runtime.
    pub fn client(&self) -> kube::Client {
        self.client_at(self.port)
    }

    /// A client of this node's API servers that listen on another port: `--secure-port=6444`.
    pub fn client_at(&self, port: u16) -> kube::Client {
        self.client_of(Target::Node(self.number), port)
    }

    /// A client on this node whose connections go through the balancer: to any node whose API server is
    /// ready.
    pub fn balanced(&self) -> kube::Client {
        self.client_of(Target::Balancer, self.port)
    }

    /// A client outside of the cluster, of this node's API under its usual port.
    pub fn client_from_outside(&self) -> kube::Client {
        let caller = Caller { on: None, target: Target::Node(self.number), port: self.port };
        kube::Client::new(Server::new(self.shared.clone(), caller), "default")
    }

    /// The machine, for the steps. Needs a tokio runtime.
    pub fn host(&self) -> Arc<dyn Host> {
        Arc::new(SimulatedHost::new(self.client()))
    }

    /// A client on this node of the process that listens at this address, here or on another node: an API
    /// server, or a member of etcd and its JSON gateway.
    pub fn client_to(&self, address: SocketAddr) -> kube::Client {
        self.clients()(address)
    }

    /// What makes the clients of [`Self::client_to`], without this handle.
    pub fn clients(&self) -> impl Fn(SocketAddr) -> kube::Client + Send + Sync + use<> {
        let (shared, on) = (self.shared.clone(), Some(self.number));
        move |address| {
            let caller = Caller { on, target: Target::Address(address), port: address.port() };
            kube::Client::new(Server::new(shared.clone(), caller), "default")
        }
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
        self.serve(self.caller(Target::Node(self.number), port), listener)
    }

    /// Serves this machine, and the API as the balancer gives it out.
    ///
    /// # Errors
    /// If the listener does not know its own address.
    pub fn serve_balanced_on(&self, listener: TcpListener) -> io::Result<SocketAddr> {
        self.serve(self.caller(Target::Balancer, self.port), listener)
    }

    fn serve(&self, caller: Caller, listener: TcpListener) -> io::Result<SocketAddr> {
        let address = listener.local_addr()?;
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.spawn(server::accept(Server::new(self.shared.clone(), caller), listener));
        Ok(address)
    }

    /// Kills the processes meant, as SIGKILL would. The kubelet starts them again. Returns how many were
    /// killed.
    pub fn crash(&self, which: impl Into<Which>) -> usize {
        self.shared.lock().crash(self.number, &which.into(), self.shared.now())
    }

    /// Kills the processes meant and keeps the kubelet from starting them until [`Self::repair`].
    pub fn hold_down(&self, which: impl Into<Which>) {
        self.shared.lock().hold_down(self.number, which.into(), self.shared.now());
    }

    /// Gives the processes meant a flaw. It does not affect a process that has passed the point where the
    /// flaw shows.
    pub fn flaw(&self, which: impl Into<Which>, flaw: Flaw) {
        self.shared.lock().nodes[self.number].faults.set_flaw(which.into(), flaw);
    }

    /// Takes back what [`Self::hold_down`] and [`Self::flaw`] did for this very `which`.
    pub fn repair(&self, which: impl Into<Which>) {
        self.shared.lock().nodes[self.number].faults.clear_flaws(&which.into());
    }

    /// Ends the processes in the containers of this pod (`namespace/name`) with this exit code, as they would end by
    /// themselves. Returns whether there were any.
    pub fn end(&self, pod: &str, code: i32) -> bool {
        self.shared.lock().nodes[self.number].machine.end_pod(pod, code)
    }

    /// Makes coming requests to this node's API servers fail.
    pub fn inject(&self, fault: ApiFault) {
        self.shared.lock().nodes[self.number].faults.inject(fault);
    }

    /// Takes back every fault that was injected here.
    pub fn clear_injected(&self) {
        self.shared.lock().nodes[self.number].faults.clear_injected();
    }

    /// Makes the kubelet slower by this factor, in noticing and in starting, from now on. 1 is its own pace.
    pub fn slow_kubelet(&self, factor: u32) {
        let now = self.shared.now();
        self.shared.lock().slow_kubelet(self.number, factor, now);
    }

    /// Sets how much room is left on the node's disk. This process's own writes are not affected.
    pub fn disk(&self, disk: Disk) {
        self.shared.lock().nodes[self.number].faults.disk = disk;
    }

    /// Sets how much memory the machine has, in bytes, from now on. Nothing that runs is killed.
    pub fn memory(&self, bytes: u64) {
        self.shared.lock().nodes[self.number].machine.memory = bytes;
    }

    /// Makes the machine say that it is so busy, from now on. Nothing gets slower by that.
    pub fn strain(&self, strain: Strain) {
        self.shared.lock().nodes[self.number].machine.strain = strain;
    }

    /// Makes the machine say that its disk takes so long to sync, from now on.
    pub fn sync_time(&self, time: Duration) {
        self.shared.lock().nodes[self.number].machine.sync_time = time;
    }

    /// Makes processes here take so long to answer a question of the machine, in real time, from now on.
    pub fn answer_time(&self, time: Duration) {
        self.shared.lock().nodes[self.number].machine.answer_time = time;
    }

    /// Makes a client ask this node's API servers for an API that goes with a release.
    pub fn ask_deprecated(&self, api: DeprecatedApi) {
        self.shared.lock().nodes[self.number].machine.ask_deprecated(&api);
    }

    /// Takes an ability from the machine's kernel.
    pub fn lack(&self, ability: Ability) {
        self.shared.lock().nodes[self.number].machine.lacks.insert(ability);
    }

    /// Connects a program outside of pods to this port over loopback, from now on.
    pub fn connect_over_loopback(&self, program: &str, port: u16) {
        self.shared.lock().nodes[self.number].machine.connected.push((program.to_owned(), port));
    }

    /// Turns the power off and on.
    pub fn reboot(&self) {
        self.shared.lock().reboot(self.number, self.shared.now());
    }

    /// Turns the power off. As [`Self::reboot`], but nothing starts before [`Self::power_on`].
    pub fn power_off(&self) {
        self.shared.lock().power_off(self.number, self.shared.now());
    }

    /// Boots the machine and starts its kubelet.
    pub fn power_on(&self) {
        self.shared.lock().power_on(self.number, self.shared.now());
    }

    /// Cuts this machine off from all others: its processes run, its member of etcd has no leader, its API
    /// server answers errors, and no other machine reaches it.
    pub fn cut_off(&self) {
        self.shared.lock().cut_off(self.number, true, self.shared.now());
        self.shared.tell_all();
    }

    /// Takes back what [`Self::cut_off`] did.
    pub fn connect_again(&self) {
        self.shared.lock().cut_off(self.number, false, self.shared.now());
        self.shared.tell_all();
    }

    /// What runs here at present, and what the cluster says.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.lock().snapshot(self.number)
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
