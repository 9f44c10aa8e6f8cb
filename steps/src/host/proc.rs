//! The real machine, as `/proc` shows it.

use super::ask::Asker;
use super::edge::{Answer, Host, HostError, KubeadmPhase, Listener, Presented, Process, Question, Read};
use super::edge::{Redirect, RedirectState, Steering, Strain};
use super::handshake::shake;
use super::procfs::{Socket, boot_second, canonical, memory_available, pod_uid, socket_inode};
use super::procfs::{sockets, start_ticks};
use super::strain::{strain, sync_time};
use super::{kernel, kubeadm, nft};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustls::ClientConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// This machine. Root sees all of it. Other users see less of the processes of others.
#[derive(Debug, Clone)]
pub struct Proc {
    root: PathBuf,
    asker: Asker,
}

impl Proc {
    /// The machine that this process runs on.
    ///
    /// Servers are asked with `tls`: it has an admin's certificate where anonymous requests are not answered.
    /// It need not verify the server, see [`Question::tls`].
    pub fn new(tls: Arc<ClientConfig>) -> Self {
        Self { root: PathBuf::from("/proc"), asker: Asker::new(tls) }
    }

    fn sockets(&self) -> Result<Vec<Socket>, HostError> {
        let mut found = Vec::new();
        for table in ["net/tcp", "net/tcp6"] {
            match fs::read_to_string(self.root.join(table)) {
                Ok(text) => found.extend(sockets(&text)),
                // A kernel without IPv6 has no tcp6.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && table == "net/tcp6" => {}
                Err(error) => return Err(HostError::new(format!("read /proc/{table}"), error)),
            }
        }
        Ok(found)
    }

