//! Which listener gets a new connection.

use super::super::group::through_member;
use super::super::shape::Shape;
use super::super::{program, sys};
use super::harness::{Server, V4, V6, Wanted, ask, connect, has_mptcp, in_namespace, taken_by};
use crate::host::{Host, MARK_NEWCOMER, MARK_SERVING, Proc, Question, Steering};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

async fn steer(host: &Proc, steering: Steering) {
    host.steer(&host.listeners(7000).await.unwrap(), steering).await.unwrap();
}

async fn steering(host: &Proc) -> Option<Steering> {
    host.steering(&host.listeners(7000).await.unwrap()).await.unwrap()
}

async fn inode(host: &Proc, server: &Server) -> u64 {
    server.listener(host, 7000).await.inode
}

/// From the lone listener to the switch and back, as a pivot does it. `loopback` and `own` are the addresses
/// of this machine that reach the listener.
async fn hand_over(host: &Proc, wanted: Wanted<'_>, loopback: &[&str], own: &[&str]) {
    let first = wanted.unshared().start();
    let listener = first.listener(host, 7000).await;
    host.share(&listener).await.unwrap();
    let old = listener.inode;
    steer(host, Steering::Prefer { serving: old, newcomer: None }).await;
    assert!(own.iter().all(|at| taken_by(format!("{at}:7000"), 0) == first.pid()), "{wanted:?}");
    let second = wanted.start();
    let new = inode(host, &second).await;
    let group = host.listeners(7000).await.unwrap();
    let steering = async || host.steering(&group).await.unwrap();
    let prefer = Steering::Prefer { serving: old, newcomer: Some(new) };
    for renewed in [false, true] {
        for at in loopback.iter().chain(own) {
            let who = |mark| taken_by(format!("{at}:7000"), mark);
            assert_eq!(who(MARK_NEWCOMER), second.pid(), "{wanted:?}, to {at}");
            assert_eq!(who(MARK_SERVING), first.pid(), "{wanted:?}, to {at}");
            let expected = if loopback.contains(at) { second.pid() } else { first.pid() };
            assert_eq!(who(0), expected, "{wanted:?}, to {at}, renewed: {renewed}");
        }
        assert_eq!(steering().await, Some(prefer), "{wanted:?}");
        host.steer(&group, prefer).await.unwrap();
    }
    for (serving, who) in [(new, &second), (old, &first), (new, &second)] {
        host.steer(&group, Steering::To { serving }).await.unwrap();
        for at in loopback.iter().chain(own) {
            assert_eq!(taken_by(format!("{at}:7000"), 0), who.pid(), "{wanted:?}, switched, to {at}");
        }
        assert_eq!(steering().await, Some(Steering::To { serving }));
    }
    drop(first);
    assert!(own.iter().all(|at| taken_by(format!("{at}:7000"), 0) == second.pid()), "{wanted:?}");
}

#[test]
fn a_port_changes_hands_and_back() {
    in_namespace(concat!(module_path!(), "::a_port_changes_hands_and_back"), async |host| {
        let v6 = format!("[{V6}]");
        let bound = [format!("{V4}:7000"), format!("{v6}:7000")];
        for mptcp in [false, true] {
            if mptcp && !has_mptcp() {
                continue;
            }
            let at = |at| Wanted::at(at).mptcp(mptcp);
            hand_over(&host, at("0.0.0.0:7000"), &["127.0.0.1"], &[V4]).await;
            hand_over(&host, at("[::]:7000"), &["127.0.0.1", "127.9.9.9", "[::1]"], &[V4, &v6]).await;
            let v6only = Wanted { v6only: true, ..at("[::]:7000") };
            hand_over(&host, v6only, &["[::1]"], &[&v6]).await;
            hand_over(&host, at(&bound[0]), &[], &[V4]).await;
            hand_over(&host, at(&bound[1]), &[], &[&v6]).await;
        }
        // A group that belongs to another user.
        let other = Wanted { uid: 65534, ..Wanted::at("[::]:7000") };
        hand_over(&host, other, &["127.0.0.1"], &[V4]).await;
    });
}

