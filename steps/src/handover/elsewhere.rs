//! The control planes of the other nodes, each asked directly: whether the cluster can spare this node's for a moment.

use crate::check::Check;
use crate::cluster::{ClusterError, EtcdDoor, EtcdSeen, address_of, addresses};
use crate::component::Component;
use crate::host::{Host, Question};
use crate::look::answered;
use crate::manifest::StaticPod;
use crate::site::Site;
use fulcrum_engine::{Look, Pending};
use std::net::{IpAddr, SocketAddr};

/// What was seen of the other nodes.
#[derive(Debug, Clone)]
pub(crate) struct Elsewhere {
    /// The API servers of the other nodes. Empty where this is the only one.
    pub(crate) servers: Vec<ServerSeen>,
    /// The members of etcd. `None` where this is the only control-plane node: there is nothing to spare.
    pub(crate) etcd: Option<Result<EtcdSeen, ClusterError>>,
    /// This node.
    pub(crate) own: OwnEtcd,
}

/// What tells whether a member of etcd is on this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct OwnEtcd {
    /// The node's addresses, as the cluster knows them.
    pub(crate) addresses: Vec<IpAddr>,
    /// Whether a process of this host listens at the port at which members listen for each other.
    pub(crate) listens: bool,
}

/// Another node's API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerSeen {
    /// The node.
    pub(crate) node: String,
    /// Why it is not ready. `None` if it says that it is.
    pub(crate) not_ready: Option<String>,
}

/// Looks at the other nodes. `server` is the manifest of this node's API server.
pub(crate) async fn elsewhere(site: &Site, server: &StaticPod) -> Look<Elsewhere> {
    elsewhere_at(site, server.port(), &door(server)).await
}

/// As [`elsewhere`], where the port of the API servers and their way to etcd are known.
pub(crate) async fn elsewhere_at(site: &Site, port: u16, door: &EtcdDoor) -> Look<Elsewhere> {
    let nodes = answered(site.cluster.nodes_with(&site.settings.role_label).await)?;
    let mut servers = Vec::new();
    for node in nodes {
        let name = node.metadata.name.clone().unwrap_or_default();
        if name == site.settings.node {
            continue;
        }
        let not_ready = match addresses(&node).first() {
            Some(address) => {
                let address = SocketAddr::new(*address, port);
                server_not_ready(site.node.host.as_ref(), address).await
            }
            None => Some("the cluster knows no address of the node".to_owned()),
        };
        servers.push(ServerSeen { node: name, not_ready });
    }
    let etcd = match servers.is_empty() {
        true => None,
        false => Some(site.cluster.etcd(door).await),
    };
    let mut own = OwnEtcd { addresses: site.settings.node_addresses.clone(), listens: false };
    for port in etcd.iter().flatten().flat_map(EtcdSeen::peer_ports) {
        own.listens |= !site.node.host.listeners(port).await?.is_empty();
    }
    Ok(Elsewhere { servers, etcd, own })
}

/// Why an API server is not ready, asked itself: a balancer would ask one that is ready. `None` if it says that it is.
pub(crate) async fn server_not_ready(host: &dyn Host, address: SocketAddr) -> Option<String> {
    let question = Question { address, path: "/readyz".to_owned(), tls: true, mark: None };
    match host.ask(&question).await {
        Ok(answer) if answer.status == 200 => None,
        Ok(answer) => Some(format!("{address} answers {} to {}", answer.status, question.path)),
        Err(error) => Some(error.to_string()),
    }
}

/// The way of this API server to etcd.
pub(crate) fn door(server: &StaticPod) -> EtcdDoor {
    let file = |flag: &str| server.flag(flag).map(Into::into);
    let servers = server.flag("etcd-servers").unwrap_or_default();
    EtcdDoor {
        servers: servers.split(',').filter(|url| !url.is_empty()).map(str::to_owned).collect(),
        ca: file("etcd-cafile"),
        certificate: file("etcd-certfile"),
        key: file("etcd-keyfile"),
    }
}