    /// Every process's directory. A process that ends meanwhile is not an error anywhere here.
    fn pids(&self) -> Result<Vec<(u32, PathBuf)>, HostError> {
        let entries = fs::read_dir(&self.root).map_err(|error| HostError::new("list /proc", error))?;
        let pid = |entry: fs::DirEntry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()));
        Ok(entries.flatten().filter_map(pid).collect())
    }

    /// Which process holds which of these sockets open. If several hold one (a fork), the first that is
    /// found.
    fn owners(&self, inodes: &[u64]) -> Result<BTreeMap<u64, PathBuf>, HostError> {
        let mut owners = BTreeMap::new();
        for (_, dir) in self.pids()? {
            for (_, inode) in
                descriptors(&dir).into_iter().flatten().filter(|(_, inode)| inodes.contains(inode))
            {
                owners.entry(inode).or_insert_with(|| dir.clone());
            }
        }
        Ok(owners)
    }

    fn who_listens(&self, port: u16) -> Result<Vec<Listener>, HostError> {
        let sockets = self.sockets()?.into_iter();
        let listening: Vec<Socket> =
            sockets.filter(|socket| socket.listening && socket.local.port() == port).collect();
        let inodes: Vec<u64> = listening.iter().map(|socket| socket.inode).collect();
        if inodes.is_empty() {
            return Ok(Vec::new());
        }
        let owners = self.owners(&inodes)?;
        let mut listeners: Vec<(u64, Listener)> = listening
            .iter()
            .filter_map(|socket| {
                let dir = owners.get(&socket.inode)?;
                let started = start_ticks(&fs::read_to_string(dir.join("stat")).ok()?)?;
                let Socket { inode, uid, local: address, .. } = *socket;
                Some((started, Listener { process: process(dir)?, inode, uid, address }))
            })
            .collect();
        // By age of the processes; 10 ms make a difference. The kernel gives out inodes in order on each CPU
        // only. So they say little between processes, but are all there is between the sockets of one
        // process.
        listeners.sort_by_key(|(started, listener)| (*started, listener.inode));
        Ok(listeners.into_iter().map(|(_, listener)| listener).collect())
    }

    fn who_is_connected(&self, port: u16) -> Result<Vec<Process>, HostError> {
        let mut sockets = self.sockets()?;
        sockets.retain(|s| !s.listening && s.remote.port() == port && s.remote.ip().is_loopback());
        let inodes: Vec<u64> = sockets.iter().map(|socket| socket.inode).collect();
        let clients: BTreeSet<PathBuf> = self.owners(&inodes)?.into_values().collect();
        let servers: Vec<u32> = self.who_listens(port)?.iter().map(|listener| listener.process.pid).collect();
        let clients = clients.iter().filter_map(|dir| process(dir));
        Ok(clients.filter(|client| !servers.contains(&client.pid)).collect())
    }

    /// The connections that process `pid` has taken at `port`, without its own and ours.
    fn taken_from_others(&self, pid: u32, port: u16) -> Result<BTreeSet<u64>, HostError> {
        let sockets = self.sockets()?;
        let of = |dir: &str| descriptors(&self.root.join(dir)).into_iter().flatten().map(|(_, inode)| inode);
        let servers: BTreeSet<u64> = of(&pid.to_string()).collect();
        let spared: BTreeSet<u64> = servers.iter().copied().chain(of("self")).collect();
        let spared: BTreeSet<SocketAddr> = sockets
            .iter()
            .filter(|socket| spared.contains(&socket.inode))
            .map(|socket| canonical(socket.local))
            .collect();
        let taken = sockets.iter().filter(|socket| {
            !socket.listening && socket.local.port() == port && servers.contains(&socket.inode)
        });
        Ok(taken.filter(|socket| !spared.contains(&socket.remote)).map(|socket| socket.inode).collect())
    }

    fn start_of(&self, pid: u32) -> Result<Timestamp, HostError> {
        let failed = |cause: String| HostError::new(format!("ask when process {pid} was started"), cause);
        let read = |path: &str| {
            fs::read_to_string(self.root.join(path)).map_err(|error| failed(format!("read {path}: {error}")))
        };
        let stat = read(&format!("{pid}/stat"))?;
        let ticks = start_ticks(&stat).and_then(|ticks| i64::try_from(ticks).ok());
        let (Some(boot), Some(ticks)) = (boot_second(&read("stat")?), ticks) else {
            return Err(failed("the kernel says it otherwise than is known".to_owned()));
        };
        let second = i64::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
        let after = SignedDuration::from_millis(ticks.saturating_mul(1000) / second.max(1));
        Timestamp::from_second(boot).map(|boot| boot + after).map_err(|error| failed(error.to_string()))
    }

    /// The process that accepted the connection from `client` to `server`.
    fn answered(&self, client: SocketAddr, server: SocketAddr) -> Result<Option<Process>, HostError> {
        let sockets = self.sockets()?;
        let accepted = sockets.iter().filter(|socket| !socket.listening && socket.remote == client);
        // A redirected connection has arrived at another port.
        let other_end = accepted.max_by_key(|socket| socket.local.port() == server.port());
        let Some(inode) = other_end.map(|socket| socket.inode) else { return Ok(None) };
        Ok(self.owners(&[inode])?.into_values().next().and_then(|dir| process(&dir)))
    }
}

/// Runs the look through `/proc` on a thread of its own. The look takes milliseconds on a busy machine, and
/// can hang with a process that hangs in the kernel.
async fn apart<T: Send + 'static>(
    host: &Proc,
    look: impl FnOnce(&Proc) -> Result<T, HostError> + Send + 'static,
) -> Result<T, HostError> {
    let host = host.clone();
    let looked = tokio::task::spawn_blocking(move || look(&host)).await;
    looked.unwrap_or_else(|error| Err(HostError::new("look through /proc", error)))
}

#[async_trait]
impl Host for Proc {
    async fn boot_id(&self) -> Result<String, HostError> {
        let path = self.root.join("sys/kernel/random/boot_id");
        let id = fs::read_to_string(path).map_err(|error| HostError::new("read the boot id", error))?;
        Ok(id.trim().to_owned())
    }

    async fn listeners(&self, port: u16) -> Result<Vec<Listener>, HostError> {
        apart(self, move |host| host.who_listens(port)).await
    }

