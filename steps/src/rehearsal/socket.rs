//! Listening sockets: who may share a port, and who answers.

use super::program::Port;
use std::net::{IpAddr, SocketAddr};

/// A listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) port: Port,
    pub(super) pid: u32,
    /// Grows: an older socket has a smaller one.
    pub(super) inode: u64,
    /// `SO_REUSEPORT` is set.
    pub(super) shareable: bool,
}

/// All listening sockets of the machine, oldest first.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    list: Vec<Socket>,
    last_inode: u64,
}

/// `EADDRINUSE`: this process has the port and does not share it, or the new one does not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InUse {
    pub(super) port: u16,
    pub(super) by: u32,
}

impl Sockets {
    /// Listens on all ports or on none.
    pub(super) fn listen(&mut self, pid: u32, ports: &[Port], shareable: bool) -> Result<(), InUse> {
        for port in ports {
            let taken = |s: &&Socket| s.port.number == port.number && overlap(s.port.bind, port.bind);
            if let Some(other) = self.list.iter().filter(taken).find(|s| !(s.shareable && shareable)) {
                return Err(InUse { port: port.number, by: other.pid });
            }
        }
        for port in ports {
            self.last_inode += 1;
            self.list.push(Socket { port: port.clone(), pid, inode: self.last_inode, shareable });
        }
        Ok(())
    }

    pub(super) fn close_of(&mut self, pid: u32) {
        self.list.retain(|socket| socket.pid != pid);
    }

    pub(super) fn of(&self, pid: u32) -> impl Iterator<Item = &Socket> {
        self.list.iter().filter(move |s| s.pid == pid)
    }

    pub(super) fn on(&self, number: u16) -> impl Iterator<Item = &Socket> {
        self.list.iter().filter(move |s| s.port.number == number)
    }

    /// Where a connection to `address` may end, on a machine with the address `own`.
    pub(super) fn accepting(&self, address: SocketAddr, own: IpAddr) -> Vec<&Socket> {
        let local = address.ip().is_loopback() || address.ip() == own || address.ip().is_unspecified();
        let fits = |bind: IpAddr| bind.is_unspecified() || bind == address.ip();
        self.on(address.port()).filter(|s| local && fits(s.port.bind)).collect()
    }
}

fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a == b || a.is_unspecified() || b.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16, bind: &str) -> Vec<Port> {
        vec![Port { number, bind: bind.parse().unwrap(), tls: true }]
    }

    #[test]
    fn a_port_is_shared_only_if_all_share_it() {
        let mut sockets = Sockets::default();
        assert_eq!(sockets.listen(1, &port(6443, "::"), true), Ok(()));
        assert_eq!(sockets.listen(2, &port(6443, "::"), true), Ok(()));
        assert_eq!(sockets.listen(3, &port(6443, "10.0.0.1"), false), Err(InUse { port: 6443, by: 1 }));
        sockets.close_of(1);
        sockets.close_of(2);
        assert_eq!(sockets.listen(3, &port(6443, "10.0.0.1"), false), Ok(()));
        assert_eq!(sockets.listen(4, &port(6443, "127.0.0.1"), false), Ok(()));
        let own = "10.0.0.1".parse().unwrap();
        let to =
            |a: &str| sockets.accepting(a.parse().unwrap(), own).iter().map(|s| s.pid).collect::<Vec<_>>();
        assert_eq!(to("10.0.0.1:6443"), [3]);
        assert_eq!(to("127.0.0.1:6443"), [4]);
        assert!(to("10.0.0.2:6443").is_empty());
    }
}
