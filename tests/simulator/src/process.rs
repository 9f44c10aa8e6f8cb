//! The machine: its processes, from start to exit.

use super::fault::{Ability, Faults, Flaw};
use super::held::Held;
use super::log::Log;
use super::options::SimulatorOptions;
use super::pace::Pace;
use super::program::Program;
use super::snapshot::Origin;
use super::socket::Sockets;
use fulcrum_steps::host::{Hindrance, HostError, Listener, Process, Strain};
use fulcrum_steps::upgrade::EtcdVersion;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The owner of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) pod_uid: String,
    /// `namespace/name` of the pod; for a static pod, of its mirror pod.
    pub(super) pod: String,
    pub(super) origin: Origin,
}

/// A process of a container, or the sandbox of a pod (`/pause`).
#[derive(Debug, Clone)]
pub(super) struct Proc {
    pub(super) pid: u32,
    pub(super) owner: Owner,
    pub(super) command: Vec<String>,
    pub(super) program: Program,
    /// The version in its image, if it is etcd's.
    pub(super) etcd: Option<EtcdVersion>,
    pub(super) spawned_at: Duration,
    pub(super) life: Life,
    /// Once it is told to end: when it has told its clients. Held clients wait until this instant.
    goodbye_at: Duration,
    held_until: Duration,
    /// The certificates that it has read.
    pub(super) held: Held,
}

/// The phase of a process's life. Instants are times since the rehearsal began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Running; listens at this instant.
    Starting(Duration),
    /// Listening; ready at this instant.
    WarmingUp(Duration),
    /// It does its work.
    Working,
    /// It was told to end, and is gone at this instant.
    Ending(Duration),
}

/// How many pids a machine has.
const PIDS: u32 = 1_000_000;

/// Everything that a boot wipes out.
#[derive(Debug)]
pub(super) struct Machine {
    /// Whether etcd runs outside of pods, and always works.
    pub(super) etcd_outside: bool,
    /// The newest etcd that has written its data. Outlives a boot.
    pub(super) etcd_data: Option<EtcdVersion>,
    /// Whether its member of etcd, or its way to an etcd outside, is with the majority.
    pub(super) has_quorum: bool,
    pub(super) address: IpAddr,
    pub(super) boot_id: String,
    /// Its `/etc/kubernetes`.
    root: PathBuf,
    pub(super) memory: u64,
    /// How busy it says that it is.
    pub(super) strain: Strain,
    /// How long its disk takes to sync.
    pub(super) sync_time: Duration,
    /// How long its processes take to answer.
    pub(super) answer_time: Duration,
    pub(super) procs: BTreeMap<u32, Proc>,
    pub(super) sockets: Sockets,
    /// The abilities that its kernel lacks.
    pub(super) lacks: BTreeSet<Ability>,
    /// Programs outside of pods that are connected to a port over loopback.
    pub(super) connected: Vec<(String, u16)>,
    /// The lines in the metrics of API servers about deprecated APIs, by pid.
    pub(super) deprecated: Vec<(u32, String)>,
    /// The exit codes of processes that the kubelet has not asked about yet.
    exits: BTreeMap<u32, i32>,
    last_pid: u32,
    pub(super) random: fastrand::Rng,
}

impl Proc {
    pub(super) fn is_sandbox(&self) -> bool {
        self.program.name == "pause"
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(self.life, Life::Ending(_))
    }

    /// Whether its clients learn that they have to go elsewhere before they ask it anything.
    pub(super) fn said_goodbye(&self, now: Duration) -> bool {
        self.is_ending() && (now >= self.goodbye_at || now < self.held_until)
    }

    pub(super) fn seen(&self) -> Process {
        Process {
            pid: self.pid,
            command: self.command.clone(),
            pod_uid: Some(self.owner.pod_uid.clone()),
            memory: self.program.memory(),
        }
    }
}

