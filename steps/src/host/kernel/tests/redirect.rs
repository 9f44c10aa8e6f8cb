//! What `host/nft.rs` does to real connections: of this machine, and of another one.

use super::harness::{V4, Wanted, ask, connect, connect_from, in_namespace, run, taken_by};
use crate::harness::skipped;
use crate::host::{Host, MARK_NEWCOMER, MARK_SERVING, Proc, Question, Redirect, RedirectState};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const HERE: &str = "10.8.0.1";
const THERE: &str = "10.8.0.2";
const SHORT: Duration = Duration::from_millis(1);

/// Another machine: a network namespace, held by a process, with a cable to this one.
struct Elsewhere {
    holder: Child,
}

impl Elsewhere {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().unwrap();
        // The process echoes what it has read: it runs.
        holder.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        holder.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let elsewhere = Self { holder };
        run(&format!("ip link add here type veth peer name there netns {}", elsewhere.holder.id()));
        run(&format!("ip address add {HERE}/24 dev here"));
        run("ip -6 address add fd08::1/64 dev here nodad");
        run("ip link set here up");
        let at = format!("nsenter --net=/proc/{}/ns/net ip", elsewhere.holder.id());
        run(&format!("{at} address add {THERE}/24 dev there"));
        run(&format!("{at} -6 address add fd08::2/64 dev there nodad"));
        run(&format!("{at} link set there up"));
        run(&format!("{at} route add default via {HERE}"));
        wait_reachable();
        elsewhere.run(wait_reachable);
        elsewhere
    }

    /// Runs `act` on the other machine.
    fn run<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap();
        let there = move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            act()
        };
        std::thread::spawn(there).join().unwrap()
    }

    fn connect(&self, at: String) -> TcpStream {
        self.run(move || connect(at.parse().unwrap(), 0).unwrap())
    }
}

