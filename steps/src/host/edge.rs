//! What a step may ask of the machine's kernel: which processes listen, which run, which answer, and where
//! new connections go.
//!
//! The real machine is [`crate::host::Proc`]; the rehearsal has its own. Every change is idempotent, and the
//! caller holds nothing. A crash between any two calls changes nothing.

use async_trait::async_trait;
use fulcrum_engine::StepError;
use jiff::Timestamp;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// A call of kubeadm that goes through a phase of `init`.
#[derive(Debug, Clone, Copy)]
pub struct KubeadmPhase<'a> {
    /// The program.
    pub program: &'a Path,
    /// The phase and the part of it, with a `/` between them.
    pub phase: &'a str,
    /// The documents that kubeadm reads as its configuration.
    pub config: &'a str,
    /// The way to the API.
    pub kubeconfig: &'a Path,
}

/// The machine as the steps see it.
#[async_trait]
pub trait Host: Send + Sync + Debug {
    /// The kernel's boot id: another value after every boot.
    async fn boot_id(&self) -> Result<String, HostError>;

    /// Every process that has a socket listening on TCP `port`, IPv4 or IPv6, the oldest process first. That
    /// need not be the order in which they began to listen, which the kernel does not tell.
    async fn listeners(&self, port: u16) -> Result<Vec<Listener>, HostError>;

    /// Every process that is connected to TCP `port` at a loopback address (127.0.0.0/8, `::1`) just now.
    /// Leaves out those that listen there, as they ask themselves.
    async fn local_clients(&self, port: u16) -> Result<Vec<Process>, HostError>;

