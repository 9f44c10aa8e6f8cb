//! A live listener of another process becomes shareable, or the error says why not.

use super::harness::{Wanted, connect, has_mptcp, in_namespace};
use crate::harness::skipped;
use crate::host::{Hindrance, Host, Listener};
use std::os::unix::process::CommandExt;
use std::process::Command;

const LISTENER: &str = "FULCRUM_TEST_LISTENER";

#[test]
fn a_live_listener_of_another_process_is_shared() {
    in_namespace(concat!(module_path!(), "::a_live_listener_of_another_process_is_shared"), async |host| {
        for at in ["0.0.0.0:7000", "[::]:7000", "127.0.0.1:7000", "[::1]:7000"] {
            for mptcp in [false, true] {
                if mptcp && !has_mptcp() {
                    continue;
                }
                let first = Wanted::at(at).mptcp(mptcp).unshared().start();
                let second = Wanted::at(at).mptcp(mptcp);
                assert!(second.try_start().is_none(), "{at}: the first does not share");
                let listener = first.listener(&host, 7000).await;
                assert_eq!((listener.address, listener.uid), (at.parse().unwrap(), 0));
                assert!(!host.is_shared(&listener).await.unwrap());
                host.share(&listener).await.unwrap();
                host.unshare(&listener).await.unwrap();
                assert!(second.try_start().is_none(), "{at}: the first does not share any more");
                host.share(&listener).await.unwrap();
                host.share(&listener).await.unwrap();
                assert!(host.is_shared(&listener).await.unwrap());
                assert!(second.unshared().try_start().is_none(), "{at}: both must share");
                drop(second.start());
                host.unshare(&listener).await.unwrap();
                // Only the flag is off: the kernel remembers with the port that it has once been shared.
                assert!(!host.is_shared(&listener).await.unwrap());
                drop(first);
                // This process has not kept the port open.
                let here = if listener.address.is_ipv6() { "[::1]:7000" } else { "127.0.0.1:7000" };
                assert!(connect(here.parse().unwrap(), 0).is_err(), "{at} is open still");
            }
        }
    });
}

#[test]
fn what_stands_in_the_way_is_named() {
    in_namespace(concat!(module_path!(), "::what_stands_in_the_way_is_named"), async |host| {
        let hindrance = async |listener: &Listener| host.share(listener).await.unwrap_err().hindrance;
        let server = Wanted::at("[::]:7000").unshared().start();
        let listener = server.listener(&host, 7000).await;
        host.steering_support(&listener).await.unwrap();
        assert!(!host.is_shared(&listener).await.unwrap(), "asking has changed nothing");
        // The pid belongs to another process now, which has a socket of its own.
        let other = Wanted::at("[::]:7001").start();
        let mixed = Listener { inode: listener.inode, ..other.listener(&host, 7001).await };
        assert_eq!(hindrance(&mixed).await, Hindrance::SocketGone);
        ordinary_user(&listener);
        drop(server);
        assert_eq!(hindrance(&listener).await, Hindrance::ProcessGone);
    });
}

/// Runs [`what_an_ordinary_user_may`] as an ordinary user.
fn ordinary_user(listener: &Listener) {
    let name = concat!(module_path!(), "::what_an_ordinary_user_may").split_once("::").unwrap().1;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored"]).uid(65534).gid(65534);
    match command.env(LISTENER, serde_json::to_string(listener).unwrap()).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => skipped(&format!("an ordinary user cannot run this program: {error}")),
    }
}

#[test]
#[ignore = "not a test: another test runs it as an ordinary user"]
fn what_an_ordinary_user_may() {
    let Ok(listener) = std::env::var(LISTENER) else { return };
    let listener: Listener = serde_json::from_str(&listener).unwrap();
    let proc = std::path::Path::new("/proc");
    let shared = super::super::set_shared(proc, &listener, true).unwrap_err();
    let supported = super::super::support(proc, &listener).unwrap_err();
    assert_eq!(
        [shared.hindrance, supported.hindrance],
        [Hindrance::NotPermitted; 2],
        "{shared}; {supported}"
    );
}
