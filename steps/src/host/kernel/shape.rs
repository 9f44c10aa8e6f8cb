//! What a socket must have to be a member of a group.

use rustix::fs::{fchown, fstat};
use rustix::net::{AddressFamily, SocketFlags, SocketType, getsockname, ipproto, socket_with, sockopt};
use rustix::process::{Uid, geteuid};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};

/// What the sockets of one group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) address: SocketAddr,
    pub(super) v6only: bool,
    pub(super) uid: u32,
}

impl Shape {
    pub(super) fn of(socket: BorrowedFd<'_>) -> rustix::io::Result<Self> {
        let address = SocketAddr::try_from(getsockname(socket)?)?;
        let v6only = address.is_ipv6() && sockopt::ipv6_v6only(socket)?;
        Ok(Self { address, v6only, uid: fstat(socket)?.st_uid })
    }

    /// A plain TCP socket that can join the group. It is not bound yet.
    pub(super) fn socket(&self) -> rustix::io::Result<OwnedFd> {
        let family = if self.address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_reuseport(&socket, true)?;
        if self.address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, self.v6only)?;
        }
        if self.uid != geteuid().as_raw() {
            fchown(&socket, Some(Uid::from_raw(self.uid)), None)?;
        }
        Ok(socket)
    }

    /// An address at which every socket of the group can be reached from this machine.
    pub(super) fn reached_at(&self) -> SocketAddr {
        let ip = match self.address.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V6(_) if self.v6only => IpAddr::V6(Ipv6Addr::LOCALHOST),
            _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        SocketAddr::new(ip, self.address.port())
    }
}
