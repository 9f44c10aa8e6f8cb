//! Sockets, looked up in the kernel (`sock_diag(7)`): one takes microseconds, where reading the table in
//! `/proc/net/tcp` walks through the hash of all connections of the machine, some 10 ms; and it knows more.

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// `SOCK_DIAG_BY_FAMILY`, `NLM_F_REQUEST`, `NLMSG_ERROR`.
const BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
const ERROR: u16 = 2;
/// `NLMSG_DONE`, `NLM_F_DUMP`: a list, in parts, and its end.
const END: u16 = 3;
const DUMP: u16 = 0x300;
/// The states of linux/tcp_states.h.
const ESTABLISHED: u8 = 1;
const LISTEN: u8 = 10;
const TCP: u8 = 6;
/// The length of `nlmsghdr`; that of an answer with it, `inet_diag_msg`.
const HEADER: usize = 16;
const ANSWER: usize = HEADER + 72;
/// Where in an answer the state is, and the inode.
const STATE: usize = HEADER + 1;
const INODE: usize = HEADER + 68;
/// Where its port is, and where a request has its flags, what is asked of each socket, and of which states.
const PORT: usize = HEADER + 4;
const FLAGS: usize = 6;
const EXTENSIONS: usize = HEADER + 2;
const STATES: usize = HEADER + 4;
/// `INET_DIAG_INFO`: an attribute with a `tcp_info`, and in it `tcpi_last_data_sent`, in milliseconds.
const INFO: u16 = 2;
const LAST_SENT: usize = 44;
/// The length of `nlattr`, which goes before an attribute and is counted with it.
const ATTRIBUTE: usize = 4;

/// The inode of the socket with these two ends; `None` if there is no such connection, or if nobody has
/// accepted it yet.
pub(super) fn connection(local: SocketAddr, remote: SocketAddr) -> rustix::io::Result<Option<u64>> {
    let kernel =
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
    send(&kernel, &request(local, remote), SendFlags::empty())?;
    let mut answer = [0; 4096];
    // The kernel has answered before `send` returned.
    let (length, _) = recv(&kernel, &mut answer, RecvFlags::DONTWAIT)?;
    read(&answer[..length])
}

/// Every listening TCP socket, IPv4 and IPv6, as port and inode. The kernel keeps those apart from the connections.
pub(in super::super) fn listening() -> rustix::io::Result<Vec<(u16, u64)>> {
    let mut found = Vec::new();
    list(LISTEN, |port, inode, _| found.push((port, inode)))?;
    Ok(found)
}

/// How long ago something was sent over any of these sockets, by inode, but for those that were taken at `port`; `None`
/// if none of them is a connection.
pub(in super::super) fn last_sent(inodes: &BTreeSet<u64>, port: u16) -> rustix::io::Result<Option<Duration>> {
    let mut last: Option<Duration> = None;
    list(ESTABLISHED, |local, inode, attributes| {
        let ago = attribute(attributes, INFO).and_then(|info| number(info.get(LAST_SENT..)?));
        let ago = ago.filter(|_| local != port && inodes.contains(&inode));
        let ago = ago.map(|ago| Duration::from_millis(ago.into()));
        last = last.into_iter().chain(ago).min();
    })?;
    Ok(last)
}

/// Goes through all TCP sockets in this state, IPv4 and IPv6: the local port, the inode, the attributes.
fn list(state: u8, mut each: impl FnMut(u16, u64, &[u8])) -> rustix::io::Result<()> {
    let kernel =
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
    for any in ["0.0.0.0:0", "[::]:0"].map(|any| any.parse::<SocketAddr>()).into_iter().flatten() {
        let mut message = request(any, any);
        message[FLAGS..FLAGS + 2].copy_from_slice(&(REQUEST | DUMP).to_ne_bytes());
        message[EXTENSIONS] = 1 << (INFO - 1);
        message[STATES..STATES + 4].copy_from_slice(&(1_u32 << state).to_ne_bytes());
        send(&kernel, &message, SendFlags::empty())?;
        let mut answer = vec![0; 32 * 1024];
        let mut more = true;
        while more {
            let (length, _) = recv(&kernel, answer.as_mut_slice(), RecvFlags::DONTWAIT)?;
            more = read_all(&answer[..length], &mut each)?;
        }
    }
    Ok(())
}

fn number(at: &[u8]) -> Option<u32> {
    <[u8; 4]>::try_from(at.get(..4)?).ok().map(u32::from_ne_bytes)
}

/// Takes in a part of a list; whether more of it follows.
fn read_all(mut answer: &[u8], each: &mut impl FnMut(u16, u64, &[u8])) -> rustix::io::Result<bool> {
    while let Some(length) = number(answer).map(|length| length as usize) {
        let message = answer.get(..length).filter(|_| length >= HEADER).ok_or(Errno::PROTO)?;
        match u16::from_ne_bytes([message[4], message[5]]) {
            END => return Ok(false),
            ERROR => {
                let errno = message.get(HEADER..).and_then(number).unwrap_or_default() as i32;
                return Err(Errno::from_raw_os_error(errno.wrapping_neg()));
            }
            BY_FAMILY if length >= ANSWER => {
                let port = u16::from_be_bytes([message[PORT], message[PORT + 1]]);
                each(port, number(&message[INODE..]).unwrap_or_default().into(), &message[ANSWER..]);
            }
            _ => return Err(Errno::PROTO),
        }
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

/// The content of the attribute of this kind.
fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let head = attributes.get(..ATTRIBUTE)?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let content = attributes.get(ATTRIBUTE..length)?;
        if u16::from_ne_bytes([head[2], head[3]]) == kind {
            return Some(content);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// `nlmsghdr`, `inet_diag_req_v2` and in it `inet_diag_sockid`.
fn request(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let mut message = Vec::with_capacity(72);
    message.extend(72_u32.to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 8]); // Our sequence number, our port.
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    message.extend([u8::try_from(family.as_raw()).unwrap_or_default(), TCP, 0, 0]);
    message.extend(u32::MAX.to_ne_bytes()); // In whatever state.
    message.extend(local.port().to_be_bytes());
    message.extend(remote.port().to_be_bytes());
    for end in [local, remote] {
        let mut address = [0; 16];
        match end.ip() {
            IpAddr::V4(v4) => address[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => address.copy_from_slice(&v6.octets()),
        }
        message.extend(address);
    }
    message.extend([0; 4]); // On whatever interface.
    message.extend([0xFF; 8]); // With whatever cookie.
    message
}

fn read(answer: &[u8]) -> rustix::io::Result<Option<u64>> {
    let four = |at: usize| <[u8; 4]>::try_from(answer.get(at..at + 4)?).ok();
    let kind = answer.get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
    if kind == Some(ERROR) {
        let errno = four(HEADER).map_or(0, i32::from_ne_bytes).wrapping_neg();
        return match Errno::from_raw_os_error(errno) {
            Errno::NOENT => Ok(None),
            errno => Err(errno),
        };
    }
    if kind != Some(BY_FAMILY) || answer.len() < ANSWER {
        return Err(Errno::PROTO);
    }
    // Without such a connection, the kernel names who would accept it.
    let listens = answer.get(STATE) == Some(&LISTEN);
    let inode = four(INODE).map_or(0, u32::from_ne_bytes);
    Ok((inode != 0 && !listens).then_some(inode.into()))
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
            std::thread::sleep(Duration::from_millis(200)); // What is measured is a length of time.
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
