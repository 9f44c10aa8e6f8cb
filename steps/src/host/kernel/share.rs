//! `SO_REUSEPORT` of a socket that another process listens on.

use crate::host::edge::{Hindrance, HostError, Listener};
use crate::host::proc::descriptors;
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Whether a second socket may listen beside this one.
pub(in crate::host) fn is_shared(proc: &Path, listener: &Listener) -> Result<bool, HostError> {
    with_socket(proc, listener, "look at", |socket| sockopt::socket_reuseport(socket))
}

/// Makes the live socket shareable, or takes that back. Idempotent.
pub(in crate::host) fn set_shared(proc: &Path, listener: &Listener, shared: bool) -> Result<(), HostError> {
    let verb = if shared { "share" } else { "stop sharing" };
    let now = with_socket(proc, listener, verb, |socket| {
        sockopt::set_socket_reuseport(socket, shared)?;
        sockopt::socket_reuseport(socket)
    })?;
    if now == shared {
        return Ok(());
    }
    Err(HostError::hindered(Hindrance::Unsupported, attempt(verb, listener), "the kernel did not take it on"))
}

/// Does something with the listening socket itself, through a duplicate of its owner's descriptor.
///
/// The duplicate is closed before this returns. While it is open, the port stays open even if its process
/// dies, and no process would ever accept a connection. Should this process die here, the kernel closes it.
pub(super) fn with_socket<T>(
    proc: &Path,
    listener: &Listener,
    verb: &str,
    act: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<T>,
) -> Result<T, HostError> {
    let socket = duplicate(proc, listener, verb)?;
    act(socket.as_fd()).map_err(|errno| HostError::of(attempt(verb, listener), errno))
}

fn duplicate(proc: &Path, listener: &Listener, verb: &str) -> Result<OwnedFd, HostError> {
    let gone = |hindrance, cause: &str| HostError::hindered(hindrance, attempt(verb, listener), cause);
    let failed = |errno| HostError::of(attempt(verb, listener), errno);
    let no_process = || gone(Hindrance::ProcessGone, "the process has ended");
    let pid = i32::try_from(listener.process.pid).ok().and_then(Pid::from_raw).ok_or_else(no_process)?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(failed)?;
    let open = descriptors(&proc.join(listener.process.pid.to_string()));
    let open = open.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => no_process(),
        _ => failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    })?;
    let number = open.into_iter().find(|(_, inode)| *inode == listener.inode).map(|(number, _)| number);
    let no_socket = || gone(Hindrance::SocketGone, "the process has closed the socket");
    let number = number.ok_or_else(no_socket)?;
    let socket = match pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) {
        Ok(socket) => socket,
        Err(Errno::BADF) => return Err(no_socket()),
        Err(errno) => return Err(failed(errno)),
    };
    // Pid and descriptor number may belong to another process since they were looked up. The inode tells.
    let same = fstat(&socket).map_err(failed)?.st_ino == listener.inode;
    let listens = same && sockopt::socket_acceptconn(&socket).map_err(failed)?;
    if listens { Ok(socket) } else { Err(no_socket()) }
}

fn attempt(verb: &str, listener: &Listener) -> String {
    format!("{verb} the socket that process {} has on {}", listener.process.pid, listener.address)
}
