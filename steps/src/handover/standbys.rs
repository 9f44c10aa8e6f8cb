//! The standbys of the other nodes. Each node's guard renews its own, from the DaemonSets that all nodes share, and says
//! in the roll call of which it is. A power cut of a node whose standby is behind brings up what ran before.

use crate::cluster::{
    Answer, Cluster, ClusterError, DaemonsetVersion, GUARD_SILENT_AFTER, OPT_IN_LABEL, config_hash,
};
use crate::component::Component;
use crate::settings::Settings;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// Another node that runs on the DaemonSets, or did, and what a power cut there would bring up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// The node.
    pub node: String,
    /// Why it is not what the DaemonSets run.
    pub why: Lag,
}

/// Why a node's standby is not known to be what its DaemonSets run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lag {
    /// Static pods serve there: it has booted, or has fallen back.
    Static(Vec<Component>),
    /// No guard has ever said anything.
    NoGuard,
    /// The guard has not said anything for so many seconds.
    Silent(u64),
    /// The guard has not said yet what its standby is.
    NotSaid,
    /// The standby is of earlier DaemonSets.
    Earlier(Vec<Component>),
}

/// The other nodes that are behind these DaemonSets.
///
/// # Errors
/// When the API server cannot be asked.
pub(crate) async fn behind(
    cluster: &Cluster,
    settings: &Settings,
    live: &[(Component, Value)],
) -> Result<Vec<Behind>, ClusterError> {
    let hosted = format!("{},{OPT_IN_LABEL}", settings.role_label);
    let mut others = cluster.nodes_labelled(&hosted).await?;
    others.retain(|node| *node != settings.node);
    if others.is_empty() {
        return Ok(Vec::new());
    }
    let wanted: Versions =
        live.iter().filter_map(|(component, live)| Some((*component, DaemonsetVersion::of(live)?))).collect();
    let roll_call = cluster.roll_call().await?;
    let mut behind = Vec::new();
    for node in others {
        let statics = statics(cluster, &node).await?;
        let why = lag(roll_call.get(&node), statics, &wanted, Timestamp::now());
        behind.extend(why.map(|why| Behind { node, why }));
    }
    Ok(behind)
}

type Versions = BTreeMap<Component, DaemonsetVersion>;

/// The components that a static pod serves on this node. A static pod is seen by its mirror.
async fn statics(cluster: &Cluster, node: &str) -> Result<Vec<Component>, ClusterError> {
    let pods = cluster.pods_on(node, "").await?;
    let is_mirror = |component: &Component| {
        let name = format!("{component}-{node}");
        pods.iter().any(|pod| pod.metadata.name.as_ref() == Some(&name) && config_hash(pod).is_some())
    };
    Ok(Component::ALL.into_iter().filter(is_mirror).collect())
}

fn lag(entry: Option<&Answer>, statics: Vec<Component>, wanted: &Versions, now: Timestamp) -> Option<Lag> {
    if !statics.is_empty() {
        return Some(Lag::Static(statics));
    }
    let guard = entry.and_then(|entry| entry.as_ref().ok()?.guard.as_ref());
    let Some(guard) = guard else { return Some(Lag::NoGuard) };
    let of = guard.standby.as_ref().map(|standby| &standby.of).filter(|of| !of.is_empty());
    let Some(of) = of else { return Some(Lag::NotSaid) };
    let earlier: Vec<Component> = wanted
        .iter()
        .filter(|(component, version)| of.get(component) != Some(*version))
        .map(|(c, _)| *c)
        .collect();
    let silent = guard.beat.map_or(0, |beat| now.as_second().saturating_sub(beat.as_second()));
    let silent = u64::try_from(silent).unwrap_or(0);
    match earlier.is_empty() {
        // A guard that is gone hands nothing over, and renews nothing after the change.
        _ if silent > GUARD_SILENT_AFTER.as_secs() => Some(Lag::Silent(silent)),
        true => None,
        false => Some(Lag::Earlier(earlier)),
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = &self.node;
        let list = |components: &[Component]| {
            components.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        match &self.why {
            Lag::Static(components) => write!(
                f,
                "{node} runs static pods ({}): `fulcrum status` there says why, and `fulcrum guard hand-over` goes on",
                list(components)
            ),
            Lag::NoGuard => {
                write!(f, "no guard has ever said anything on {node}: `fulcrum guard install` there")
            }
            Lag::Silent(seconds) => write!(
                f,
                "the guard of {node} has said nothing for {seconds} s: `fulcrum guard status` there says why"
            ),
            Lag::NotSaid => write!(
                f,
                "the guard of {node} has not said what its standby is: wait a minute; a guard of an earlier version \
                 never says it, and `fulcrum guard install` there replaces that"
            ),
            Lag::Earlier(components) => write!(
                f,
                "the standby of {node} is of earlier DaemonSets ({}): its guard renews it once they have served for a \
                 minute",
                list(components)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{GuardEntry, GuardState, NodeEntry, StandbyEntry};

    fn version(generation: i64) -> DaemonsetVersion {
        DaemonsetVersion { uid: "u".to_owned(), generation }
    }

    #[test]
    fn a_node_follows_when_its_guard_says_so_of_these_very_daemonsets() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let wanted = Versions::from([(Component::ApiServer, version(3)), (Component::Scheduler, version(2))]);
        let guard = |of: Versions, beat: Timestamp| {
            let standby = Some(StandbyEntry { since: None, behind: false, of });
            let guard = GuardEntry { state: GuardState::Watching, beat: Some(beat), standby, says: None };
            Answer::Ok(NodeEntry { guard: Some(guard), ..NodeEntry::default() })
        };
        let of = |entry: &Answer| lag(Some(entry), Vec::new(), &wanted, now);
        assert_eq!(of(&guard(wanted.clone(), now)), None);
        let api = vec![Component::ApiServer];
        let mut earlier = wanted.clone();
        earlier.insert(Component::ApiServer, version(2));
        assert_eq!(of(&guard(earlier.clone(), now)), Some(Lag::Earlier(api.clone())));
        earlier.remove(&Component::ApiServer);
        assert_eq!(of(&guard(earlier, now)), Some(Lag::Earlier(api.clone())), "it has not looked at it yet");
        assert_eq!(of(&guard(Versions::new(), now)), Some(Lag::NotSaid));
        let long_ago: Timestamp = "2026-01-02T03:01:04Z".parse().unwrap();
        assert_eq!(of(&guard(wanted.clone(), long_ago)), Some(Lag::Silent(181)));
        assert_eq!(of(&Answer::Ok(NodeEntry::default())), Some(Lag::NoGuard));
        assert_eq!(lag(None, Vec::new(), &wanted, now), Some(Lag::NoGuard));
        // What the guard said before a reboot is still there.
        assert_eq!(lag(Some(&guard(wanted.clone(), now)), api.clone(), &wanted, now), Some(Lag::Static(api)));
    }
}