impl Elsewhere {
    /// Whether every other API server is ready. What is seen in words, either way.
    pub(crate) fn servers_ready(&self) -> Result<String, String> {
        let bad: Vec<String> = self
            .servers
            .iter()
            .filter_map(|server| Some(format!("that of {}: {}", server.node, server.not_ready.as_ref()?)))
            .collect();
        match (bad.is_empty(), self.servers.as_slice()) {
            (false, _) => Err(format!("an API server of another node is not ready: {}", bad.join("; "))),
            (true, []) => Ok("there is no other API server".to_owned()),
            (true, servers) => {
                let names: Vec<&str> = servers.iter().map(|server| server.node.as_str()).collect();
                Ok(format!("the API servers of {} are ready", names.join(", ")))
            }
        }
    }

    /// Whether etcd keeps its quorum without this node. What is seen in words, either way.
    pub(crate) fn quorum_kept(&self) -> Result<String, String> {
        match &self.etcd {
            None => Ok("there is no other control-plane node".to_owned()),
            Some(Ok(seen)) => quorum(seen, &self.own),
            Some(Err(error)) => Err(format!("etcd could not be asked: {error}")),
        }
    }
}

/// Whether etcd has a vote to spare: `voting - lost >= voting / 2 + 1`. Lost are the members that are not healthy, and
/// this node's own, as if it went with its node. One or two members have none to spare at any time: they must be
/// healthy. Members are matched with the node by their addresses; names are free. This node's own may be behind a URL that
/// has a name for a host, or an address that the cluster does not know as the node's: then a process listens here.
fn quorum(seen: &EtcdSeen, own: &OwnEtcd) -> Result<String, String> {
    if !seen.alarms.is_empty() {
        return Err(format!("etcd has raised an alarm: {}", seen.alarms.join(", ")));
    }
    let voting: Vec<_> = seen.members.iter().filter(|member| member.votes).collect();
    let hosts = |urls: &[String]| urls.iter().map(|url| address_of(url)).collect::<Vec<_>>();
    let is_own = |urls: &[String]| {
        hosts(urls)
            .iter()
            .flatten()
            .any(|host| own.addresses.iter().any(|own| own.to_canonical() == host.to_canonical()))
    };
    let unclear = voting.iter().any(|member| hosts(&member.urls).iter().all(Option::is_none));
    let ill: Vec<_> = voting.iter().filter(|member| member.ill.is_some()).collect();
    let own_goes = voting.len() > 2
        && (voting.iter().any(|member| is_own(&member.urls) && member.ill.is_none())
            || (unclear || own.listens) && !voting.iter().any(|member| is_own(&member.urls)));
    let lost = ill.len() + usize::from(own_goes);
    let needed = voting.len() / 2 + 1;
    let stories: Vec<String> = ill
        .iter()
        .map(|member| format!("{} ({})", member.name, member.ill.as_deref().unwrap_or_default()))
        .collect();
    let healthy = voting.len() - ill.len();
    if voting.is_empty() || voting.len().saturating_sub(lost) < needed {
        let which = if stories.is_empty() { String::new() } else { format!("; not: {}", stories.join(", ")) };
        return Err(format!(
            "etcd has no member to spare: {healthy} of {} are healthy, and without this node's {needed} must be{which}",
            voting.len()
        ));
    }
    Ok(format!("{healthy} of etcd's {} members are healthy, and {needed} are needed", voting.len()))
}

