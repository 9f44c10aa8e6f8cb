//! What a member of a stacked etcd answers over HTTP: its health, and the JSON of its gRPC gateway.
//!
//! Every node has a member, whether or not it runs. A member without a leader answers what it knows by
//! itself, and refuses what all must agree on.

use fulcrum_steps::upgrade::EtcdVersion;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

/// An alarm that etcd's members report until a person takes it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// The database has reached its quota. (Writes go on here.)
    NoSpace,
    /// A member's data differs from the others'.
    Corrupt,
}

impl Alarm {
    fn word(self) -> &'static str {
        match self {
            Self::NoSpace => "NOSPACE",
            Self::Corrupt => "CORRUPT",
        }
    }
}

/// A member, as far as others can tell.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) address: IpAddr,
    /// Whether it runs with the majority.
    pub(super) has_leader: bool,
    /// The version of its program, if it runs.
    pub(super) version: Option<EtcdVersion>,
}

/// The answer of the member with this number, which runs: status and body.
pub(super) fn answer(
    members: &[Member],
    number: usize,
    alarm: Option<Alarm>,
    (method, path): (&str, &str),
) -> (u16, Value) {
    let has_leader = members.get(number).is_some_and(|own| own.has_leader);
    let header = json!({"cluster_id": "1", "member_id": id(number), "revision": "1", "raft_term": "2"});
    match (method, path) {
        ("GET", "/health") if has_leader => (200, json!({"health": "true", "reason": ""})),
        ("GET", "/health") => (503, json!({"health": "false", "reason": "RAFT NO LEADER"})),
        // Asked for without `linearizable`, it is what this member knows.
        ("POST", "/v3/cluster/member/list") => {
            let listed: Vec<Value> =
                members.iter().enumerate().map(|(n, member)| listed(n, member)).collect();
            (200, json!({"header": header, "members": listed}))
        }
        ("POST", "/v3/maintenance/alarm") if has_leader => {
            let alarm = alarm.map(|alarm| json!([{"memberID": id(0), "alarm": alarm.word()}]));
            let mut reply = json!({"header": header});
            // Where there is none, the field is left out.
            if let Some(alarms) = alarm {
                reply["alarms"] = alarms;
            }
            (200, reply)
        }
        ("POST", "/v3/maintenance/alarm") => {
            let why = "etcdserver: no leader";
            (503, json!({"error": why, "code": 14, "message": why}))
        }
        ("GET", "/version") => (200, versions(members, number)),
        ("POST", "/v3/maintenance/status") => {
            (200, json!({"header": header, "dbSize": DATABASE.len().to_string()}))
        }
        // One message of the stream: the database, and the digest of it.
        ("POST", "/v3/maintenance/snapshot") => {
            let digest = ring::digest::digest(&ring::digest::SHA256, DATABASE);
            let blob = ByteString([DATABASE, digest.as_ref()].concat());
            (200, json!({"result": {"header": header, "remaining_bytes": "0", "blob": blob}}))
        }
        _ => (404, json!({"error": "Not Found", "code": 5, "message": "Not Found"})),
    }
}

/// A database of which nothing is looked at.
const DATABASE: &[u8] = &[0; 4096];

/// What this member runs, and what all members know: the oldest minor release that runs.
fn versions(members: &[Member], number: usize) -> Value {
    let own = members.get(number).and_then(|member| member.version);
    let oldest = members.iter().filter_map(|member| member.version).min();
    let common = oldest.map(|oldest| EtcdVersion { patch: 0, ..oldest });
    let [own, common] = [own, common].map(|one| one.map_or("not_decided".to_owned(), |one| one.to_string()));
    json!({"etcdserver": own, "etcdcluster": common})
}

/// Numbers of 64 bits are strings in the gateway's JSON.
fn id(number: usize) -> String {
    (10_276_657_743_932_975_000 + number as u64).to_string()
}

fn listed(number: usize, member: &Member) -> Value {
    let url = |port: u16| format!("https://{}", SocketAddr::new(member.address, port));
    json!({"ID": id(number), "name": member.name, "peerURLs": [url(2380)], "clientURLs": [url(2379)]})
}