    /// The sockets that listen on these ports, each as port and inode, sorted. Cheaper than
    /// [`Host::listeners`], for a caller that asks all the time.
    async fn listening(&self, ports: &[u16]) -> Result<Vec<(u16, u64)>, HostError> {
        let mut found = Vec::new();
        for port in ports {
            found.extend(self.listeners(*port).await?.iter().map(|listener| (*port, listener.inode)));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Every process that runs in a container of the pod with this uid, sandbox included.
    /// For a static pod the uid is its `kubernetes.io/config.hash`.
    async fn pod_processes(&self, pod_uid: &str) -> Result<Vec<Process>, HostError>;

    /// Sends one `GET` over a connection of its own. Returns the answer *and the process that gave it*.
    ///
    /// The kernel identifies the other end: the owner of the accepted socket. What the server says of itself
    /// does not count, as two servers can answer under one address on a shared port.
    async fn ask(&self, question: &Question) -> Result<Answer, HostError>;

    /// As [`Host::ask`], with the body of the answer: of objects no more than their metadata, where the server can.
    async fn read(&self, question: &Question) -> Result<Read, HostError>;

    /// Shakes hands by TLS, and returns the certificates that the server presents. Nothing is verified and
    /// nothing asked. With a `name` (SNI) the server may present others.
    async fn presented(&self, at: SocketAddr, name: Option<&str>) -> Result<Presented, HostError>;

    /// When this process was started, to about a second.
    async fn started(&self, process: &Process) -> Result<Timestamp, HostError>;

    /// Ends exactly this process (SIGKILL). No error if it is gone, or if its pid now belongs to another
    /// process.
    async fn end(&self, process: &Process) -> Result<(), HostError>;

    /// The version of the kubeadm that is installed.
    ///
    /// # Errors
    /// [`Hindrance::Unsupported`] if there is none.
    async fn kubeadm_version(&self) -> Result<String, HostError>;

    /// Has the installed kubeadm renew the certificate of this name (`kubeadm certs renew`). `root` is
    /// `/etc/kubernetes`. kubeadm writes its files in place, one after the other: a call that is cut short may
    /// leave half a file, or a new key beside an old certificate.
    async fn renew_certificate(&self, name: &str, root: &Path) -> Result<(), HostError>;

    /// Has a kubeadm go through a phase of `init`, which writes to the API.
    ///
    /// # Errors
    /// [`Hindrance::Unsupported`] if the program cannot be started.
    async fn kubeadm_phase(&self, call: &KubeadmPhase<'_>) -> Result<(), HostError>;

    /// Memory that a new process could take without swapping, in bytes.
    async fn memory_available(&self) -> Result<u64, HostError>;

    /// How busy the machine is.
    async fn strain(&self) -> Result<Strain, HostError>;

    /// How long the disk takes to sync a small file in this directory, which leaves nothing there.
    ///
    /// # Errors
    /// [`Hindrance::Unsupported`] where the file system knows no files without a name.
    async fn sync_time(&self, dir: &Path) -> Result<Duration, HostError>;

    /// Whether a second socket may listen beside this one.
    async fn is_shared(&self, listener: &Listener) -> Result<bool, HostError>;

    /// Lets a second socket listen beside this live one (`SO_REUSEPORT`). All sockets that listen must allow
    /// it, and belong to one user.
    ///
    /// # Errors
    /// See [`HostError::hindrance`] for the cause.
    async fn share(&self, listener: &Listener) -> Result<(), HostError>;

    /// The opposite of [`Host::share`]. A socket that already listens beside it goes on. Once one has
    /// listened, the kernel still admits others: it remembers with the port that it was shared, until no
    /// socket listens.
    async fn unshare(&self, listener: &Listener) -> Result<(), HostError>;

    /// Decides which socket of `group` gets new connections from now on. The group is all sockets that listen
    /// on one address and port. Established connections stay where they are.
    ///
    /// Holds until the last socket of the group closes. The rule names *places*. A socket that joins gets the
    /// next place. When a socket leaves, the last one moves to its place. So the caller renews the rule when
    /// listeners have changed.
    ///
    /// # Errors
    /// See [`HostError::hindrance`]. After [`Hindrance::Other`] another socket may get new connections, and
    /// it is not known which. The caller tries again, or takes another way, before it lets any server go.
    async fn steer(&self, group: &[Listener], steering: Steering) -> Result<(), HostError>;

    /// The rule that holds for `group`. `None` if the kernel spreads connections. `None` also if only one
    /// socket listens and the rule cannot be told.
    async fn steering(&self, group: &[Listener]) -> Result<Option<Steering>, HostError>;

    /// The opposite of [`Host::steer`]: the kernel spreads new connections over all that listen.
    async fn unsteer(&self, group: &[Listener]) -> Result<(), HostError>;

    /// Whether [`Host::share`] and [`Host::steer`] can work for this listener. Tries everything that does not
    /// change the listener on the listener itself, and all else on sockets of its own.
    ///
    /// # Errors
    /// What makes it impossible.
    async fn steering_support(&self, listener: &Listener) -> Result<(), HostError>;

    /// Holds back what clients send to this process on connections that it has taken at `port`, for at most
    /// this long from now on. Replaces an earlier call. What the process says arrives, also when it tells
    /// clients to go elsewhere. Its own connections and those of the caller are spared. Returns how many
    /// connections are held.
    ///
    /// Also tells connection tracking that every connection at `port` is being closed, also those that are
    /// closed already. Then the kernel does not take new connections from the clients' same ports for a part
    /// of them, and does not send them where the old ones led.
    ///
    /// # Errors
    /// See [`HostError::hindrance`] for the cause.
    async fn hold_back(&self, process: &Process, port: u16, most: Duration) -> Result<usize, HostError>;

    /// How long ago this process sent something over a connection that it has made, not taken at `port`.
    /// `None` if it has no such connection, or is gone.
    async fn last_sent(&self, process: &Process, port: u16) -> Result<Option<Duration>, HostError>;

    /// Makes new connections arrive at another port. Established connections stay where they are. Connections
    /// to a loopback address (127.0.0.0/8, `::1`), or marked [`MARK_SERVING`] or [`MARK_NEWCOMER`], are never
    /// touched.
    ///
    /// Replaces an earlier redirect, in one transaction.
    async fn redirect(&self, redirect: &Redirect) -> Result<(), HostError>;

    /// New connections arrive where they were sent to. Those that were redirected live on.
    async fn end_redirect(&self) -> Result<(), HostError>;

    /// Removes what [`Host::end_redirect`] has left. *Ends* connections that were redirected: without any
    /// translation in the machine, the kernel does not translate those that live either.
    async fn forget_redirect(&self) -> Result<(), HostError>;

    /// How much of a redirect is in place.
    async fn redirect_state(&self) -> Result<RedirectState, HostError>;

    /// Whether [`Host::redirect`] can work. Has the kernel check a redirect without making it.
    ///
    /// # Errors
    /// What makes it impossible.
    async fn redirect_support(&self) -> Result<(), HostError>;
}

/// A process, as far as the steps care.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its pid in the namespace of the caller.
    pub pid: u32,
    /// Its argument vector.
    pub command: Vec<String>,
    /// The uid of the pod in whose cgroup it runs; dashes as the API writes them. `None` outside of pods.
    pub pod_uid: Option<String>,
    /// Resident memory in bytes.
    pub memory: u64,
}

/// How busy the machine is. Shares are percents of the last 10 s, as the kernel's pressure stall information
/// has them. They are `None` where the kernel has none.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Strain {
    /// For how long some task waited for a processor.
    pub cpu: Option<f64>,
    /// For how long every task that had work waited for memory.
    pub memory: Option<f64>,
    /// For how long every task that had work waited for the disk.
    pub io: Option<f64>,
    /// How many tasks run, or would, on average over the last minute.
    pub load: f64,
    /// How many processors there are.
    pub processors: u32,
}

/// A listening socket and its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The process that listens.
    pub process: Process,
    /// The socket's inode: no two living sockets share one.
    pub inode: u64,
    /// The user that the socket belongs to.
    pub uid: u32,
    /// Where it listens; unspecified (`::` or `0.0.0.0`) is everywhere.
    pub address: SocketAddr,
}

