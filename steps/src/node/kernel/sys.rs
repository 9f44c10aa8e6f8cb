//! The socket options that rustix has not, and the workspace's only `unsafe`.
#![allow(unsafe_code, reason = "setsockopt reads memory that it is given an address of")]

use super::program::Instruction;
use rustix::io::Errno;
use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd};

/// Puts the program onto the socket's group: it picks who gets a new connection.
pub(super) fn attach_to_group(socket: impl AsFd, program: &[Instruction]) -> rustix::io::Result<()> {
    attach(socket, libc::SO_ATTACH_REUSEPORT_CBPF, program)
}

/// Puts the program onto the socket: it says how much of a packet the socket gets to see.
pub(super) fn attach_filter(socket: impl AsFd, program: &[Instruction]) -> rustix::io::Result<()> {
    attach(socket, libc::SO_ATTACH_FILTER, program)
}

/// Takes the program off the socket's group; `ENOENT` if there is none.
pub(super) fn detach_from_group(socket: impl AsFd) -> rustix::io::Result<()> {
    set(socket, libc::SO_DETACH_REUSEPORT_BPF, &0)
}

/// Every packet of this socket bears the mark, on this machine only.
pub(in crate::node) fn set_mark(socket: impl AsFd, mark: u32) -> rustix::io::Result<()> {
    set(socket, libc::SO_MARK, &mark.cast_signed())
}

fn attach(socket: impl AsFd, option: c_int, program: &[Instruction]) -> rustix::io::Result<()> {
    let mut filter: Vec<libc::sock_filter> =
        program.iter().map(|i| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect();
    let len = u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    // SAFETY: `option` is one of the two that take a `sock_fprog`. Its pointer and length are those of
    // `filter`, which lives until after the call; the kernel copies from it and keeps no pointer.
    unsafe { set_raw(socket, option, &program) }
}

fn set(socket: impl AsFd, option: c_int, value: &c_int) -> rustix::io::Result<()> {
    // SAFETY: `option` is one of those that take an int.
    unsafe { set_raw(socket, option, value) }
}

/// # Safety
/// `T` is what the kernel expects for `option`, and whatever it points to is valid during the call.
unsafe fn set_raw<T>(socket: impl AsFd, option: c_int, value: &T) -> rustix::io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(|_| Errno::INVAL)?;
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open, as it is borrowed; pointer and length are those of `value`; the rest
    // is the caller's promise.
    let done = unsafe {
        libc::setsockopt(descriptor, libc::SOL_SOCKET, option, std::ptr::from_ref(value).cast(), length)
    };
    if done == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
