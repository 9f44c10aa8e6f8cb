//! From a pod into the host: this process becomes one that sees what process 1 sees.

use super::edge::HostError;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd;

/// Takes the mounts and the root of process 1. In a pod with `hostPID` this is the host's. Call it before any thread is
/// started: the kernel moves a process that has one thread only.
///
/// # Errors
/// When the kernel refuses: the pod is not privileged, or has process numbers of its own.
pub fn enter_host() -> Result<(), HostError> {
    let refused = |what: &'static str| move |errno: Errno| HostError::of(what, errno);
    let open = |path: &'static str, flags: OFlags| {
        rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
            .map_err(refused("open /proc/1 of the host"))
    };
    // Both are opened before the move: after it /proc is another.
    let root = open("/proc/1/root", OFlags::PATH | OFlags::DIRECTORY)?;
    let mounts = open("/proc/1/ns/mnt", OFlags::RDONLY)?;
    move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))
        .map_err(refused("join the mounts of the host's process 1"))?;
    rustix::process::fchdir(&root).map_err(refused("go to the host's root"))?;
    rustix::process::chroot(".").map_err(refused("take the host's root"))?;
    rustix::process::chdir("/").map_err(refused("go to the host's root"))
}
