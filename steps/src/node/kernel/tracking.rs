//! Ports of clients whose connections are about to be reset, in the kernel's connection tracking (`ctnetlink`).
//!
//! A connection that a server has reset, as an API server does whenever it closes first, is known for 10 s, and what comes
//! from the same port meanwhile is taken for a part of it: a client that happens to take that port for a new connection
//! arrives where the old one led, translated or not as that was. If the server there has gone, it is refused. Not so if the
//! kernel has seen an orderly close begin: then a SYN makes a new connection of it. It notes that by a flag, which can
//! be set.

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::net::{IpAddr, SocketAddr};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW`, which changes what is there unless it is told to create.
const CHANGE: u16 = 0x100;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const REQUEST: u16 = 0x5;
/// The lengths of `nlmsghdr` and `nfgenmsg`; `NLMSG_ERROR`, which also says that it is done.
const HEADER: usize = 16;
const FAMILY: usize = 4;
const OUTCOME: u16 = 2;
/// `CTA_TUPLE_REPLY`: as the server's packets are addressed, which is the same however the client's were translated.
const REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
/// `CTA_PROTOINFO`, `CTA_PROTOINFO_TCP`, `CTA_PROTOINFO_TCP_FLAGS_ORIGINAL`.
const PROTOCOL_INFO: u16 = 4;
const TCP_INFO: u16 = 1;
const FLAGS_ORIGINAL: u16 = 4;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// `IP_CT_TCP_FLAG_CLOSE_INIT`.
const CLOSE_BEGUN: u8 = 0x04;
const TCP: u8 = 6;

/// What comes from the other end's port once it is closed is a new connection, for each of these connections (the server's
/// end, the client's). Says how many of them are tracked.
pub(in crate::node) fn release_ports(connections: &[(SocketAddr, SocketAddr)]) -> rustix::io::Result<usize> {
    let kernel =
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::NETFILTER))?;
    let mut known = 0;
    for (server, client) in connections {
        send(&kernel, &request(*server, *client), SendFlags::empty())?;
        let mut answer = [0; 512];
        // The kernel has answered before `send` returned.
        let (length, _) = recv(&kernel, &mut answer, RecvFlags::DONTWAIT)?;
        match outcome(&answer[..length]) {
            Ok(()) => known += 1,
            Err(Errno::NOENT) => {} // It is not tracked.
            Err(errno) => return Err(errno),
        }
    }
    Ok(known)
}

fn outcome(answer: &[u8]) -> rustix::io::Result<()> {
    let kind = answer.get(4..6).filter(|kind| *kind == OUTCOME.to_ne_bytes());
    let errno = answer.get(HEADER..HEADER + 4).filter(|_| kind.is_some());
    match errno.and_then(|errno| errno.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(errno) => Err(Errno::from_raw_os_error(errno.wrapping_neg())),
        None => Err(Errno::PROTO),
    }
}

fn request(server: SocketAddr, client: SocketAddr) -> Vec<u8> {
    let (family, addresses) = match (server.ip(), client.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            (AddressFamily::INET, [attribute(1, &from.octets()), attribute(2, &to.octets())].concat())
        }
        (from, to) => {
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            (AddressFamily::INET6, [attribute(3, &octets(from)), attribute(4, &octets(to))].concat())
        }
    };
    let ports = [
        attribute(PROTOCOL, &[TCP]),
        attribute(SOURCE_PORT, &server.port().to_be_bytes()),
        attribute(DESTINATION_PORT, &client.port().to_be_bytes()),
    ];
    let tuple = [nested(TUPLE_IP, &addresses), nested(TUPLE_PROTOCOL, &ports.concat())].concat();
    // The flag, and which flags are meant.
    let flags = attribute(FLAGS_ORIGINAL, &[CLOSE_BEGUN, CLOSE_BEGUN]);
    let body = [nested(REPLY, &tuple), nested(PROTOCOL_INFO, &nested(TCP_INFO, &flags))].concat();
    let length = u32::try_from(HEADER + FAMILY + body.len()).unwrap_or_default();
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(CHANGE.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 8]); // Our sequence number, our port.
    message.extend([u8::try_from(family.as_raw()).unwrap_or_default(), 0, 0, 0]);
    message.extend(body);
    message
}

fn nested(kind: u16, content: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, content)
}

/// An `nlattr` with its content, padded to where the next one begins.
fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + content.len()).unwrap_or_default();
    let mut attribute = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    attribute.extend(content);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}
