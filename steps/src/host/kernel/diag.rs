//! Looks sockets up in the kernel (`sock_diag(7)`). One look-up takes microseconds and tells more. Reading
//! the table in `/proc/net/tcp` walks through the hash of all connections of the machine, some 10 ms.

use super::netlink::{Netlink, find, number};
use rustix::io::Errno;
use rustix::net::{AddressFamily, netlink};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// The states of linux/tcp_states.h.
const ESTABLISHED: u8 = 1;
const LISTEN: u8 = 10;
const TCP: u8 = 6;
/// Of an answer, `inet_diag_msg`: its length, and the offsets of the state, the port and the inode in it.
const ANSWER: usize = 72;
const STATE: usize = 1;
const PORT: usize = 4;
const INODE: usize = 68;
/// `INET_DIAG_INFO`: an attribute with a `tcp_info`, and the offset of `tcpi_last_data_sent` in it, in
/// milliseconds.
const INFO: u16 = 2;
const LAST_SENT: usize = 44;

/// The inode of the socket with these two ends. `None` if there is no such connection, or if no process has
/// accepted it yet.
pub(super) fn connection(local: SocketAddr, remote: SocketAddr) -> rustix::io::Result<Option<u64>> {
    let kernel = Netlink::open(netlink::SOCK_DIAG)?;
    let mut found = None;
    let asked = kernel.act(BY_FAMILY, &request(local, remote, u32::MAX, 0), |answer| {
        // Without such a connection, the kernel names the socket that would accept it.
        let listens = answer.get(STATE) == Some(&LISTEN);
        found = answer.get(INODE..).and_then(number).filter(|inode| *inode != 0 && !listens);
    });
    match asked {
        Ok(()) | Err(Errno::NOENT) => Ok(found.map(u64::from)),
        Err(errno) => Err(errno),
    }
}

/// Every listening TCP socket, IPv4 and IPv6, as port and inode. The kernel keeps these apart from the
/// connections.
pub(in super::super) fn listening() -> rustix::io::Result<Vec<(u16, u64)>> {
    let mut found = Vec::new();
    list(LISTEN, |port, inode, _| found.push((port, inode)))?;
    Ok(found)
}

/// How long ago something was sent over any of these sockets, by inode. Sockets that were taken at `port` do
/// not count. `None` if none of the others is a connection.
pub(in super::super) fn last_sent(inodes: &BTreeSet<u64>, port: u16) -> rustix::io::Result<Option<Duration>> {
    let mut last: Option<Duration> = None;
    list(ESTABLISHED, |local, inode, attributes| {
        let ago = find(attributes, INFO).and_then(|info| number(info.get(LAST_SENT..)?));
        let ago = ago.filter(|_| local != port && inodes.contains(&inode));
        let ago = ago.map(|ago| Duration::from_millis(ago.into()));
        last = last.into_iter().chain(ago).min();
    })?;
    Ok(last)
}

/// Goes through all TCP sockets in this state, IPv4 and IPv6. Passes on the local port, the inode and the
/// attributes.
fn list(state: u8, mut each: impl FnMut(u16, u64, &[u8])) -> rustix::io::Result<()> {
    let kernel = Netlink::open(netlink::SOCK_DIAG)?;
    for any in ["0.0.0.0:0", "[::]:0"].map(|any| any.parse::<SocketAddr>()).into_iter().flatten() {
        kernel.list(BY_FAMILY, &request(any, any, 1 << state, 1 << (INFO - 1)), |answer| {
            let Some((socket, attributes)) = answer.split_at_checked(ANSWER) else { return };
            let port = u16::from_be_bytes([socket[PORT], socket[PORT + 1]]);
            each(port, number(&socket[INODE..]).unwrap_or_default().into(), attributes);
        })?;
    }
    Ok(())
}

/// `inet_diag_req_v2` and in it `inet_diag_sockid`: asks for a socket in one of these states, and for
/// extensions.
fn request(local: SocketAddr, remote: SocketAddr, states: u32, extensions: u8) -> Vec<u8> {
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let mut request = vec![u8::try_from(family.as_raw()).unwrap_or_default(), TCP, extensions, 0];
    request.extend(states.to_ne_bytes());
    request.extend(local.port().to_be_bytes());
    request.extend(remote.port().to_be_bytes());
    for end in [local, remote] {
        let mut address = [0; 16];
        match end.ip() {
            IpAddr::V4(v4) => address[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => address.copy_from_slice(&v6.octets()),
        }
        request.extend(address);
    }
    request.extend([0; 4]); // Any interface.
    request.extend([0xFF; 8]); // Any cookie.
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    #[test]
    fn who_listens_is_listed() {
        for at in ["127.0.0.1:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(at) else { continue }; // A machine without IPv6.
            let port = listener.local_addr().unwrap().port();
            let inode = rustix::fs::fstat(listener.as_fd()).unwrap().st_ino;
            assert!(listening().unwrap().contains(&(port, inode)));
            drop(listener);
            assert!(!listening().unwrap().contains(&(port, inode)));
        }
    }

    #[test]
    fn what_was_sent_last_is_known_of_connections_that_were_made() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(at) else { continue }; // A machine without IPv6.
            let port = listener.local_addr().unwrap().port();
            let mut made = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (taken, _) = listener.accept().unwrap();
            let inode = |socket: std::os::fd::BorrowedFd<'_>| rustix::fs::fstat(socket).unwrap().st_ino;
            let both = BTreeSet::from([inode(made.as_fd()), inode(taken.as_fd())]);
            std::thread::sleep(Duration::from_millis(200)); // The test measures a length of time.
            made.write_all(b"GET").unwrap();
            let just_now = last_sent(&both, port).unwrap().unwrap();
            assert!(just_now < Duration::from_millis(150), "{just_now:?}");
            std::thread::sleep(Duration::from_millis(200));
            let a_while_ago = last_sent(&both, port).unwrap().unwrap();
            assert!(a_while_ago >= Duration::from_millis(190), "{a_while_ago:?}");
            assert_eq!(last_sent(&BTreeSet::from([inode(taken.as_fd())]), port).unwrap(), None);
            assert_eq!(last_sent(&BTreeSet::new(), port).unwrap(), None);
        }
    }

    #[test]
    fn a_connection_is_found_once_it_is_accepted() {
        for (at, to) in [("127.0.0.1:0", "127.0.0.1"), ("[::]:0", "127.0.0.1"), ("[::]:0", "::1")] {
            let Ok(listener) = TcpListener::bind(at) else { continue }; // A machine without IPv6.
            let to = SocketAddr::new(to.parse().unwrap(), listener.local_addr().unwrap().port());
            let stream = TcpStream::connect(to).unwrap();
            let client = stream.local_addr().unwrap();
            assert_eq!(connection(to, client).unwrap(), None, "nobody has accepted it");
            let (accepted, _) = listener.accept().unwrap();
            let inode = |socket: std::os::fd::BorrowedFd<'_>| rustix::fs::fstat(socket).unwrap().st_ino;
            assert_eq!(connection(to, client).unwrap(), Some(inode(accepted.as_fd())));
            assert_eq!(connection(client, to).unwrap(), Some(inode(stream.as_fd())));
            let nobody = SocketAddr::new(client.ip(), 1);
            assert_eq!(connection(to, nobody).unwrap(), None);
            assert_eq!(connection(nobody, client).unwrap(), None);
        }
    }
}
