//! What the members of etcd answer, each asked directly: through the JSON gateway that etcd serves beside gRPC, with the
//! API server's own certificate.

use super::client::{Cluster, within};
use super::error::{Cause, ClusterError};
use super::etcd_door::EtcdDoor;
use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What the members have answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EtcdSeen {
    /// The members, as one of them lists them.
    pub(crate) members: Vec<Member>,
    /// The alarms that are raised.
    pub(crate) alarms: Vec<String>,
}

/// A member of etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its name, which need not be its node's.
    pub(crate) name: String,
    /// Where it is reached: by the other members, and by clients.
    pub(crate) urls: Vec<String>,
    /// Those of clients.
    pub(crate) clients: Vec<String>,
    /// Whether it has a vote. A learner has none yet.
    pub(crate) votes: bool,
    /// Why it is not healthy. `None` if it says that it is.
    pub(crate) ill: Option<String>,
}

impl EtcdSeen {
    /// The ports at which the members listen for each other.
    pub(crate) fn peer_ports(&self) -> BTreeSet<u16> {
        let peers = self
            .members
            .iter()
            .flat_map(|member| member.urls.iter().filter(|url| !member.clients.contains(url)));
        peers.filter_map(|url| url.parse::<http::Uri>().ok()?.port_u16()).collect()
    }
}

/// The host of a URL, if it is an address.
pub(crate) fn address_of(url: &str) -> Option<IpAddr> {
    let uri: http::Uri = url.parse().ok()?;
    let host = uri.host()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    members: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    #[serde(default)]
    name: String,
    #[serde(default, rename = "peerURLs")]
    peers: Vec<String>,
    #[serde(default, rename = "clientURLs")]
    clients: Vec<String>,
    #[serde(default)]
    is_learner: bool,
}

#[derive(Deserialize)]
struct Alarms {
    #[serde(default)]
    alarms: Vec<Alarm>,
}

#[derive(Deserialize)]
struct Alarm {
    #[serde(default)]
    alarm: String,
}

#[derive(Deserialize)]
struct Health {
    health: String,
    #[serde(default)]
    reason: String,
}

impl Cluster {
    /// Asks each member of etcd, beginning with those behind `door`.
    ///
    /// # Errors
    /// When none behind the door says who the members are.
    pub(crate) async fn etcd(&self, door: &EtcdDoor) -> Result<EtcdSeen, ClusterError> {
        let mut refused = no_way("ask etcd for its members", "the API server names no member".to_owned());
        for url in &door.servers {
            match self.etcd_through(door, url).await {
                Ok(seen) => return Ok(seen),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    async fn etcd_through(&self, door: &EtcdDoor, url: &str) -> Result<EtcdSeen, ClusterError> {
        // Not linearizable: a member without a leader tells what it knows, and the healths tell the rest.
        let list: List = self.post(door, url, "/v3/cluster/member/list", r#"{"linearizable":false}"#).await?;
        let alarms: Alarms = self.post(door, url, "/v3/maintenance/alarm", r#"{"action":"GET"}"#).await?;
        let mut members = Vec::new();
        for listed in list.members {
            members.push(Member {
                ill: self.illness(door, &listed.clients).await,
                votes: !listed.is_learner,
                name: listed.name,
                urls: [listed.peers, listed.clients.clone()].concat(),
                clients: listed.clients,
            });
        }
        Ok(EtcdSeen { members, alarms: alarms.alarms.into_iter().map(|one| one.alarm).collect() })
    }

    /// Why a member is not healthy. It is if it says so at one of its URLs.
    async fn illness(&self, door: &EtcdDoor, urls: &[String]) -> Option<String> {
        let mut ill = "it has not started yet".to_owned();
        for url in urls {
            let request = http::Request::get("/health").body(Vec::new());
            let answer: Result<Health, ClusterError> = self.send(door, url, "/health", request).await;
            match answer {
                Ok(health) if health.health == "true" => return None,
                Ok(health) => ill = format!("{url} says that it is not healthy: {}", health.reason),
                Err(error) => ill = error.to_string(),
            }
        }
        Some(ill)
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        door: &EtcdDoor,
        url: &str,
        path: &str,
        body: &str,
    ) -> Result<T, ClusterError> {
        let request = http::Request::post(path).header(http::header::CONTENT_TYPE, "application/json");
        self.send(door, url, path, request.body(body.as_bytes().to_vec())).await
    }

    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        door: &EtcdDoor,
        url: &str,
        path: &str,
        request: http::Result<http::Request<Vec<u8>>>,
    ) -> Result<T, ClusterError> {
        let attempt = format!("ask etcd at {url} for {path}");
        let request = request.map_err(|error| no_way(&attempt, error.to_string()))?;
        let client = self.client_of(door, url, &attempt)?;
        let text = within(&attempt, client.request_text(request)).await?;
        serde_json::from_str(&text)
            .map_err(|error| ClusterError { attempt, cause: Cause::Unreadable(error.to_string()) })
    }

    /// A client of the member at this URL.
    pub(super) fn client_of(
        &self,
        door: &EtcdDoor,
        url: &str,
        attempt: &str,
    ) -> Result<Client, ClusterError> {
        let to_etcd = self.to_etcd.as_ref();
        let to_etcd = to_etcd.ok_or_else(|| no_way(attempt, "there is no way to it".to_owned()))?;
        to_etcd(door, url).map_err(|why| no_way(attempt, why))
    }
}

pub(super) fn no_way(attempt: &str, why: String) -> ClusterError {
    ClusterError { attempt: attempt.to_owned(), cause: Cause::Unreachable(why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_url_is_an_address_or_none() {
        for (url, expected) in [
            ("https://10.0.0.1:2379", Some("10.0.0.1")),
            ("https://[2001:db8::1]:2380", Some("2001:db8::1")),
            ("https://etcd1.example.org:2379", None),
            ("unix:///run/etcd.sock", None),
            ("", None),
        ] {
            assert_eq!(address_of(url), expected.map(|text| text.parse().unwrap()), "{url}");
        }
    }

    #[test]
    fn what_the_gateway_leaves_out_is_none() {
        let list: List = serde_json::from_str(
            r#"{"members":[{"ID":"1","name":"cp1","peerURLs":["p"],"clientURLs":["c"]},{"peerURLs":["q"],"isLearner":true}]}"#,
        )
        .unwrap();
        assert_eq!((list.members[0].is_learner, list.members[1].is_learner), (false, true));
        assert_eq!(
            (list.members[0].clients.as_slice(), list.members[1].clients.len()),
            (&["c".to_owned()][..], 0)
        );
        assert!(serde_json::from_str::<Alarms>(r#"{"header":{}}"#).unwrap().alarms.is_empty());
    }
}