    async fn listening(&self, ports: &[u16]) -> Result<Vec<(u16, u64)>, HostError> {
        let mut found =
            kernel::listening().map_err(|errno| HostError::of("list the sockets that listen", errno))?;
        found.retain(|(port, _)| ports.contains(port));
        found.sort_unstable();
        Ok(found)
    }

    async fn local_clients(&self, port: u16) -> Result<Vec<Process>, HostError> {
        apart(self, move |host| host.who_is_connected(port)).await
    }

    async fn pod_processes(&self, pod_uid: &str) -> Result<Vec<Process>, HostError> {
        let uid = pod_uid.to_owned();
        apart(self, move |host| {
            let all = host.pids()?.into_iter();
            // The cgroup first: the command of a hanging process may never be told.
            let of_pod = all.filter(|(_, dir)| pod_of(dir).as_deref() == Some(&uid));
            Ok(of_pod.filter_map(|(_, dir)| process(&dir)).collect())
        })
        .await
    }

    async fn ask(&self, question: &Question) -> Result<Answer, HostError> {
        let asked = self.asker.ask(question).await?;
        let (client, server) = (asked.client, question.address);
        let process = apart(self, move |host| host.answered(client, server)).await?;
        Ok(Answer { status: asked.status, process })
    }

    async fn read(&self, question: &Question) -> Result<Read, HostError> {
        let asked = self.asker.ask(question).await?;
        let (client, server) = (asked.client, question.address);
        let process = apart(self, move |host| host.answered(client, server)).await?;
        let body = String::from_utf8_lossy(&asked.body).into_owned();
        Ok(Read { answer: Answer { status: asked.status, process }, body })
    }

    async fn presented(&self, at: SocketAddr, name: Option<&str>) -> Result<Presented, HostError> {
        let shaken = shake(at, name).await?;
        let client = shaken.client;
        let process = apart(self, move |host| host.answered(client, at)).await?;
        Ok(Presented { chain: shaken.chain.clone(), process })
    }

    async fn started(&self, process: &Process) -> Result<Timestamp, HostError> {
        let pid = process.pid;
        apart(self, move |host| host.start_of(pid)).await
    }

    async fn end(&self, meant: &Process) -> Result<(), HostError> {
        let attempt = || format!("end process {}", meant.pid);
        let Some(pid) = i32::try_from(meant.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
        // The descriptor names the process, even if the pid gets another owner. The look after it says that
        // the process is still the right one.
        let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => descriptor,
            Err(Errno::SRCH) => return Ok(()),
            Err(error) => return Err(HostError::new(attempt(), error)),
        };
        let found = process(&self.root.join(meant.pid.to_string()));
        let same = |found: &Process| found.command == meant.command && found.pod_uid == meant.pod_uid;
        if !found.as_ref().is_some_and(same) {
            return Ok(());
        }
        match pidfd_send_signal(&descriptor, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(HostError::new(attempt(), error)),
        }
    }

    async fn kubeadm_version(&self) -> Result<String, HostError> {
        kubeadm::version().await
    }

    async fn renew_certificate(&self, name: &str, root: &Path) -> Result<(), HostError> {
        kubeadm::renew(name, root).await
    }

    async fn kubeadm_phase(&self, call: &KubeadmPhase<'_>) -> Result<(), HostError> {
        kubeadm::phase(call).await
    }

    async fn memory_available(&self) -> Result<u64, HostError> {
        let text = fs::read_to_string(self.root.join("meminfo"))
            .map_err(|error| HostError::new("read /proc/meminfo", error))?;
        memory_available(&text).ok_or_else(|| HostError::new("read /proc/meminfo", "no MemAvailable in it"))
    }

    async fn strain(&self) -> Result<Strain, HostError> {
        apart(self, |host| strain(&host.root)).await
    }

    async fn sync_time(&self, dir: &Path) -> Result<Duration, HostError> {
        let dir = dir.to_owned();
        apart(self, move |_| sync_time(&dir)).await
    }

    async fn is_shared(&self, listener: &Listener) -> Result<bool, HostError> {
        let listener = listener.clone();
        apart(self, move |host| kernel::is_shared(&host.root, &listener)).await
    }