/// The kernel takes up a cable in its own time, and gives no sign of it to a client that connects.
fn wait_reachable() {
    let until = Instant::now() + Duration::from_secs(5);
    for at in [format!("{HERE}:9"), "[fd08::1]:9".to_owned()] {
        while connect(at.parse().unwrap(), 0).unwrap_err().kind() != ErrorKind::ConnectionRefused {
            assert!(Instant::now() < until, "{at} cannot be reached");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.holder.kill().unwrap();
        self.holder.wait().unwrap();
    }
}

fn has_nft() -> bool {
    let found = Command::new("nft").arg("--version").output();
    if let Err(error) = &found {
        skipped(&format!("nft is not installed: {error}"));
    }
    found.is_ok()
}

fn redirect(services: &[&str]) -> Redirect {
    let services = services.iter().map(|at| at.parse().unwrap()).collect();
    Redirect { port: 7000, to: 7001, services, address: HERE.parse().unwrap() }
}

/// Whether this process answers all of them.
fn assert_at(what: &str, connections: &[TcpStream], pid: u32) {
    for (number, connection) in connections.iter().enumerate() {
        let answered = ask(connection).unwrap_or_else(|error| panic!("{what}, connection {number}: {error}"));
        assert_eq!(answered, pid, "{what}, connection {number}");
    }
}

#[test]
fn new_connections_arrive_elsewhere_and_old_ones_live_on() {
    let name = concat!(module_path!(), "::new_connections_arrive_elsewhere_and_old_ones_live_on");
    in_namespace(name, async |host| {
        if !has_nft() {
            return;
        }
        let elsewhere = Elsewhere::new();
        run("nft add table inet other");
        let (old, bridge) = (Wanted::at("[::]:7000").start(), Wanted::at("[::]:7001").start());
        let targets = [format!("{HERE}:7000"), format!("{V4}:7000"), "[fd08::1]:7000".to_owned()];
        let connections = || -> Vec<TcpStream> {
            let local = targets.iter().map(|at| connect(at.parse().unwrap(), 0).unwrap());
            local.chain(targets.iter().map(|at| elsewhere.connect(at.clone()))).collect()
        };
        let before = connections();
        assert_at("at first", &before, old.pid());
        host.redirect_support().await.unwrap();
        assert_eq!(host.redirect_state().await.unwrap(), RedirectState::Absent);
        for _ in 0..2 {
            host.redirect(&redirect(&[])).await.unwrap();
            assert_eq!(host.redirect_state().await.unwrap(), RedirectState::Active);
        }
        assert_at("from before, redirected", &before, old.pid());
        let during = connections();
        assert_at("redirected", &during, bridge.pid());
        let address = format!("{HERE}:7000").parse().unwrap();
        let question = Question { address, path: "/readyz".into(), tls: false, mark: None };
        assert_eq!(host.ask(&question).await.unwrap().process.unwrap().pid, bridge.pid());
        assert_eq!([taken_by("127.0.0.1:7000", 0), taken_by("[::1]:7000", 0)], [old.pid(); 2]);
        for mark in [MARK_SERVING, MARK_NEWCOMER] {
            for at in &targets {
                assert_eq!(taken_by(at.as_str(), mark), old.pid(), "{at}, marked");
            }
        }
        assert_eq!(taken_by(format!("{HERE}:7001"), 0), bridge.pid());
        // A port of the same number on another machine is not ours.
        let theirs = elsewhere.run(|| TcpListener::bind((THERE, 7000)).unwrap());
        drop(connect(format!("{THERE}:7000").parse().unwrap(), 0).unwrap());
        assert!(theirs.accept().is_ok());
        for _ in 0..2 {
            host.end_redirect().await.unwrap();
            assert_eq!(host.redirect_state().await.unwrap(), RedirectState::Ended);
        }
        assert_at("from before, ended", &before, old.pid());
        assert_at("redirected, ended", &during, bridge.pid());
        let after = connections();
        assert_at("ended", &after, old.pid());
        for _ in 0..2 {
            host.forget_redirect().await.unwrap();
            host.end_redirect().await.unwrap();
            assert_eq!(host.redirect_state().await.unwrap(), RedirectState::Absent);
        }
        assert_at("from before, forgotten", &before, old.pid());
        assert_at("ended, forgotten", &after, old.pid());
        assert_eq!(run("nft list tables"), "table inet other\n");
    });
}

/// A server that has taken a connection, with something from the client unread. When the server closes that
/// connection, its client is reset. About half of an API server's clients meet this.
struct Closing {
    listener: TcpListener,
    taken: TcpStream,
    client: TcpStream,
}

impl Closing {
    fn new(
        elsewhere: &Elsewhere,
        port: u16,
        connect: impl FnOnce() -> std::io::Result<TcpStream> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(format!("[::]:{port}")).unwrap();
        let mut client = elsewhere.run(connect).unwrap();
        client.write_all(b"x").unwrap();
        let (taken, _) = listener.accept().unwrap();
        taken.peek(&mut [0]).unwrap();
        Self { listener, taken, client }
    }

    /// Ends as a server ends. The connection is closed before that is known, or with the server.
    async fn end(mut self, host: &Proc, closed_before: bool) {
        let port = self.listener.local_addr().unwrap().port();
        let taken = (!closed_before).then_some(self.taken);
        let process = host.listeners(port).await.unwrap()[0].process.clone();
        host.hold_back(&process, port, SHORT).await.unwrap();
        drop((self.listener, taken));
        assert_eq!(self.client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

/// The two ends of connections that are reset, and whether the reset comes before the server ends.
const RESET: [(&str, &str, bool); 4] = [
    ("10.8.0.1:7000", "10.8.0.2:7777", false),
    ("10.8.0.1:7000", "10.8.0.2:7778", true),
    ("[fd08::1]:7000", "[fd08::2]:7777", false),
    ("[fd08::1]:7000", "[fd08::2]:7778", true),
];

/// The client may take its old port again at once, and the kernel would still know where that port has led.
#[test]
fn a_port_that_was_redirected_and_reset_is_free_at_once() {
    let name = concat!(module_path!(), "::a_port_that_was_redirected_and_reset_is_free_at_once");
    in_namespace(name, async |host| {
        if !has_nft() {
            return;
        }
        let elsewhere = Elsewhere::new();
        let old = Wanted::at("[::]:7000").start();
        for (at, from, closed_before) in RESET {
            let again = move || connect_from(from.parse().unwrap(), at.parse().unwrap());
            host.redirect(&redirect(&[])).await.unwrap();
            let bridge = Closing::new(&elsewhere, 7001, again);
            host.end_redirect().await.unwrap();
            bridge.end(&host, closed_before).await;
            let connection = elsewhere.run(again).unwrap_or_else(|error| panic!("{at}: {error}"));
            assert_at("the same port again", &[connection], old.pid());
            host.forget_redirect().await.unwrap();
        }
    });
}

/// The other way round: the port has led to the server that goes. It would still lead there, where no process
/// listens any more.
#[test]
fn a_port_from_before_that_was_reset_is_redirected_at_once() {
    let name = concat!(module_path!(), "::a_port_from_before_that_was_reset_is_redirected_at_once");
    in_namespace(name, async |host| {
        if !has_nft() {
            return;
        }
        let elsewhere = Elsewhere::new();
        // As on a node: kube-proxy has the kernel track connections.
        run("nft add table inet other");
        run("nft add chain inet other input { type filter hook input priority 0; }");
        run("nft add rule inet other input ct state invalid drop");
        // Some pod networks do this.
        for hook in ["prerouting", "output"] {
            run(&format!("nft add chain inet other {hook} {{ type filter hook {hook} priority -300; }}"));
            run(&format!("nft add rule inet other {hook} ct zone set 7"));
        }
        let bridge = Wanted::at("[::]:7001").start();
        for (at, from, closed_before) in RESET {
            let again = move || connect_from(from.parse().unwrap(), at.parse().unwrap());
            let old = Closing::new(&elsewhere, 7000, again);
            host.redirect(&redirect(&[])).await.unwrap();
            old.end(&host, closed_before).await;
            let connection = elsewhere.run(again).unwrap_or_else(|error| panic!("{at}: {error}"));
            assert_at("the same port again", &[connection], bridge.pid());
            host.end_redirect().await.unwrap();
        }
    });
}

/// kube-proxy translates the address of a service. The kernel does not translate a translated connection
/// again.
#[test]
fn a_services_connections_are_redirected_only_if_it_is_named() {
    let name = concat!(module_path!(), "::a_services_connections_are_redirected_only_if_it_is_named");
    in_namespace(name, async |host| {
        if !has_nft() {
            return;
        }
        let elsewhere = Elsewhere::new();
        run("ip route add 10.96.0.0/16 dev here");
        run("nft add table ip kube-proxy");
        for hook in ["prerouting", "output"] {
            run(&format!("nft add chain ip kube-proxy {hook} {{ type nat hook {hook} priority -100; }}"));
            let rule = format!("ip daddr 10.96.0.1 tcp dport 443 dnat to {HERE}:7000");
            run(&format!("nft add rule ip kube-proxy {hook} {rule}"));
        }
        let (old, bridge) = (Wanted::at("[::]:7000").start(), Wanted::at("[::]:7001").start());
        let service = || {
            let at = "10.96.0.1:443";
            let local = ask(&connect(at.parse().unwrap(), 0).unwrap()).unwrap();
            [local, ask(&elsewhere.connect(at.to_owned())).unwrap()]
        };
        assert_eq!(service(), [old.pid(); 2]);
        host.redirect(&redirect(&[])).await.unwrap();
        assert_eq!(service(), [old.pid(); 2], "translated before it could be redirected");
        host.redirect(&redirect(&["10.96.0.1:443"])).await.unwrap();
        assert_eq!(service(), [bridge.pid(); 2]);
        host.end_redirect().await.unwrap();
        assert_eq!(service(), [old.pid(); 2]);
    });
}
