//! Namespaces, listeners that are processes, and connections.

use crate::harness::skipped;
use crate::host::ask::no_tls;
use crate::host::kernel::set_mark;
use crate::host::{Host, Listener, Proc};
use rustix::net::{
    AddressFamily, Protocol, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Addresses of this machine in every namespace, beside the loopback ones.
pub(super) const V4: &str = "10.9.9.1";
pub(super) const V6: &str = "fd09::1";
/// Nothing in a namespace of one's own takes longer: no connection, no answer.
const PATIENCE: Duration = Duration::from_secs(5);
const INSIDE: &str = "FULCRUM_TEST_NAMESPACE";
const LISTEN: &str = "FULCRUM_TEST_LISTEN";

/// Runs `body` in a new network namespace. Runs `test`, named by its full path, once more as a process.
pub(super) fn in_namespace<F: Future<Output = ()>>(test: &str, body: impl FnOnce(Proc) -> F) {
    let test = test.split_once("::").unwrap().1;
    if std::env::var(INSIDE).as_deref() == Ok(test) {
        run("ip link set lo up");
        run(&format!("ip address add {V4}/24 dev lo"));
        run(&format!("ip -6 address add {V6}/64 dev lo nodad"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(body(Proc::new(no_tls())));
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return skipped("only root can make a network namespace");
    }
    let mut command = Command::new("unshare");
    command.arg("--net").arg(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(INSIDE, test);
    match command.output() {
        Ok(output) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (said, wrong) = (text(&output.stdout), text(&output.stderr));
            assert!(output.status.success(), "{said}{wrong}");
            assert!(said.contains("1 passed"), "it is not named {test}: {said}");
            println!("{said}");
        }
        Err(error) => skipped(&format!("there is no unshare: {error}")),
    }
}

/// A process that listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) at: &'a str,
    pub(super) mptcp: bool,
    pub(super) v6only: bool,
    pub(super) shared: bool,
    pub(super) uid: u32,
    /// It does not accept until [`Server::accept`] is called.
    pub(super) waits: bool,
}

impl<'a> Wanted<'a> {
    pub(super) fn at(at: &'a str) -> Self {
        Self { at, mptcp: false, v6only: false, shared: true, uid: 0, waits: false }
    }

    pub(super) fn mptcp(self, mptcp: bool) -> Self {
        Self { mptcp, ..self }
    }

    pub(super) fn unshared(self) -> Self {
        Self { shared: false, ..self }
    }

    pub(super) fn start(self) -> Server {
        self.try_start().unwrap_or_else(|| panic!("{self:?} cannot listen"))
    }

    /// `None` if it could not listen.
    pub(super) fn try_start(self) -> Option<Server> {
        let Self { at, mptcp, v6only, shared, uid, waits } = self;
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = concat!(module_path!(), "::listening_process").split_once("::").unwrap().1;
        command.args(["--exact", name, "--ignored", "--nocapture"]).uid(uid);
        command.env(LISTEN, format!("{at} {mptcp} {v6only} {shared} {waits}"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines.map(Result::unwrap).find(|line| line.starts_with("listen: ")).unwrap();
        let server = Server { child };
        (said == "listen: ok").then_some(server)
    }
}

/// A process that listens. It ends when this is dropped.
pub(super) struct Server {
    child: Child,
}

impl Server {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn accept(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"accept\n").unwrap();
    }

    pub(super) async fn listener(&self, host: &Proc, port: u16) -> Listener {
        let all = host.listeners(port).await.unwrap();
        all.into_iter().find(|listener| listener.process.pid == self.pid()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What a [`Server`] runs. It answers every request, of any kind, with its pid.
#[test]
#[ignore = "not a test: other tests run it as a process"]
fn listening_process() {
    let Ok(wanted) = std::env::var(LISTEN) else { return };
    let words: Vec<&str> = wanted.split(' ').collect();
    let is = |word: usize| words[word] == "true";
    let listener = match listening(words[0].parse().unwrap(), is(1), is(2), is(3)) {
        Ok(listener) => listener,
        Err(error) => return println!("\nlisten: {error}"),
    };
    println!("\nlisten: ok");
    let mut line = String::new();
    if is(4) {
        std::io::stdin().read_line(&mut line).unwrap();
    }
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || serve(stream));
        }
    });
    // Runs until the process that started it has gone.
    while std::io::stdin().read_line(&mut line).is_ok_and(|read| read > 0) {}
}

fn serve(mut stream: TcpStream) {
    let mut request = [0; 1024];
    while stream.read(&mut request).is_ok_and(|read| read > 0) {
        let pid = format!("{:>8}", std::process::id());
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{pid}");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn listening(at: SocketAddr, mptcp: bool, v6only: bool, shared: bool) -> std::io::Result<TcpListener> {
    let socket = socket(at, if mptcp { ipproto::MPTCP } else { ipproto::TCP })?;
    sockopt::set_socket_reuseaddr(&socket, true)?; // Go does this too.
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, v6only)?;
    }
    if shared {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    bind(&socket, &at)?;
    listen(&socket, 4096)?;
    Ok(TcpListener::from(socket))
}

fn socket(at: SocketAddr, protocol: Protocol) -> rustix::io::Result<OwnedFd> {
    let family = if at.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(protocol))
}

/// Whether the kernel has MPTCP, which Go's listeners use.
pub(super) fn has_mptcp() -> bool {
    let made = socket(SocketAddr::from(([0, 0, 0, 0], 0)), ipproto::MPTCP);
    if let Err(errno) = &made {
        println!("MPTCP: skipped: this kernel has it not: {errno}");
    }
    made.is_ok()
}

/// A connection that bears a mark from its first packet on.
pub(super) fn connect(at: SocketAddr, mark: u32) -> std::io::Result<TcpStream> {
    let socket = socket(at, ipproto::TCP)?;
    if mark != 0 {
        set_mark(&socket, mark)?;
    }
    let stream = TcpStream::from(socket);
    // For a connect, the write timeout counts.
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    rustix::net::connect(&stream, &at)?;
    Ok(stream)
}

/// A connection from that very port.
pub(super) fn connect_from(from: SocketAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket(to, ipproto::TCP)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &from)?;
    let stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    rustix::net::connect(&stream, &to)?;
    Ok(stream)
}

/// The pid of the process that has this connection.
pub(super) fn ask(mut stream: &TcpStream) -> std::io::Result<u32> {
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    let mut answer = [0; 46];
    stream.read_exact(&mut answer)?;
    let pid = std::str::from_utf8(&answer[38..]).map_err(std::io::Error::other)?;
    pid.trim().parse().map_err(std::io::Error::other)
}

/// The one process that gets several new connections there. 0 if they do not agree.
pub(super) fn taken_by(at: impl AsRef<str>, mark: u32) -> u32 {
    let at: SocketAddr = at.as_ref().parse().unwrap();
    let pids: Vec<u32> = (0..8).map(|_| ask(&connect(at, mark).unwrap()).unwrap()).collect();
    if pids.iter().all(|pid| *pid == pids[0]) { pids[0] } else { 0 }
}

pub(super) fn run(command: &str) -> String {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
