//! Finds the socket at each place of a group: connects with a mark and looks which socket is the other end.
//!
//! Nothing is sent. A server sees a connection that is closed before it began.

use super::diag::connection;
use super::program::PLACES;
use super::shape::Shape;
use super::sys::set_mark;
use crate::host::edge::{HostError, Listener, MARK_NEWCOMER, MARK_SERVING};
use crate::host::procfs::socket_inode;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, connect, getsockname, ipproto, socket_with, sockopt,
};
use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// A connection over loopback is there at once, unless its listener has no room for more.
const CONNECTED_WITHIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
/// A server that runs accepts within a millisecond. A server that has bound its port and does not serve yet
/// (an API server does that for some seconds) does not accept. Its place follows from the others.
const ACCEPTED_WITHIN: Duration = Duration::from_millis(100);
/// No event tells that another process accepts.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Without a program, the kernel's hash may by chance send two listeners' connections as a program would:
/// once in 8,000.
const ROUNDS: u32 = 4;

/// Asks the members of one group.
pub(super) struct Visitor<'a> {
    proc: &'a Path,
    group: &'a [Listener],
    shape: Shape,
}

/// The sockets and their places.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The inodes of the sockets, by their places.
    pub(super) order: Vec<u64>,
    /// The socket that accepts nothing. Its place follows from the others.
    silent: Option<u64>,
}

/// Why the places could not be told.
pub(super) type Unclear = String;

impl<'a> Visitor<'a> {
    pub(super) fn new(proc: &'a Path, group: &'a [Listener], shape: Shape) -> Self {
        Self { proc, group, shape }
    }

    /// The places, if a program of ours is on the group.
    pub(super) fn places(&self) -> Result<Result<Places, Unclear>, HostError> {
        let mut found = Vec::new();
        for (_, mark) in self.group.iter().zip(PLACES..) {
            found.push(self.who(mark)?);
        }
        let silent: Vec<u64> =
            self.group.iter().map(|l| l.inode).filter(|inode| !found.contains(&Some(*inode))).collect();
        Ok(match (found.iter().filter(|who| who.is_none()).count(), silent.as_slice()) {
            (0, []) => Ok(Places { order: found.into_iter().flatten().collect(), silent: None }),
            (1, [one]) => {
                let order = found.into_iter().map(|who| who.unwrap_or(*one)).collect();
                Ok(Places { order, silent: Some(*one) })
            }
            (0, _) => Err("several places lead to one listener".to_owned()),
            (count, _) => Err(format!("{count} of {} places accept nothing", found.len())),
        })
    }

    /// The places, when chance can be ruled out; `None` if no program of ours is on the group.
    pub(super) fn places_for_sure(&self) -> Result<Option<Places>, HostError> {
        let Ok(places) = self.places()? else { return Ok(None) };
        for _ in 1..ROUNDS {
            if self.places()?.as_ref() != Ok(&places) {
                return Ok(None);
            }
        }
        Ok(Some(places))
    }

    /// The serving socket and the newcomer. `None` if no program of ours is on the group.
    pub(super) fn roles_for_sure(&self) -> Result<Option<(u64, u64)>, HostError> {
        let Some(places) = self.places_for_sure()? else { return Ok(None) };
        let mut roles = None;
        for _ in 0..ROUNDS {
            let now = (self.who(MARK_SERVING)?, self.who(MARK_NEWCOMER)?);
            if roles.is_some_and(|roles| roles != now) {
                return Ok(None);
            }
            roles = Some(now);
        }
        let Some((serving, newcomer)) = roles else { return Ok(None) };
        Ok(serving.or(places.silent).zip(newcomer.or(places.silent)))
    }

    /// The socket that takes connections with this mark. `None` if no process accepts them.
    fn who(&self, mark: u32) -> Result<Option<u64>, HostError> {
        let at = self.shape.reached_at();
        let attempt = || format!("find out who takes connections to {at} with mark {mark:#x}");
        let socket = match visit(at, mark) {
            Ok(socket) => socket,
            Err(Errno::TIMEDOUT) => return Ok(None),
            Err(errno) => return Err(HostError::of(attempt(), errno)),
        };
        let client = getsockname(&socket).and_then(SocketAddr::try_from);
        let client = client.map_err(|errno| HostError::of(attempt(), errno))?;
        let until = Instant::now() + ACCEPTED_WITHIN;
        loop {
            let accepted = connection(at, client).map_err(|errno| HostError::of(attempt(), errno))?;
            let listener = accepted.and_then(|inode| self.group.iter().find(|l| self.holds(l, inode)));
            if listener.is_some() || Instant::now() > until {
                return Ok(listener.map(|listener| listener.inode));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Whether the listener's process has this socket open.
    fn holds(&self, listener: &Listener, inode: u64) -> bool {
        let descriptors = fs::read_dir(self.proc.join(listener.process.pid.to_string()).join("fd"));
        let targets =
            descriptors.into_iter().flatten().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        targets.filter_map(|target| socket_inode(&target)).any(|other| other == inode)
    }
}

/// A connection that bears the mark from its first packet on.
pub(super) fn visit(at: SocketAddr, mark: u32) -> rustix::io::Result<OwnedFd> {
    let family = if at.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    set_mark(&socket, mark)?;
    match connect(&socket, &at) {
        Ok(()) => return Ok(socket),
        Err(Errno::INPROGRESS) => {}
        Err(errno) => return Err(errno),
    }
    if poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&CONNECTED_WITHIN))? == 0 {
        return Err(Errno::TIMEDOUT);
    }
    sockopt::socket_error(&socket)??;
    Ok(socket)
}
