//! One connection, looked up in the kernel (`sock_diag(7)`): microseconds, where reading the table in
//! `/proc/net/tcp` walks through the hash of all connections of the machine, some 10 ms.

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::net::{IpAddr, SocketAddr};

/// `SOCK_DIAG_BY_FAMILY`, `NLM_F_REQUEST`, `NLMSG_ERROR`.
const BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
const ERROR: u16 = 2;
/// The states of linux/tcp_states.h.
const LISTEN: u8 = 10;
const TCP: u8 = 6;
/// The length of `nlmsghdr`; that of an answer with it, `inet_diag_msg`.
const HEADER: usize = 16;
const ANSWER: usize = HEADER + 72;
/// Where in an answer the state is, and the inode.
const STATE: usize = HEADER + 1;
const INODE: usize = HEADER + 68;

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
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

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