#[test]
fn places_are_told_after_any_server_has_left() {
    in_namespace(concat!(module_path!(), "::places_are_told_after_any_server_has_left"), async |host| {
        let wanted = Wanted::at("[::]:7000").mptcp(has_mptcp());
        let (node, own) = (format!("{V4}:7000"), "127.0.0.1:7000");
        let [a, b, c] = [wanted.start(), wanted.start(), wanted.start()];
        let [a_is, b_is, c_is] = [inode(&host, &a).await, inode(&host, &b).await, inode(&host, &c).await];
        assert_eq!(steering(&host).await, None, "the kernel's hash");
        steer(&host, Steering::Prefer { serving: a_is, newcomer: Some(c_is) }).await;
        assert_eq!((taken_by(&node, 0), taken_by(own, 0)), (a.pid(), c.pid()));
        drop(a);
        // The last socket has taken the first one's place: the old program favours the wrong one.
        assert_eq!(taken_by(&node, 0), c.pid());
        let prefer = Steering::Prefer { serving: b_is, newcomer: Some(c_is) };
        steer(&host, prefer).await;
        assert_eq!((taken_by(&node, 0), taken_by(own, 0)), (b.pid(), c.pid()));
        // A server that has bound the port and does not accept yet.
        let mut d = Wanted { waits: true, ..wanted }.start();
        let d_is = inode(&host, &d).await;
        let prefer = Steering::Prefer { serving: b_is, newcomer: Some(d_is) };
        steer(&host, prefer).await;
        assert_eq!(steering(&host).await, Some(prefer));
        d.accept();
        assert_eq!([taken_by(&node, 0), taken_by(own, 0)], [b.pid(), d.pid()]);
        drop((c, d));
        let everything = [taken_by(&node, 0), taken_by(own, 0), taken_by(&node, MARK_NEWCOMER)];
        assert_eq!(everything, [b.pid(); 3], "a place without a socket is anybody's");
        host.unsteer(&host.listeners(7000).await.unwrap()).await.unwrap();
        let gone = Steering::To { serving: a_is };
        assert!(host.steer(&host.listeners(7000).await.unwrap(), gone).await.is_err());
        assert!(host.steer(&[], gone).await.is_err());
    });
}

#[test]
fn a_program_lives_as_long_as_its_group() {
    in_namespace(concat!(module_path!(), "::a_program_lives_as_long_as_its_group"), async |host| {
        let wanted = Wanted::at("[::]:7000").mptcp(has_mptcp());
        let (a, b) = (wanted.start(), wanted.start());
        let (a_is, b_is) = (inode(&host, &a).await, inode(&host, &b).await);
        steer(&host, Steering::Prefer { serving: a_is, newcomer: Some(b_is) }).await;
        drop(a);
        let c = wanted.start();
        let (serving, newcomer) = (b_is, Some(inode(&host, &c).await));
        let still = Some(Steering::Prefer { serving, newcomer });
        assert_eq!(steering(&host).await, still, "whoever the members are");
        let group = host.listeners(7000).await.unwrap();
        host.unsteer(&group).await.unwrap();
        host.unsteer(&group).await.unwrap();
        assert_eq!(steering(&host).await, None);
        steer(&host, Steering::To { serving }).await;
        drop((b, c));
        let (_d, _e) = (wanted.start(), wanted.start());
        assert_eq!(steering(&host).await, None, "it has gone with the last of its group");
    });
}

/// While our own socket is in a group without a program, no client is lost. A client that meets it tries
/// again after a second, by itself, and gets to the listener.
#[test]
fn who_strays_to_our_own_socket_is_not_lost() {
    in_namespace(concat!(module_path!(), "::who_strays_to_our_own_socket_is_not_lost"), async |host| {
        let server = Wanted::at("[::]:7000").mptcp(has_mptcp()).start();
        let address = server.listener(&host, 7000).await.address;
        let at = format!("{V4}:7000").parse().unwrap();
        let asked = through_member(Shape { address, v6only: false, uid: 0 }, |member| {
            let begun = Instant::now();
            let ask = move || (ask(&connect(at, 0).unwrap()).unwrap(), begun.elapsed());
            let asked: Vec<_> = (0..32).map(|_| std::thread::spawn(ask)).collect();
            // The clients that have no answer by then have met our socket.
            std::thread::sleep(Duration::from_millis(300));
            sys::attach_to_group(member, &program::all_to(0))?;
            Ok(asked)
        });
        let answers: Vec<(u32, Duration)> =
            asked.unwrap().into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(answers.iter().all(|(pid, _)| *pid == server.pid()));
        let strays = answers.iter().filter(|(_, took)| *took > Duration::from_millis(900)).count();
        assert!((1..32).contains(&strays), "{strays} of 32 met our socket");
        assert!(answers.iter().all(|(_, took)| *took < Duration::from_millis(2500)), "{answers:?}");
    });
}

