//! Reads the texts under `/proc`. Pure: text in, values out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// A row of `/proc/net/tcp` or `tcp6`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Socket {
    /// The address as the socket has it: an IPv4 address of an IPv6 socket stays `::ffff:…`.
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) listening: bool,
    pub(super) uid: u32,
    pub(super) inode: u64,
}

/// The rows of a socket table. Leaves out rows that cannot be read (the kernel's format is fixed).
pub(super) fn sockets(table: &str) -> impl Iterator<Item = Socket> + '_ {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let local = address(fields.nth(1)?)?;
        let remote = address(fields.next()?)?;
        let listening = fields.next()? == "0A"; // TCP_LISTEN
        let uid = fields.nth(3)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        Some(Socket { local, remote: canonical(remote), listening, uid, inode })
    })
}

/// `0100007F:1F90`: the address as native-endian 32-bit words in hex, the port in hex.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = Vec::with_capacity(16);
    for start in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match (<[u8; 4]>::try_from(bytes.as_slice()), <[u8; 16]>::try_from(bytes.as_slice())) {
        (Ok(v4), _) => IpAddr::from(Ipv4Addr::from(v4)),
        (_, Ok(v6)) => IpAddr::from(Ipv6Addr::from(v6)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// An IPv4 address as such, even if an IPv6 socket has it.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The inode in the target of a link in `/proc/<pid>/fd`, if that is a socket.
pub(super) fn socket_inode(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The uid of the pod that a process runs in, from `/proc/<pid>/cgroup`; dashes as the API writes them.
///
/// The kubelet names pod cgroups `pod<uid>` (cgroupfs) or `kubepods-<class>-pod<uid>.slice` with
/// underscores for dashes (systemd). A static pod's uid is its config hash: 32 hex digits.
pub(super) fn pod_uid(cgroup: &str) -> Option<String> {
    let names = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2)).flat_map(|path| path.split('/'));
    names.filter_map(pod_cgroup).next()
}

fn pod_cgroup(name: &str) -> Option<String> {
    let uid = match name.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod")?.1.replace('_', "-"),
        None => name.strip_prefix("pod")?.to_owned(),
    };
    let digits = uid.chars().filter(char::is_ascii_hexdigit).count();
    let only = uid.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    (digits == 32 && only).then_some(uid)
}

/// When a process started, in clock ticks after boot: field 22 of `/proc/<pid>/stat`. The second field is the
/// command's name in parentheses and may contain anything.
pub(super) fn start_ticks(stat: &str) -> Option<u64> {
    stat.rsplit_once(") ")?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// When the machine was booted, in seconds since 1970: `btime` of `/proc/stat`.
pub(super) fn boot_second(stat: &str) -> Option<i64> {
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
pub(super) fn memory_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"))?;
    line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_tables_are_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:2811 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 4711 1 0 100 0 0 10 0\n   \
            1: 0B004D0A:192B 01004D0A:8ABC 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1\n";
        let rows: Vec<Socket> = sockets(table).collect();
        assert_eq!(rows[0].local, "127.0.0.1:10257".parse().unwrap());
        assert!(rows[0].listening && !rows[1].listening);
        assert_eq!((rows[0].uid, rows[0].inode), (1001, 4711));
        assert_eq!(rows[1].local, "10.77.0.11:6443".parse().unwrap());
        assert_eq!(rows[1].remote, "10.77.0.1:35516".parse().unwrap());
        assert_eq!(rows[1].inode, 4712);
        let mapped = "h\n 0: 0000000000000000FFFF00000B004D0A:192B 0000000000000000FFFF00000B004D0A:0016 01 0:0 0:0 0 0 0 9 1\n";
        let mapped = sockets(mapped).next().unwrap();
        assert_eq!(mapped.local, "[::ffff:10.77.0.11]:6443".parse().unwrap());
        assert_eq!(mapped.remote, "10.77.0.11:22".parse().unwrap());
    }

    #[test]
    fn pods_are_known_by_their_cgroup() {
        let hash = "0123456789abcdef0123456789abcdef";
        let uid = "6a1c1f9e-5a0c-4f5e-8f6f-0d6f5b1f3c2d";
        for (line, expected) in [
            (format!("4:memory:/lab/kubepods/burstable/pod{hash}/77aa"), Some(hash)),
            (
                format!(
                    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/x",
                    uid.replace('-', "_")
                ),
                Some(uid),
            ),
            (format!("0::/kubepods/pod{uid}/x"), Some(uid)),
            ("0::/system.slice/podman.service".to_owned(), None),
            ("0::/".to_owned(), None),
        ] {
            assert_eq!(pod_uid(&line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn a_command_may_be_named_anything() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1000 10";
        assert_eq!(start_ticks(stat), Some(4242));
        assert_eq!(boot_second("cpu 1 2\nbtime 1764400000\nprocesses 9\n"), Some(1_764_400_000));
        assert_eq!(memory_available("MemTotal: 9 kB\nMemAvailable:   2 kB\n"), Some(2048));
    }
}
