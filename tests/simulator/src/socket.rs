//! Listening sockets: which may share a port, and which answers. The rules are the kernel's, as `host/kernel`
//! found them.

use super::program::Port;
use fulcrum_steps::host::{MARK_NEWCOMER, MARK_SERVING, Redirect, RedirectState, Steering};
use std::net::{IpAddr, SocketAddr};

/// A listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) port: Port,
    pub(super) pid: u32,
    /// Grows: an older socket has a smaller inode.
    pub(super) inode: u64,
    /// `SO_REUSEPORT` is set.
    pub(super) shareable: bool,
}

/// All listening sockets of the machine, oldest first, and the rules for connections.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    list: Vec<Socket>,
    groups: Vec<Group>,
    redirect: Option<Redirect>,
    /// The rules of a redirect have gone, its table has not.
    redirect_ended: bool,
    last_inode: u64,
}

/// The sockets of one address and port. The group goes, and its program with it, when the last of them
/// closes.
#[derive(Debug)]
struct Group {
    address: SocketAddr,
    /// Inodes. A socket that joins gets the next place. When one closes, the last takes its place.
    places: Vec<u64>,
    picks: Option<Picks>,
}

/// A program, by places.
#[derive(Debug, Clone, Copy)]
struct Picks {
    serving: usize,
    newcomer: usize,
    /// The newcomer gets connections to loopback addresses.
    loopback: bool,
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
            let address = SocketAddr::new(port.bind, port.number);
            match self.groups.iter_mut().find(|group| group.address == address) {
                Some(group) => group.places.push(self.last_inode),
                None => self.groups.push(Group { address, places: vec![self.last_inode], picks: None }),
            }
            self.list.push(Socket { port: port.clone(), pid, inode: self.last_inode, shareable });
        }
        Ok(())
    }

    pub(super) fn close_of(&mut self, pid: u32) {
        for closed in self.list.extract_if(.., |socket| socket.pid == pid) {
            for group in &mut self.groups {
                if let Some(place) = group.places.iter().position(|inode| *inode == closed.inode) {
                    group.places.swap_remove(place);
                }
            }
        }
        self.groups.retain(|group| !group.places.is_empty());
    }

    pub(super) fn of(&self, pid: u32) -> impl Iterator<Item = &Socket> {
        self.list.iter().filter(move |s| s.pid == pid)
    }

    pub(super) fn on(&self, number: u16) -> impl Iterator<Item = &Socket> {
        self.list.iter().filter(move |s| s.port.number == number)
    }

    /// Every socket that a connection to `address` may end at, oldest first.
    pub(super) fn reachable(&self, address: SocketAddr, own: IpAddr) -> impl Iterator<Item = &Socket> {
        let address = self.redirected(address, None, own);
        let fits = move |bind: IpAddr| bind.is_unspecified() || bind == address.ip();
        let local = is_local(address.ip(), own);
        self.on(address.port()).filter(move |socket| local && fits(socket.port.bind))
    }

    pub(super) fn get_mut(&mut self, pid: u32, inode: u64) -> Option<&mut Socket> {
        self.list.iter_mut().find(|s| s.pid == pid && s.inode == inode)
    }

    /// The socket that gets a new connection to `address`, on a machine with the address `own`.
    pub(super) fn pick(
        &self,
        address: SocketAddr,
        mark: Option<u32>,
        own: IpAddr,
        random: &mut fastrand::Rng,
    ) -> Option<&Socket> {
        let address = self.redirected(address, mark, own);
        if !is_local(address.ip(), own) {
            return None;
        }
        // A socket that is bound to this very address has precedence over those that take any.
        let on = |ip: IpAddr| self.groups.iter().find(|g| g.address == SocketAddr::new(ip, address.port()));
        let any = || self.groups.iter().find(|g| g.takes_any() && g.address.port() == address.port());
        let group = on(address.ip()).or_else(any)?;
        let steered = group.picks.and_then(|picks| group.places.get(picks.place(address.ip(), mark)));
        let inode = steered.copied().or_else(|| random.choice(group.places.iter().copied()))?;
        self.list.iter().find(|socket| socket.inode == inode)
    }

    /// Whether this process would meet itself at its own loopback address. Always, if no rule decides.
    pub(super) fn meets_itself(&self, pid: u32) -> bool {
        self.of(pid).all(|socket| {
            let steered = self.groups.iter().filter(|group| group.takes_any()).find_map(|group| {
                let picks = group.picks.filter(|_| group.places.contains(&socket.inode))?;
                group.places.get(picks.place(IpAddr::from([127, 0, 0, 1]), None))
            });
            steered.is_none_or(|inode| *inode == socket.inode)
        })
    }

    /// Sets the rule for the group that has exactly these sockets.
    pub(super) fn steer(&mut self, members: &[u64], steering: Option<Steering>) -> Result<(), String> {
        let group = self.group_mut(members).ok_or("these sockets are no group, or not all of it")?;
        let place = |inode: u64| {
            let found = group.places.iter().position(|other| *other == inode);
            found
                .ok_or_else(|| format!("the socket with inode {inode} is not one of those that listen there"))
        };
        group.picks = match steering {
            None => None,
            Some(Steering::To { serving }) => {
                let serving = place(serving)?;
                Some(Picks { serving, newcomer: serving, loopback: false })
            }
            Some(Steering::Prefer { serving, newcomer }) => {
                let newcomer = newcomer.map_or(Ok(group.places.len()), place)?;
                Some(Picks { serving: place(serving)?, newcomer, loopback: true })
            }
        };
        let shared = |inode: &u64| self.list.iter().any(|s| s.inode == *inode && s.shareable);
        if members.iter().all(shared) {
            return Ok(());
        }
        if let Some(group) = self.group_mut(members) {
            group.picks = None;
        }
        Err("a socket that listens there is not shared: share it first".to_owned())
    }

    /// The rule for these sockets, as far as it can be told from outside.
    pub(super) fn steering(&mut self, members: &[u64]) -> Option<Steering> {
        let group = self.group_mut(members).filter(|group| group.places.len() > 1)?;
        let picks = group.picks?;
        let serving = *group.places.get(picks.serving)?;
        let newcomer = *group.places.get(picks.newcomer)?;
        Some(match serving == newcomer {
            true => Steering::To { serving },
            false => Steering::Prefer { serving, newcomer: Some(newcomer) },
        })
    }

    pub(super) fn redirect(&mut self, redirect: Option<Redirect>) {
        self.redirect_ended = redirect.is_none() && self.redirect_state() != RedirectState::Absent;
        self.redirect = redirect;
    }

    pub(super) fn forget_redirect(&mut self) {
        (self.redirect, self.redirect_ended) = (None, false);
    }

    pub(super) fn redirect_state(&self) -> RedirectState {
        match (&self.redirect, self.redirect_ended) {
            (Some(_), _) => RedirectState::Active,
            (None, true) => RedirectState::Ended,
            (None, false) => RedirectState::Absent,
        }
    }

    fn group_mut(&mut self, members: &[u64]) -> Option<&mut Group> {
        let all = |group: &&mut Group| {
            group.places.len() == members.len() && group.places.iter().all(|inode| members.contains(inode))
        };
        self.groups.iter_mut().find(all)
    }

    fn redirected(&self, address: SocketAddr, mark: Option<u32>, own: IpAddr) -> SocketAddr {
        if matches!(mark, Some(MARK_NEWCOMER | MARK_SERVING)) {
            return address;
        }
        match &self.redirect {
            Some(r) if r.services.contains(&address) => SocketAddr::new(r.address, r.to),
            Some(r)
                if address.port() == r.port && is_local(address.ip(), own) && !address.ip().is_loopback() =>
            {
                SocketAddr::new(address.ip(), r.to)
            }
            _ => address,
        }
    }
}

