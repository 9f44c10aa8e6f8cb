//! Ports of clients whose connections are reset, in the kernel's connection tracking (`ctnetlink`).
//!
//! An API server resets a connection whenever it closes first. The kernel then knows the connection for 10 s,
//! and takes what comes from the client's port meanwhile for a part of it. A client that takes that port for
//! a new connection arrives where the old one led, translated or not as that was. If the server there has
//! gone, the client is refused. This does not happen if the kernel has seen an orderly close begin: then a
//! SYN makes a new connection. The kernel notes that by a flag, and the flag can be set.

use super::netlink::{Netlink, attribute, find, nested};
use rustix::io::Errno;
use rustix::net::{AddressFamily, netlink};

/// `NFNL_SUBSYS_CTNETLINK << 8` with `IPCTNL_MSG_CT_GET`, and with `IPCTNL_MSG_CT_NEW`, which changes an
/// entry unless it is told to create one.
const GET: u16 = 0x101;
const CHANGE: u16 = 0x100;
/// The length of `nfgenmsg`, which begins with the address family.
const FAMILY: usize = 4;
/// `CTA_TUPLE_REPLY`: the addresses of the server's packets. They do not depend on how the client's were
/// translated.
const REPLY: u16 = 2;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL: u16 = 1;
const SOURCE_PORT: u16 = 2;
/// `CTA_PROTOINFO`, `CTA_PROTOINFO_TCP`, `CTA_PROTOINFO_TCP_FLAGS_ORIGINAL`.
const PROTOCOL_INFO: u16 = 4;
const TCP_INFO: u16 = 1;
const FLAGS_ORIGINAL: u16 = 4;
/// `CTA_ZONE`: tuples are unique in their zone only.
const ZONE: u16 = 18;
/// `IP_CT_TCP_FLAG_CLOSE_INIT`.
const CLOSE_BEGUN: u8 = 0x04;
const TCP: u8 = 6;

/// For each tracked connection to this port: once it is closed, what comes from the other end's port is a new
/// connection. Returns how many connections there are. Those that pass this machine on their way to a port of
/// the same number on another one are among them; it does them no harm.
pub(in crate::host) fn release_ports(port: u16) -> rustix::io::Result<usize> {
    let kernel = Netlink::open(netlink::NETFILTER)?;
    let any = [u8::try_from(AddressFamily::UNSPEC.as_raw()).unwrap_or_default(), 0, 0, 0];
    let mut changes = Vec::new();
    kernel.list(GET, &any, |connection| changes.extend(change(connection, port)))?;
    let mut outcome = Ok(changes.len());
    for change in &changes {
        match kernel.act(CHANGE, change, |_| ()) {
            Ok(()) | Err(Errno::NOENT) => {} // It has been forgotten meanwhile.
            // The others may still succeed.
            Err(errno) => outcome = Err(errno),
        }
    }
    outcome
}

/// What to ask of the kernel for this connection, if it is one to `port`.
fn change(connection: &[u8], port: u16) -> Option<Vec<u8>> {
    let (family, attributes) = connection.split_at_checked(FAMILY)?;
    let reply = find(attributes, REPLY)?;
    let protocol = find(reply, TUPLE_PROTOCOL)?;
    let is_meant = find(protocol, PROTOCOL)? == [TCP] && find(protocol, SOURCE_PORT)? == port.to_be_bytes();
    // The value of the flag, and the mask.
    let flags = attribute(FLAGS_ORIGINAL, &[CLOSE_BEGUN, CLOSE_BEGUN]);
    let info = nested(PROTOCOL_INFO, &nested(TCP_INFO, &flags));
    let zone = find(attributes, ZONE).map(|zone| attribute(ZONE, zone)).unwrap_or_default();
    is_meant.then(|| [family, &nested(REPLY, reply), &zone, &info].concat())
}
