//! The hand-over of a live listener, as the Linux kernel lets root do it.
//!
//! Two processes can listen on one port if both sockets have `SO_REUSEPORT`. They then are one *group*, and a
//! classic BPF program on the group picks the socket that gets a new connection. This module makes a socket
//! of another process shareable while it listens, and puts such a program onto its group.
//!
//! The steps decide when to do so. This module keeps nothing: every call opens what it needs and closes it
//! again. A crash between any two system calls leaves a listener that listens.
//!
//! Experiments on Linux 6.18 have found the following, and `tests` keeps it true:
//!
//! * Every socket has a *place* in its group: the order in which they began to listen, from 0. When one
//!   closes, the last takes its place. With `[A, B, C]` and A gone, place 0 is C's, not B's. A place without
//!   a socket falls back to the kernel's hash.
//! * No list of the kernel tells the places, and a program cannot be read back. Hence every program of ours
//!   answers to marks ([`program`]), and asking finds the places ([`places`]).
//! * A socket that began to listen without `SO_REUSEPORT` is in no group until a second one joins: putting a
//!   program onto it is `EINVAL`. On MPTCP sockets (Go's default since 1.24) `SO_REUSEPORT` can be set, but a
//!   program is `EOPNOTSUPP`. Both are why an own plain TCP socket joins the group for a moment ([`group`]).
//! * A program can be put onto a socket that is bound and does not listen yet, but that makes a group of its
//!   own, and `listen` is then `EADDRINUSE`.
//! * A group has one address, one address family, one `IPV6_V6ONLY` and one user. The user of a socket is the
//!   owner of its inode, and `fchown` changes it until it is bound.
//! * A program stays with its group while any socket is in it, even if the socket that put it there has
//!   closed.
//! * A program sees SYNs only. It can read the network header (`SKF_NET_OFF`) and the mark; offset 0 is
//!   behind the TCP header, where a SYN has nothing. A load from beyond the packet ends the program with 0.
//!   A dual-stack listener sees IPv4 packets as IPv4.
//!
//! The module can also hold back, for a while, what clients send on connections that a server has ([`hold`]).
//! And it can make the ports of these clients count as new ones as soon as the connections are closed
//! ([`tracking`]).

mod diag;
mod group;
mod hold;
mod netlink;
mod operation;
mod places;
mod program;
mod shape;
mod share;
mod support;
mod sys;
#[cfg(test)]
mod tests;
mod tracking;

pub(super) use diag::{last_sent, listening};
pub(super) use group::{steer, steering, unsteer};
pub(super) use hold::hold_back;
pub(super) use share::{is_shared, set_shared};
pub(super) use support::support;
pub(crate) use sys::give_back_memory;
pub(super) use sys::set_mark;
pub(super) use tracking::release_ports;