/// Whether the cluster can spare this node's API server for a moment: asked again before each cut.
pub(crate) async fn can_be_spared(site: &Site, server: &StaticPod) -> Look<()> {
    debug_assert_eq!(server.component(), Component::ApiServer);
    let seen = elsewhere(site, server).await?;
    seen.quorum_kept().map_err(Pending::NotYet)?;
    if site.settings.ignored.has(Check::ApiServers) {
        return Ok(());
    }
    seen.servers_ready().map(drop).map_err(Pending::NotYet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Member;

    const OWN: &str = "10.0.0.1";

    fn member(name: &str, host: &str, ill: bool) -> Member {
        Member {
            name: name.to_owned(),
            urls: vec![format!("https://{host}:2380"), format!("https://{host}:2379")],
            clients: vec![format!("https://{host}:2379")],
            votes: true,
            ill: ill.then(|| "no answer".to_owned()),
        }
    }

    /// Members at 10.0.0.1 and so on; `ill` are the last octets of those that are not healthy.
    fn of(members: u8, ill: &[u8]) -> EtcdSeen {
        let members = (1..=members)
            .map(|n| member(&format!("m{n}"), &format!("10.0.0.{n}"), ill.contains(&n)))
            .collect();
        EtcdSeen { members, alarms: Vec::new() }
    }

    fn own(listens: bool) -> OwnEtcd {
        OwnEtcd { addresses: vec![OWN.parse().unwrap()], listens }
    }

    fn spare(seen: &EtcdSeen) -> bool {
        quorum(seen, &own(true)).is_ok()
    }

    #[test]
    fn etcd_must_keep_its_quorum_without_this_node() {
        for (members, ill, expected) in [
            (1, &[][..], true),
            (1, &[1], false),
            (2, &[], true),
            (2, &[2], false),
            (3, &[], true),
            (3, &[1], true),
            (3, &[2], false),
            (3, &[1, 2], false),
            (4, &[], true),
            (4, &[2], false),
            (5, &[2], true),
            (5, &[2, 3], false),
            (5, &[1, 2], true),
        ] {
            assert_eq!(spare(&of(members, ill)), expected, "{members} {ill:?}");
        }
        assert!(!spare(&EtcdSeen { members: Vec::new(), alarms: Vec::new() }));
    }

    #[test]
    fn an_alarm_and_an_etcd_that_cannot_be_asked_refuse() {
        let mut seen = of(3, &[]);
        seen.alarms.push("NOSPACE".to_owned());
        let said = quorum(&seen, &own(true)).unwrap_err();
        assert!(said.contains("NOSPACE"), "{said}");
        let error = ClusterError {
            attempt: "ask".to_owned(),
            cause: crate::cluster::Cause::Unreachable("x".to_owned()),
        };
        let silent = Elsewhere { servers: Vec::new(), etcd: Some(Err(error)), own: own(true) };
        assert!(silent.quorum_kept().unwrap_err().contains("could not be asked"));
        assert!(Elsewhere { servers: Vec::new(), etcd: None, own: own(true) }.quorum_kept().is_ok());
    }

    /// Members are known by where they are. A name may be anything, even another node's.
    #[test]
    fn members_are_matched_by_address() {
        let mut seen = of(3, &[2]);
        for (member, name) in seen.members.iter_mut().zip(["node-2", "node-1", "node-3"]) {
            name.clone_into(&mut member.name);
        }
        assert!(!spare(&seen));
        seen = of(3, &[1]);
        assert!(spare(&seen), "the one that is ill is this node's own");
        // Outside of the nodes: one that is ill can be spared, for this node has none. If one listens here, they have
        // addresses of their own, in another network.
        for (member, host) in seen.members.iter_mut().zip(["10.9.0.1", "10.9.0.2", "10.9.0.3"]) {
            *member = self::member(&member.name, host, member.ill.is_some());
        }
        assert!(quorum(&seen, &own(false)).is_ok());
        assert!(quorum(&seen, &own(true)).is_err());
        // By names nobody can tell: this node's own may be one of the healthy ones.
        for member in &mut seen.members {
            *member =
                self::member(&member.name, &format!("{}.example.org", member.name), member.ill.is_some());
        }
        assert!(quorum(&seen, &own(false)).is_err());
    }

    #[test]
    fn a_learner_has_no_vote() {
        let mut seen = of(4, &[4]);
        seen.members[3].votes = false;
        assert!(spare(&seen));
        seen.members[2].ill = Some("x".to_owned());
        assert!(!spare(&seen));
    }

    #[test]
    fn a_server_that_is_not_ready_is_named() {
        let server = |node: &str, not_ready: Option<&str>| ServerSeen {
            node: node.to_owned(),
            not_ready: not_ready.map(str::to_owned),
        };
        let seen = |servers| Elsewhere { servers, etcd: None, own: own(false) }.servers_ready();
        assert_eq!(seen(vec![server("cp2", None)]), Ok("the API servers of cp2 are ready".to_owned()));
        let said = seen(vec![server("cp2", None), server("cp3", Some("it answers 500"))]).unwrap_err();
        assert!(said.ends_with("that of cp3: it answers 500"), "{said}");
        assert!(seen(Vec::new()).is_ok());
    }
}
