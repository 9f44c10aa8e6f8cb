//! The group of sockets that listen on one address and port, and the program on it.
//!
//! A socket of our own joins the group for a moment and puts the program on. Until the program is on, the
//! kernel's hash gives that socket its share of the new connections. Accepting them would be wrong: they
//! would be reset if this process died, and those in the middle of their handshake in any case. So the socket
//! has, from before it listens, a filter that lets no packet in. A client that met it sends its SYN once
//! more, after a second, and finds the program at work. The moment is some 20 µs, and only the first time: a
//! group that has a program sends no client to a socket that the program does not name.
//!
//! A crash leaves the group with the program or without it; the kernel closes our socket. Our socket was the
//! last of the group, so no other place changes. A socket that has joined behind it moves up to the place
//! that it would have had.

use super::places::Visitor;
use super::program::{Instruction, PLACES_MAX, all_to, nothing, prefer};
use super::shape::Shape;
use super::share::with_socket;
use super::sys;
use crate::host::edge::{Hindrance, HostError, Listener, Steering};
use rustix::io::Errno;
use rustix::net::{bind, listen};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// How often the places may change under our hands before we give up.
const TRIES_MAX: u32 = 3;

/// See [`crate::host::Host::steer`].
pub(in crate::host) fn steer(proc: &Path, group: &[Listener], steering: Steering) -> Result<(), HostError> {
    let shape = shape(proc, group)?;
    let attempt = || format!("steer new connections to {}", shape.address);
    let visitor = Visitor::new(proc, group, shape);
    // A program of ours tells the places before anything is changed. Without one, the listeners are taken in
    // the given order. Once the program is on, it tells whether that was right.
    let mut places = match group {
        [only] => vec![only.inode],
        several => visitor
            .places_for_sure()?
            .map_or_else(|| several.iter().map(|l| l.inode).collect(), |found| found.order),
    };
    let mut seen = String::new();
    for _ in 0..TRIES_MAX {
        let program = program(&places, steering).map_err(|cause| HostError::new(attempt(), cause))?;
        through_member(shape, |member| sys::attach_to_group(member, &program))
            .map_err(|errno| not_joined(attempt(), errno))?;
        if group.len() == 1 {
            return Ok(());
        }
        match visitor.places()? {
            Ok(found) if found.order == places => return Ok(()),
            Ok(found) => places = found.order,
            Err(unclear) => seen = format!(": {unclear}"),
        }
    }
    Err(HostError::new(attempt(), format!("who is at which place of the group cannot be told{seen}")))
}

/// See [`crate::host::Host::steering`].
pub(in crate::host) fn steering(proc: &Path, group: &[Listener]) -> Result<Option<Steering>, HostError> {
    if group.len() < 2 {
        return Ok(None);
    }
    let visitor = Visitor::new(proc, group, shape(proc, group)?);
    let Some((serving, newcomer)) = visitor.roles_for_sure()? else { return Ok(None) };
    Ok(Some(match serving == newcomer {
        true => Steering::To { serving },
        false => Steering::Prefer { serving, newcomer: Some(newcomer) },
    }))
}

/// See [`crate::host::Host::unsteer`].
pub(in crate::host) fn unsteer(proc: &Path, group: &[Listener]) -> Result<(), HostError> {
    let shape = shape(proc, group)?;
    match through_member(shape, |member| sys::detach_from_group(member)) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(not_joined(format!("stop steering new connections to {}", shape.address), errno)),
    }
}

/// Does something with the group, as a member of it that never gets a connection.
pub(super) fn through_member<T>(
    shape: Shape,
    act: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    let member = shape.socket()?;
    sys::attach_filter(&member, &nothing())?;
    bind(&member, &shape.address)?;
    // The moment lasts from here to the end of `act`.
    listen(&member, 1)?;
    act(member.as_fd())
}

fn shape(proc: &Path, group: &[Listener]) -> Result<Shape, HostError> {
    let attempt = "steer new connections";
    let Some(first) = group.first() else {
        return Err(HostError::hindered(Hindrance::SocketGone, attempt, "nobody listens"));
    };
    if let Some(other) = group.iter().find(|l| (l.address, l.uid) != (first.address, first.uid)) {
        let cause = format!(
            "{} of user {} and {} of user {} are no group: the same address and user are needed",
            first.address, first.uid, other.address, other.uid
        );
        return Err(HostError::hindered(Hindrance::Unsupported, attempt, cause));
    }
    with_socket(proc, first, "look at", Shape::of)
}

fn program(places: &[u64], steering: Steering) -> Result<Vec<Instruction>, String> {
    let number = |place: usize| u32::try_from(place).ok().filter(|place| *place < PLACES_MAX);
    let place = |inode: u64| {
        let found = places.iter().position(|other| *other == inode).and_then(number);
        found.ok_or_else(|| format!("the socket with inode {inode} is not one of those that listen there"))
    };
    Ok(match steering {
        Steering::To { serving } => all_to(place(serving)?),
        Steering::Prefer { serving, newcomer: Some(newcomer) } => prefer(place(serving)?, place(newcomer)?),
        Steering::Prefer { serving, newcomer: None } => {
            let next = number(places.len()).ok_or("too many sockets listen there")?;
            prefer(place(serving)?, next)
        }
    })
}

fn not_joined(attempt: String, errno: Errno) -> HostError {
    match errno {
        Errno::ADDRINUSE => {
            HostError::new(attempt, "a socket that listens there is not shared: share it first")
        }
        errno => HostError::of(attempt, errno),
    }
}