    async fn share(&self, listener: &Listener) -> Result<(), HostError> {
        let listener = listener.clone();
        apart(self, move |host| kernel::set_shared(&host.root, &listener, true)).await
    }

    async fn unshare(&self, listener: &Listener) -> Result<(), HostError> {
        let listener = listener.clone();
        apart(self, move |host| kernel::set_shared(&host.root, &listener, false)).await
    }

    async fn steer(&self, group: &[Listener], steering: Steering) -> Result<(), HostError> {
        let group = group.to_vec();
        apart(self, move |host| kernel::steer(&host.root, &group, steering)).await
    }

    async fn steering(&self, group: &[Listener]) -> Result<Option<Steering>, HostError> {
        let group = group.to_vec();
        apart(self, move |host| kernel::steering(&host.root, &group)).await
    }

    async fn unsteer(&self, group: &[Listener]) -> Result<(), HostError> {
        let group = group.to_vec();
        apart(self, move |host| kernel::unsteer(&host.root, &group)).await
    }

    async fn steering_support(&self, listener: &Listener) -> Result<(), HostError> {
        let listener = listener.clone();
        apart(self, move |host| kernel::support(&host.root, &listener)).await
    }

    async fn hold_back(&self, process: &Process, port: u16, most: Duration) -> Result<usize, HostError> {
        let pid = process.pid;
        apart(self, move |host| {
            let connections = host.taken_from_others(pid, port)?;
            let held = kernel::hold_back(&host.root, pid, &connections, most);
            match kernel::release_ports(port) {
                Ok(known) => tracing::debug!("connection tracking was told of {known} connections to port {port}"),
                Err(errno) => tracing::warn!(
                    "connection tracking cannot be told that connections to port {port} are closed: one of some thousand new ones may be refused ({errno})"
                ),
            }
            held
        })
        .await
    }

    async fn last_sent(&self, process: &Process, port: u16) -> Result<Option<Duration>, HostError> {
        let pid = process.pid;
        apart(self, move |host| {
            let open = descriptors(&host.root.join(pid.to_string())).into_iter().flatten();
            let inodes = open.map(|(_, inode)| inode).collect();
            let attempt = || format!("ask when process {pid} sent something last");
            kernel::last_sent(&inodes, port).map_err(|errno| HostError::of(attempt(), errno))
        })
        .await
    }

    async fn redirect(&self, redirect: &Redirect) -> Result<(), HostError> {
        nft::redirect(redirect).await
    }

    async fn end_redirect(&self) -> Result<(), HostError> {
        nft::end().await
    }

    async fn forget_redirect(&self) -> Result<(), HostError> {
        nft::forget().await
    }

    async fn redirect_state(&self) -> Result<RedirectState, HostError> {
        nft::state().await
    }

    async fn redirect_support(&self) -> Result<(), HostError> {
        nft::support().await
    }
}

/// The descriptors of the process of this directory that are sockets, with their inodes. Leaves out a
/// descriptor that is closed meanwhile.
pub(super) fn descriptors(dir: &Path) -> io::Result<Vec<(RawFd, u64)>> {
    let socket = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, socket_inode(&fs::read_link(entry.path()).ok()?)?))
    };
    Ok(fs::read_dir(dir.join("fd"))?.flatten().filter_map(socket).collect())
}

/// The process of this directory. `None` if it has ended, or is a zombie (which has no command any more).
fn process(dir: &Path) -> Option<Process> {
    let pid = dir.file_name()?.to_str()?.parse().ok()?;
    let command = fs::read(dir.join("cmdline")).ok()?;
    let command: Vec<String> = command
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    if command.is_empty() {
        return None;
    }
    let pod_uid = pod_of(dir);
    let statm = fs::read_to_string(dir.join("statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let memory = pages.saturating_mul(rustix::param::page_size() as u64);
    Some(Process { pid, command, pod_uid, memory })
}

fn pod_of(dir: &Path) -> Option<String> {
    fs::read_to_string(dir.join("cgroup")).ok().and_then(|text| pod_uid(&text))
}

#[cfg(test)]
mod tests;
