//! Holds back what clients send on connections that they have.
//!
//! A filter on each of a server's connections drops packets that carry data until a point in time. The
//! program itself knows that time: even if this process dies, nothing stays held. The client's kernel sends
//! what is dropped again, as always. Acknowledgements pass, so the server's answers arrive. So do the ends of
//! connections.

use super::operation::Operation;
use super::sys::{attach_loaded_filter, load_filter};
use crate::host::edge::HostError;
use crate::host::proc::descriptors;
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Holds back what arrives, from now on and for the time `most`, on the connections of process `pid` that are
/// sockets with these inodes. Returns how many there are. A connection that is closed meanwhile is not held.
/// Nor is one that takes no filter, such as a connection that a client has opened as MPTCP.
pub(in crate::host) fn hold_back(
    proc: &Path,
    pid: u32,
    inodes: &BTreeSet<u64>,
    most: Duration,
) -> Result<usize, HostError> {
    let attempt = || format!("hold back what process {pid} is sent");
    let failed = |errno| HostError::of(attempt(), errno);
    let until = now().saturating_add(u64::try_from(most.as_nanos()).unwrap_or(u64::MAX));
    let program = load_filter(&nothing_new_until(until)).map_err(failed)?;
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| failed(Errno::SRCH))?;
    let process = pidfd_open(number, PidfdFlags::empty()).map_err(failed)?;
    let mut held = 0;
    let open = descriptors(&proc.join(pid.to_string())).map_err(|error| HostError::new(attempt(), error))?;
    for (number, inode) in open {
        if !inodes.contains(&inode) {
            continue;
        }
        match pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) {
            // The number may belong to another socket by now.
            Ok(socket) if fstat(&socket).map_err(failed)?.st_ino == inode => {
                held += usize::from(attach_loaded_filter(&socket, &program).is_ok());
            }
            Ok(_) | Err(Errno::BADF) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(held)
}

/// The clock that the program reads, in nanoseconds.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(Duration::try_from(now).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

/// Drops segments with data until then. A TCP socket shows its filter the segment from its header on.
fn nothing_new_until(until: u64) -> Vec<Operation> {
    let [low, high] = [until, until >> 32].map(|half| (half as u32).cast_signed());
    vec![
        op(0xBF, 6, 1, 0, 0),    //  0: r6 = the packet, for 5
        op(0x85, 0, 0, 0, 5),    //  1: r0 = ktime_get_ns()
        op(0x18, 1, 0, 0, low),  //  2: r1 = until
        op(0x00, 0, 0, 0, high), //  3: its upper half
        op(0x3D, 0, 1, 5, 0),    //  4: if r0 >= r1, go to 10
        op(0x61, 7, 6, 0, 0),    //  5: r7 = its length
        op(0x30, 0, 0, 0, 12),   //  6: r0 = its byte 12, whose upper half is the header's length in words
        op(0x77, 0, 0, 0, 4),    //  7: r0 >>= 4
        op(0x67, 0, 0, 0, 2),    //  8: r0 <<= 2
        op(0x2D, 7, 0, 2, 0),    //  9: if r7 > r0, go to 12
        op(0xB4, 0, 0, 0, -1),   // 10: r0 = all of it
        op(0x95, 0, 0, 0, 0),    // 11: return
        op(0xB4, 0, 0, 0, 0),    // 12: r0 = nothing of it
        op(0x95, 0, 0, 0, 0),    // 13: return
    ]
}

fn op(code: u8, to: u8, from: u8, skip: i16, value: i32) -> Operation {
    // The first four bits depend on the machine's byte order.
    let registers = if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
    Operation { code, registers, skip, value }
}