impl Listener {
    /// The listeners of `all` that share its address and its user, itself among them. This is the kernel's
    /// group, in the order of `all`.
    pub(crate) fn group_of(&self, all: &[Listener]) -> Vec<Listener> {
        all.iter().filter(|other| (other.address, other.uid) == (self.address, self.uid)).cloned().collect()
    }
}

/// Which sockets get new connections, by inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Steering {
    /// `serving` gets new connections, except for two kinds that `newcomer` gets: those marked
    /// [`MARK_NEWCOMER`], and those to a loopback address, by which a new API server asks itself while it
    /// starts. Journals of earlier versions show this as `line-up`.
    Prefer {
        /// The socket that serves.
        serving: u64,
        /// The socket that is about to serve. `None` stands for the next one to listen.
        newcomer: Option<u64>,
    },
    /// One socket gets all new connections.
    To {
        /// The socket that serves.
        serving: u64,
    },
}

/// The mark of a connection that is meant for the newcomer. Without a newcomer, the serving socket takes it.
///
/// The marks, 0xF0 to 0xFF, are whole values, not bits. They share no bit with the marks on packets in a
/// Kubernetes node: kube-proxy 0xC000, Cilium 0x0F00, Calico 0xFFFF0000.
pub const MARK_NEWCOMER: u32 = 0xFF;
/// The mark of a connection that is meant for the serving socket, loopback or not.
pub const MARK_SERVING: u32 = 0xFE;

/// A rule that makes new connections arrive elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// Connections to this port of an address of this machine, but a loopback one, …
    pub port: u16,
    /// … arrive at this port of the same address.
    pub to: u16,
    /// So do those to these addresses, at [`Redirect::address`]. For services (the cluster's `kubernetes`):
    /// kube-proxy's rules translate them to `port`, and the kernel translates no connection twice.
    pub services: Vec<SocketAddr>,
    /// An address of this machine at which the listener on `to` can be reached.
    pub address: IpAddr,
}

/// How much of a redirect is in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RedirectState {
    /// Nothing.
    Absent,
    /// New connections are not redirected, old ones live on.
    Ended,
    /// New connections are redirected.
    Active,
}

/// A question and its addressee.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Where to connect to.
    pub address: SocketAddr,
    /// Path of the request, e.g. `/readyz`.
    pub path: String,
    /// TLS unless the manifest's probe says plain HTTP. The server's certificate is not verified:
    /// the kernel says who answered.
    pub tls: bool,
    /// Marks the connection, [`MARK_NEWCOMER`] or [`MARK_SERVING`]. Needs `CAP_NET_ADMIN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<u32>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The process that answered. `None` if the socket was gone before its owner could be found.
    pub process: Option<Process>,
}

/// An answer with its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Status and process.
    pub answer: Answer,
    /// The body.
    pub body: String,
}

/// What a server has presented.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presented {
    /// The certificates (DER), its own first.
    pub chain: Vec<Vec<u8>>,
    /// The process that presented them. `None` if it ended the connection before its owner could be found.
    pub process: Option<Process>,
}

/// The machine did not answer, or did not do as it was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{attempt}: {cause}")]
pub struct HostError {
    /// What was being done, and on what.
    pub attempt: String,
    /// What was seen.
    pub cause: String,
    /// The kind of cause, as far as a caller can act on it.
    pub hindrance: Hindrance,
}

/// Another attempt may succeed: processes and sockets come and go.
impl From<HostError> for StepError {
    fn from(error: HostError) -> Self {
        Self::retry(error)
    }
}

/// Why the machine did not do as it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hindrance {
    /// The process has ended: look again which processes listen.
    ProcessGone,
    /// The process runs and no longer listens on that socket: look again which processes listen.
    SocketGone,
    /// `EPERM`, `EACCES`: a capability is missing (`CAP_SYS_PTRACE`, `CAP_NET_ADMIN`), or a security module
    /// forbids it.
    NotPermitted,
    /// The kernel is too old or built without the feature, or a program is not installed.
    Unsupported,
    /// Another cause; another attempt may succeed.
    Other,
}

impl HostError {
    /// An error that names what was attempted and what was seen.
    pub fn new(attempt: impl Into<String>, cause: impl ToString) -> Self {
        Self::hindered(Hindrance::Other, attempt, cause)
    }

    /// An error whose kind of cause is known.
    pub fn hindered(hindrance: Hindrance, attempt: impl Into<String>, cause: impl ToString) -> Self {
        Self { attempt: attempt.into(), cause: cause.to_string(), hindrance }
    }

    /// The error of a system call.
    pub(super) fn of(attempt: impl Into<String>, errno: Errno) -> Self {
        let hindrance = match errno {
            Errno::SRCH => Hindrance::ProcessGone,
            Errno::PERM | Errno::ACCESS => Hindrance::NotPermitted,
            Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOPROTOOPT => Hindrance::Unsupported,
            _ => Hindrance::Other,
        };
        Self::hindered(hindrance, attempt, errno)
    }
}