impl Group {
    fn takes_any(&self) -> bool {
        self.address.ip().is_unspecified()
    }
}

impl Picks {
    fn place(&self, destination: IpAddr, mark: Option<u32>) -> usize {
        match mark {
            Some(MARK_NEWCOMER) => self.newcomer,
            Some(MARK_SERVING) => self.serving,
            _ if self.loopback && destination.is_loopback() => self.newcomer,
            _ => self.serving,
        }
    }
}

fn is_local(ip: IpAddr, own: IpAddr) -> bool {
    ip.is_loopback() || ip == own || ip.is_unspecified()
}

fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a == b || a.is_unspecified() || b.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn port(number: u16, bind: &str) -> Vec<Port> {
        vec![Port { number, bind: bind.parse().unwrap(), tls: true }]
    }

    /// The pids that connections to this address reach.
    fn to(sockets: &Sockets, address: &str, mark: Option<u32>) -> Vec<u32> {
        let (own, mut random) = ("10.0.0.1".parse().unwrap(), fastrand::Rng::with_seed(7));
        let mut pick = || Some(sockets.pick(address.parse().unwrap(), mark, own, &mut random)?.pid);
        (0..64).filter_map(|_| pick()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    #[test]
    fn a_port_is_shared_only_if_all_share_it() {
        let mut sockets = Sockets::default();
        assert_eq!(sockets.listen(1, &port(6443, "::"), false), Ok(()));
        assert_eq!(sockets.listen(2, &port(6443, "::"), true), Err(InUse { port: 6443, by: 1 }));
        sockets.get_mut(1, 1).unwrap().shareable = true;
        assert_eq!(sockets.listen(2, &port(6443, "::"), true), Ok(()));
        assert_eq!(to(&sockets, "10.0.0.1:6443", None), [1, 2]);
        assert_eq!(sockets.listen(3, &port(6443, "10.0.0.1"), false), Err(InUse { port: 6443, by: 1 }));
        sockets.close_of(1);
        sockets.close_of(2);
        assert_eq!(sockets.listen(3, &port(6443, "10.0.0.1"), false), Ok(()));
        assert_eq!(sockets.listen(4, &port(6443, "127.0.0.1"), false), Ok(()));
        assert_eq!(to(&sockets, "10.0.0.1:6443", None), [3]);
        assert_eq!(to(&sockets, "127.0.0.1:6443", None), [4]);
        assert!(to(&sockets, "10.0.0.2:6443", None).is_empty());
    }

    #[test]
    fn a_program_names_places() {
        let mut sockets = Sockets::default();
        let (node, own) = ("10.0.0.1:6443", "127.0.0.1:6443");
        for pid in [1, 2, 3] {
            sockets.listen(pid, &port(6443, "::"), true).unwrap();
        }
        let prefer = Steering::Prefer { serving: 1, newcomer: Some(3) };
        assert!(sockets.steer(&[1, 2], Some(prefer)).is_err(), "not the whole group");
        sockets.steer(&[1, 2, 3], Some(prefer)).unwrap();
        assert_eq!(to(&sockets, node, None), [1]);
        assert_eq!([to(&sockets, own, None), to(&sockets, node, Some(MARK_NEWCOMER))], [[3], [3]]);
        assert!(sockets.meets_itself(3) && !sockets.meets_itself(2));
        assert_eq!(sockets.steering(&[3, 2, 1]), Some(prefer));
        sockets.close_of(1);
        // The last has taken the place of the first, and no socket is at its own.
        assert_eq!((to(&sockets, node, None), to(&sockets, own, None)), (vec![3], vec![2, 3]));
        sockets.steer(&[2, 3], Some(Steering::To { serving: 2 })).unwrap();
        assert_eq!([to(&sockets, node, None), to(&sockets, own, None)], [[2], [2]]);
        sockets.close_of(2);
        sockets.close_of(3);
        sockets.listen(4, &port(6443, "::"), true).unwrap();
        sockets.listen(5, &port(6443, "::"), true).unwrap();
        assert_eq!(to(&sockets, node, None), [4, 5], "the program has gone with the last socket");
    }

    #[test]
    fn a_redirect_leaves_loopback_and_marks_alone() {
        let mut sockets = Sockets::default();
        sockets.listen(1, &port(6443, "::"), true).unwrap();
        sockets.listen(2, &port(16443, "::"), true).unwrap();
        let services = vec!["10.96.0.1:443".parse().unwrap()];
        let redirect = Redirect { port: 6443, to: 16443, services, address: "10.0.0.1".parse().unwrap() };
        sockets.redirect(Some(redirect));
        assert_eq!([to(&sockets, "10.0.0.1:6443", None), to(&sockets, "10.96.0.1:443", None)], [[2], [2]]);
        assert_eq!(to(&sockets, "127.0.0.1:6443", None), [1]);
        assert_eq!(to(&sockets, "10.0.0.1:6443", Some(MARK_SERVING)), [1]);
        sockets.redirect(None);
        assert_eq!(
            (to(&sockets, "10.0.0.1:6443", None), sockets.redirect_state()),
            (vec![1], RedirectState::Ended)
        );
        sockets.forget_redirect();
        assert_eq!(sockets.redirect_state(), RedirectState::Absent);
    }
}
