//! Finds out whether the machine can steer, by doing it.

use super::group::through_member;
use super::places::visit;
use super::program::{PLACES, prefer};
use super::shape::Shape;
use super::share::with_socket;
use super::sys::attach_to_group;
use crate::host::edge::{Hindrance, HostError, Listener};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{bind, getsockname, listen, sockopt};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;

const ARRIVES_WITHIN: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// See [`crate::host::Host::steering_support`].
pub(in crate::host) fn support(proc: &Path, listener: &Listener) -> Result<(), HostError> {
    // Security modules decide by process: only the real one can tell.
    let shape = with_socket(proc, listener, "look at", Shape::of)?;
    let failed = |what: &'static str| move |errno| HostError::of(what, errno);
    shape.socket().map_err(failed("make a socket that belongs to the listener's user"))?;
    let [first, second] = group().map_err(failed("steer a group of sockets of our own"))?;
    let at = getsockname(&first).and_then(SocketAddr::try_from);
    let at = at.map_err(failed("steer a group of sockets of our own"))?;
    for (place, expected) in (PLACES..).zip([&first, &second]) {
        let attempt = "mark a connection";
        let _connection = visit(at, place).map_err(failed(attempt))?;
        let mut arrived = [PollFd::new(expected, PollFlags::IN)];
        if poll(&mut arrived, Some(&ARRIVES_WITHIN)).map_err(failed(attempt))? == 0 {
            let cause = "it arrived elsewhere than the program said: the kernel does not look at marks";
            return Err(HostError::hindered(Hindrance::Unsupported, attempt, cause));
        }
    }
    Ok(())
}

/// Two listeners as a pivot has them: the first is made shareable while it listens.
fn group() -> rustix::io::Result<[OwnedFd; 2]> {
    let shape = |address| Shape { address, v6only: false, uid: rustix::process::geteuid().as_raw() };
    let any = shape(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let first = any.socket()?;
    sockopt::set_socket_reuseport(&first, false)?;
    bind(&first, &any.address)?;
    listen(&first, 2)?;
    sockopt::set_socket_reuseport(&first, true)?;
    let here = shape(SocketAddr::try_from(getsockname(&first)?)?);
    through_member(here, |member| attach_to_group(member, &prefer(0, 1)))?;
    let second = here.socket()?;
    bind(&second, &here.address)?;
    listen(&second, 2)?;
    Ok([first, second])
}
