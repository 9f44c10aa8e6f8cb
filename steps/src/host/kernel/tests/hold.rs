//! Holds back what clients send on connections that they have: as long as was asked, and no longer.

use super::harness::{Wanted, ask, connect, has_mptcp, in_namespace};
use crate::host::{Host, Proc};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything takes here on a busy machine. So the test sees what ends the hold.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn what_others_send_is_held_back_for_a_while() {
    in_namespace(concat!(module_path!(), "::what_others_send_is_held_back_for_a_while"), async |host| {
        for (at, mptcp) in [("10.9.9.1:7000", false), ("[fd09::1]:7000", false), ("10.9.9.1:7000", true)] {
            if mptcp && !has_mptcp() {
                continue;
            }
            let bound = if at.starts_with('[') { at } else { "[::]:7000" };
            let server = Wanted::at(bound).mptcp(mptcp).start();
            is_held_back(&host, server.pid(), at.parse().unwrap()).await;
        }
    });
}

async fn is_held_back(host: &Proc, pid: u32, at: SocketAddr) {
    let process = host.listeners(7000).await.unwrap().remove(0).process;
    assert_eq!(process.pid, pid);
    let mut other = Client::connect(at);
    let ours = connect(at, 0).unwrap();
    assert_eq!([other.ask(), ask(&ours).unwrap()], [pid; 2]);

    assert_eq!(host.hold_back(&process, 7000, LONG).await.unwrap(), 1, "the other's");
    other.send();
    assert_eq!(ask(&ours).unwrap(), pid, "the caller's own connections are spared");
    let (new, began) = (Client::connect(at).ask(), Instant::now());
    assert_eq!(new, pid, "new connections are not held");
    // Held anew, for a short time. The kernel sends once more what was sent meanwhile.
    host.hold_back(&process, 7000, SHORT).await.unwrap();
    assert_eq!(other.answer(), pid);
    assert!(began.elapsed() >= SHORT, "{:?}", began.elapsed());
    assert_eq!(other.ask(), pid);
    assert_eq!(host.hold_back(&process, 7001, LONG).await.unwrap(), 0, "another port's");
    assert_eq!(other.ask(), pid);
}

/// Another process with a connection.
struct Client {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Client {
    fn connect(at: SocketAddr) -> Self {
        // It sends a request for each line that it gets, in one piece, and prints the body of the answer: 8
        // characters.
        let script = format!(
            r#"exec 3<>/dev/tcp/{}/{}; while read -r; do printf GET >&3; head -c 46 <&3 | tail -c 8; echo; done"#,
            at.ip(),
            at.port()
        );
        let mut command = Command::new("bash");
        let mut child =
            command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    fn send(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// The pid of the process that has answered.
    fn answer(&mut self) -> u32 {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }

    fn ask(&mut self) -> u32 {
        self.send();
        self.answer()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
