//! The system calls that rustix lacks, and the workspace's only `unsafe`.
#![allow(
    unsafe_code,
    reason = "setsockopt and bpf read memory that they are given an address of; the heap is C's"
)]

use super::operation::Operation;
use super::program::Instruction;
use rustix::io::Errno;
use std::ffi::{CStr, c_int};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Puts the program onto the socket's group. It picks the socket that gets a new connection.
pub(super) fn attach_to_group(socket: impl AsFd, program: &[Instruction]) -> rustix::io::Result<()> {
    attach(socket, libc::SO_ATTACH_REUSEPORT_CBPF, program)
}

/// Puts the program onto the socket. It says how much of a packet the socket sees.
pub(super) fn attach_filter(socket: impl AsFd, program: &[Instruction]) -> rustix::io::Result<()> {
    attach(socket, libc::SO_ATTACH_FILTER, program)
}

/// Takes the program off the socket's group; `ENOENT` if there is none.
pub(super) fn detach_from_group(socket: impl AsFd) -> rustix::io::Result<()> {
    set(socket, libc::SO_DETACH_REUSEPORT_BPF, &0)
}

/// Every packet of this socket bears the mark, on this machine only.
pub(in crate::host) fn set_mark(socket: impl AsFd, mark: u32) -> rustix::io::Result<()> {
    set(socket, libc::SO_MARK, &mark.cast_signed())
}

/// Puts a loaded program onto the socket. Replaces the filter that the socket may have.
pub(super) fn attach_loaded_filter(socket: impl AsFd, program: &OwnedFd) -> rustix::io::Result<()> {
    set(socket, libc::SO_ATTACH_BPF, &program.as_raw_fd())
}

/// Gives the kernel an eBPF program that filters what sockets get. The program lives as long as the
/// descriptor and the sockets that have it.
pub(super) fn load_filter(operations: &[Operation]) -> rustix::io::Result<OwnedFd> {
    /// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`. The kernel takes the fields that are left out
    /// for zero.
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        operations: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
    }
    const BPF_PROG_LOAD: c_int = 5;
    const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;
    // The kernel demands this of programs that use certain functions of its. Before 5.8 the clock was one of
    // them.
    const LICENSE: &CStr = c"Dual MIT/GPL";
    let address = |pointer: *const u8| pointer.addr() as u64;
    let load = Load {
        kind: BPF_PROG_TYPE_SOCKET_FILTER,
        count: u32::try_from(operations.len()).map_err(|_| Errno::INVAL)?,
        operations: address(operations.as_ptr().cast()),
        license: address(LICENSE.as_ptr().cast()),
        log_level: 0,
        log_size: 0,
        log: 0,
    };
    // SAFETY: `load` is laid out as this command has it, with its size. The two addresses point to memory
    // that outlives the call. The first has as many operations as it says, the second ends with a zero. The
    // kernel copies both.
    let descriptor =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<Load>()) };
    match c_int::try_from(descriptor) {
        // SAFETY: the kernel has just opened it, for us alone.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// Returns to the machine what this process has freed. The C library keeps freed memory, for a daemon as for
/// a program that will soon need it again.
pub(crate) fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it gets no address, and lets go of nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
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