#[test]
fn who_joins_in_that_moment_gets_the_place_of_the_next() {
    in_namespace(
        concat!(module_path!(), "::who_joins_in_that_moment_gets_the_place_of_the_next"),
        async |host| {
            let wanted = Wanted::at("[::]:7000").mptcp(has_mptcp());
            let first = wanted.start();
            let address = first.listener(&host, 7000).await.address;
            let second = through_member(Shape { address, v6only: false, uid: 0 }, |member| {
                let second = wanted.start();
                sys::attach_to_group(member, &program::prefer(0, 1)).map(|()| second)
            });
            let second = second.unwrap();
            let node = format!("{V4}:7000");
            let got = [taken_by(&node, 0), taken_by(&node, MARK_NEWCOMER), taken_by("127.0.0.1:7000", 0)];
            assert_eq!(got, [first.pid(), second.pid(), second.pid()]);
        },
    );
}

/// Connections without a pause while a program comes, changes and goes. No connection fails, and established
/// ones stay where they are.
#[test]
fn no_connection_is_lost_while_it_is_steered() {
    in_namespace(concat!(module_path!(), "::no_connection_is_lost_while_it_is_steered"), async |host| {
        let wanted = Wanted::at("[::]:7000").mptcp(has_mptcp());
        let first = wanted.unshared().start();
        let (listener, at) = (first.listener(&host, 7000).await, format!("{V4}:7000").parse().unwrap());
        let kept = connect(at, 0).unwrap();
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let hammer = || {
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    ask(&connect(at, 0).unwrap()).unwrap();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let hammers: Vec<_> = (0..4).map(|_| hammer()).collect();
        host.share(&listener).await.unwrap();
        let (serving, alone) = (listener.inode, std::slice::from_ref(&listener));
        for _ in 0..20 {
            host.steer(alone, Steering::Prefer { serving, newcomer: None }).await.unwrap();
            host.unsteer(alone).await.unwrap();
        }
        host.steer(alone, Steering::Prefer { serving, newcomer: None }).await.unwrap();
        let second = wanted.start();
        let group = host.listeners(7000).await.unwrap();
        let new = inode(&host, &second).await;
        while count.load(Ordering::Relaxed) < 500 && !hammers.iter().any(JoinHandle::is_finished) {
            for serving in [new, serving] {
                host.steer(&group, Steering::To { serving }).await.unwrap();
            }
        }
        assert_eq!(ask(&kept).unwrap(), first.pid());
        stop.store(true, Ordering::Relaxed);
        hammers.into_iter().for_each(|hammer| hammer.join().unwrap());
        println!("{} connections, none lost", count.load(Ordering::Relaxed));
    });
}

#[test]
fn a_marked_question_is_the_newcomers() {
    in_namespace(concat!(module_path!(), "::a_marked_question_is_the_newcomers"), async |host| {
        let wanted = Wanted::at("[::]:7000").mptcp(has_mptcp());
        let (old, new) = (wanted.start(), wanted.start());
        let (serving, newcomer) = (inode(&host, &old).await, Some(inode(&host, &new).await));
        steer(&host, Steering::Prefer { serving, newcomer }).await;
        let address = format!("{V4}:7000").parse().unwrap();
        for (mark, expected) in [(None, &old), (Some(MARK_NEWCOMER), &new), (Some(MARK_SERVING), &old)] {
            let question = Question { address, path: "/readyz".into(), tls: false, mark };
            let answer = host.ask(&question).await.unwrap();
            assert_eq!((answer.status, answer.process.unwrap().pid), (200, expected.pid()), "{mark:?}");
        }
    });
}