impl Machine {
    /// The machine of the node with this number. Its pids are its own in the whole cluster.
    pub(super) fn new(options: &SimulatorOptions, number: usize) -> Self {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            etcd_outside: options.etcd_outside,
            etcd_data: None,
            has_quorum: true,
            address: options.node_address,
            boot_id: uuid::Uuid::now_v7().to_string(),
            root: options.root(),
            memory: options.memory,
            strain: Strain { processors: 2, ..Strain::default() },
            sync_time: Duration::from_millis(1),
            answer_time: Duration::ZERO,
            procs: BTreeMap::new(),
            sockets: Sockets::default(),
            lacks: BTreeSet::new(),
            connected: Vec::new(),
            deprecated: Vec::new(),
            exits: BTreeMap::new(),
            last_pid: number.saturating_mul(PIDS).saturating_add(1000),
            random: fastrand::Rng::with_seed(options.seed.wrapping_add(number.into())),
        }
    }

    /// Ends every process at once, closes sockets, and changes the boot id.
    pub(super) fn boot(&mut self) {
        self.procs.clear();
        self.exits.clear();
        self.sockets = Sockets::default();
        self.boot_id = uuid::Uuid::now_v7().to_string();
    }

    pub(super) fn spawn(
        &mut self,
        owner: Owner,
        (image, command): (&str, Vec<String>),
        spawned_at: Duration,
        listens_at: Duration,
    ) -> u32 {
        self.last_pid += 1;
        let pid = self.last_pid;
        let program = Program::of(&command);
        let held = Held::read(&program.name, &command, &self.root, spawned_at);
        let life = match &program {
            program if program.only_prints => Life::Ending(listens_at),
            program if program.ports.is_empty() => Life::Working,
            _ => Life::Starting(listens_at),
        };
        self.procs.insert(
            pid,
            Proc {
                pid,
                owner,
                command,
                etcd: EtcdVersion::of_image(image).filter(|_| program.name == "etcd"),
                program,
                spawned_at,
                life,
                goodbye_at: Duration::ZERO,
                held_until: Duration::ZERO,
                held,
            },
        );
        pid
    }

    /// SIGTERM. An API server stops listening at once and drains; `grace` caps how long.
    pub(super) fn terminate(&mut self, pid: u32, now: Duration, pace: &Pace, grace: Duration) {
        let Some(proc) = self.procs.get_mut(&pid).filter(|p| !p.is_ending()) else { return };
        let serves_api = proc.program.name == "kube-apiserver" && matches!(proc.life, Life::Working);
        let takes = if serves_api { pace.drain } else { pace.stop };
        proc.life = Life::Ending(now + takes.min(grace));
        proc.goodbye_at = now + if serves_api { pace.goodbye } else { Duration::ZERO };
        self.sockets.close_of(pid);
    }

    /// The process is gone, now. The kubelet sees `code`.
    pub(super) fn kill(&mut self, pid: u32, code: i32) {
        if self.procs.remove(&pid).is_some() {
            self.sockets.close_of(pid);
            self.exits.insert(pid, code);
        }
    }

    /// The processes in the containers of this pod (`namespace/name`) end with this code. Returns whether there were any.
    pub(super) fn end_pod(&mut self, pod: &str, code: i32) -> bool {
        let meant = self.procs.values().filter(|proc| proc.owner.pod == pod && !proc.is_sandbox());
        let pids: Vec<u32> = meant.map(|proc| proc.pid).collect();
        pids.iter().for_each(|pid| self.kill(*pid, code));
        !pids.is_empty()
    }

    /// SIGKILL to this very process, if it still has that pid.
    pub(super) fn end(&mut self, meant: &Process) {
        let uid = self.procs.get(&meant.pid).map(|proc| proc.owner.pod_uid.clone());
        if uid.is_some() && uid == meant.pod_uid {
            self.kill(meant.pid, 137);
        }
    }

    /// Holds back what its clients send on connections that they have.
    pub(super) fn hold_back(&mut self, pid: u32, until: Duration) {
        if let Some(proc) = self.procs.get_mut(&pid) {
            proc.held_until = until;
        }
    }

    /// The exit code of a process that has ended. It can be asked for once.
    pub(super) fn exit_of(&mut self, pid: u32) -> Option<i32> {
        self.exits.remove(&pid)
    }

    /// Moves every process on.
    pub(super) fn advance(&mut self, now: Duration, pace: &Pace, faults: &Faults, log: &mut Log) {
        let pids: Vec<u32> = self.procs.keys().copied().collect();
        for pid in pids {
            if let Some(proc) = self.procs.get_mut(&pid) {
                proc.held.advance(now, pace.minute);
            }
            let Some(proc) = self.procs.get(&pid) else { continue };
            let flaw = faults.flaw(&proc.program.name, proc.owner.origin).or(proc.program.flaw);
            let subject = || format!("pod {}", proc.owner.pod);
            match (proc.life, flaw) {
                (Life::Starting(at), _) if now < at => {}
                (Life::Starting(_), Some(Flaw::NeverListens)) => {}
                (Life::Starting(_), Some(Flaw::Crashes)) => {
                    let what = format!("{} ({pid}) crashes, as it was told to", proc.program.name);
                    log.add(now, subject(), what);
                    self.kill(pid, 2);
                }
                (Life::Starting(_), _) if self.is_outdated(pid) => {
                    let what =
                        format!("{} ({pid}) ends: a newer release has written its data", proc.program.name);
                    log.add(now, subject(), what);
                    self.kill(pid, 1);
                }
                // It looks up in the cluster by what clients are known, once.
                (Life::Starting(_), _)
                    if proc.program.name == "kube-controller-manager"
                        && self.api_servers().next().is_none() =>
                {
                    log.add(now, subject(), format!("{} ({pid}) ends: there is no API", proc.program.name));
                    self.kill(pid, 1);
                }
                (Life::Starting(_), _) => self.listen(pid, now, pace, log),
                // An API server asks itself over loopback before it is ready.
                (Life::WarmingUp(at), flaw)
                    if now >= at && flaw != Some(Flaw::NeverReady) && self.sockets.meets_itself(pid) =>
                {
                    log.add(now, subject(), format!("{} ({pid}) is ready", proc.program.name));
                    self.set_life(pid, Life::Working);
                    self.note_data(pid);
                }
                (Life::Ending(at), _) if now >= at => {
                    log.add(now, subject(), format!("{} ({pid}) has ended", proc.program.name));
                    self.kill(pid, 0);
                }
                (Life::WarmingUp(_) | Life::Working | Life::Ending(_), _) => {}
            }
        }
    }

    fn listen(&mut self, pid: u32, now: Duration, pace: &Pace, log: &mut Log) {
        let Some(proc) = self.procs.get(&pid) else { return };
        let (name, subject) = (proc.program.name.clone(), format!("pod {}", proc.owner.pod));
        match self.sockets.listen(pid, &proc.program.ports, proc.program.shares_port) {
            Ok(()) => {
                log.add(now, subject, format!("{name} ({pid}) listens"));
                self.set_life(pid, Life::WarmingUp(now + pace.ready));
            }
            Err(in_use) => {
                let why = format!("{name} ({pid}) ends: port {} is in use by {}", in_use.port, in_use.by);
                log.add(now, subject, why);
                self.kill(pid, 1);
            }
        }
    }

    fn set_life(&mut self, pid: u32, life: Life) {
        if let Some(proc) = self.procs.get_mut(&pid) {
            proc.life = life;
        }
    }

    /// Whether a process answers 200: it is warm, and the etcd that it needs is there.
    pub(super) fn is_ready(&self, pid: u32) -> bool {
        let Some(proc) = self.procs.get(&pid) else { return false };
        let etcd_works = |s: &super::socket::Socket| self.procs.get(&s.pid).is_some_and(is_working_etcd);
        let has_etcd = || {
            self.etcd_outside || proc.program.etcd.is_none_or(|port| self.sockets.on(port).any(etcd_works))
        };
        let needs_quorum = proc.program.name == "kube-apiserver";
        proc.life == Life::Working && has_etcd() && (self.has_quorum || !needs_quorum)
    }

    /// Whether this API server lacks a group.
    pub(super) fn serves_less(&self, pid: u32) -> bool {
        self.procs.get(&pid).is_some_and(|proc| proc.program.flaw == Some(Flaw::ServesLess))
    }

    /// Whether a member of etcd works here.
    pub(super) fn runs_etcd(&self) -> bool {
        self.procs.values().any(is_working_etcd)
    }

    pub(super) fn is_api_server(&self, pid: u32) -> bool {
        self.procs.get(&pid).is_some_and(|proc| proc.program.name == "kube-apiserver")
    }

    /// Whether this process is a member of etcd that works.
    pub(super) fn is_etcd(&self, pid: u32) -> bool {
        self.procs.get(&pid).is_some_and(is_working_etcd)
    }

    /// The API servers that listen and are ready, oldest first.
    pub(super) fn api_servers(&self) -> impl Iterator<Item = &Proc> {
        self.procs.values().filter(|p| p.program.name == "kube-apiserver" && self.is_ready(p.pid))
    }

    pub(super) fn listeners(&self, port: u16) -> Vec<Listener> {
        let seen = |s: &super::socket::Socket| {
            let process = self.procs.get(&s.pid)?.seen();
            let address = SocketAddr::new(s.port.bind, s.port.number);
            Some(Listener { process, inode: s.inode, uid: 0, address })
        };
        self.sockets.on(port).filter_map(seen).collect()
    }

    pub(super) fn local_clients(&self, port: u16) -> Vec<Process> {
        let to_port = self.connected.iter().zip(2..).filter(|((_, to), _)| *to == port);
        let seen = |((program, _), pid): (&(String, u16), u32)| Process {
            pid,
            command: vec![program.clone()],
            pod_uid: None,
            memory: 0,
        };
        to_port.map(seen).collect()
    }

    /// Whether its kernel has this ability.
    pub(super) fn support(&self, what: &str) -> Result<(), HostError> {
        match self.lacks.iter().find(|lacked| lacked.word() == what) {
            Some(_) => {
                Err(HostError::hindered(Hindrance::Unsupported, what, "the rehearsal was told not to"))
            }
            None => Ok(()),
        }
    }

    /// Makes a listener shareable or not. With `None` it only tells whether the listener is.
    pub(super) fn share(&mut self, listener: &Listener, shared: Option<bool>) -> Result<bool, HostError> {
        let pid = listener.process.pid;
        let gone = |hindrance, cause| {
            HostError::hindered(hindrance, format!("share the socket of process {pid}"), cause)
        };
        if !self.procs.contains_key(&pid) {
            return Err(gone(Hindrance::ProcessGone, "the process has ended"));
        }
        let Some(socket) = self.sockets.get_mut(pid, listener.inode) else {
            return Err(gone(Hindrance::SocketGone, "the process has closed the socket"));
        };
        socket.shareable = shared.unwrap_or(socket.shareable);
        Ok(socket.shareable)
    }

    pub(super) fn pod_processes(&self, uid: &str) -> Vec<Process> {
        self.procs.values().filter(|p| p.owner.pod_uid == uid).map(Proc::seen).collect()
    }

    pub(super) fn memory_available(&self) -> u64 {
        self.memory.saturating_sub(self.procs.values().map(|p| p.program.memory()).sum())
    }
}

fn is_working_etcd(proc: &Proc) -> bool {
    proc.program.name == "etcd" && proc.life == Life::Working
}
