//! What each step of a pivot does, how it is undone, and what it costs: for a person who reads a plan.

use crate::settings::HandoverMode;
use crate::step_name::StepKind;
use serde::Serialize;

/// A step in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StepStory {
    /// What it does.
    pub does: &'static str,
    /// How it is undone.
    pub undone: &'static str,
    /// What it costs the cluster's users.
    pub costs: &'static str,
}

const NOTHING: &str = "nothing";
/// What a step does that only prepares. Its undo is a part of the exact way back.
const PREPARES: &str = "prepares the exact way back: changes nothing now";

/// What each step does, how it is undone and what it costs, where that is the same with every hand-over.
const STORIES: [(StepKind, &str, &str, &str); 23] = [
    (StepKind::Preflight, "makes every check once more", NOTHING, NOTHING),
    (StepKind::Lock, "takes the Lease kube-system/fulcrum: one run at a time", "lets go of it", NOTHING),
    (
        StepKind::Archive,
        "copies the three manifests to the archive beside the journal",
        "keeps the copies",
        NOTHING,
    ),
    (
        StepKind::ArmGuard,
        "installs, enables and starts the guard's unit",
        "stops the guard and removes its unit",
        NOTHING,
    ),
    (StepKind::LabelNode, "labels the node: the DaemonSets may run here", "takes the label away", NOTHING),
    (
        StepKind::PreferStatic,
        "has the kernel send new connections to the static API server",
        "takes the kernel's rule away",
        NOTHING,
    ),
    (
        StepKind::CreateSecrets,
        "makes Secrets of the certificates and kubeconfigs, and the standby's copies",
        "deletes the Secrets that it made, and the copies",
        NOTHING,
    ),
    (
        StepKind::CreateDaemonset,
        "creates the DaemonSet, or finds the one that other nodes run on",
        "ends its pod here; the last node deletes it",
        "memory for a second process",
    ),
    (StepKind::AwaitReady, "waits until the new pod's process answers well, by itself", NOTHING, NOTHING),
    (
        StepKind::Switch,
        "sends new connections to the new API server, and watches them",
        "sends them to the static one",
        "nothing: the old server finishes what it has",
    ),
    (
        StepKind::RaiseBridge,
        "starts a third API server on another port",
        "ends it when nothing uses it",
        "memory for a third API server",
    ),
    (StepKind::Redirect, "redirects new connections to the bridge", "ends the redirect", NOTHING),
    (StepKind::EndRedirect, "ends the redirect", "redirects new connections to the bridge", NOTHING),
    (StepKind::LowerBridge, "ends the bridge when nothing uses it", "starts a bridge", NOTHING),
    (StepKind::PrepareLowerBridge, PREPARES, "ends the bridge", NOTHING),
    (StepKind::PrepareEndRedirect, PREPARES, "ends the redirect to the bridge", NOTHING),
    (StepKind::PrepareRestoreStatic, PREPARES, "restores the manifest byte for byte", NOTHING),
    (StepKind::PrepareVacatePort, PREPARES, "ends the DaemonSet's pod, and frees the port", NOTHING),
    (StepKind::PrepareRedirect, PREPARES, "redirects new connections to the bridge", NOTHING),
    (StepKind::PrepareRaiseBridge, PREPARES, "starts a bridge for the way back", NOTHING),
    (
        StepKind::PreferServing,
        "has the kernel keep the serving API server's traffic in later roll-outs",
        "nothing: share-port takes the rule away",
        NOTHING,
    ),
    (StepKind::Verify, "checks the API, its endpoints, the leaders and the DaemonSets", NOTHING, NOTHING),
    (
        StepKind::RecordHead,
        "notes the journal's head on the DaemonSets, and lets go of the lock",
        "takes the lock",
        NOTHING,
    ),
];

/// The step of this kind in words, in a pivot with this hand-over. Steps of the guard's own runs have none.
pub fn story(kind: StepKind, handover: HandoverMode) -> Option<StepStory> {
    match kind {
        StepKind::SharePort => Some(share_port(handover)),
        StepKind::RetireStatic => Some(StepStory {
            does: "the cut: takes the static manifest away, and waits until its process ends",
            undone: match handover {
                HandoverMode::Steer => "nothing here: prepare-rollback/... has the way back",
                HandoverMode::Bridge | HandoverMode::Restart => "restores the manifest",
            },
            costs: "a new leader, or a new connection, for each client",
        }),
        kind => {
            let (_, does, undone, costs) = STORIES.into_iter().find(|(known, ..)| *known == kind)?;
            Some(StepStory { does, undone, costs })
        }
    }
}

fn share_port(handover: HandoverMode) -> StepStory {
    match handover {
        HandoverMode::Steer => StepStory {
            does: "makes the static process's live listener shareable",
            undone: "makes it exclusive again",
            costs: "nothing: no restart",
        },
        HandoverMode::Bridge | HandoverMode::Restart => StepStory {
            does: "adds --permit-port-sharing to the static manifest, and waits for the restart",
            undone: "restores the manifest byte for byte",
            costs: match handover {
                HandoverMode::Bridge => "one restart, while the bridge serves",
                _ => "one restart: the API is away for 13 to 16 s",
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::pivot;
    use crate::plan::pivot::tests::settings;
    use crate::step_name::StepName;
    use std::time::Duration;

    #[test]
    fn every_step_of_every_pivot_has_words() {
        for handover in [HandoverMode::Steer, HandoverMode::Bridge, HandoverMode::Restart] {
            let plan = pivot(&settings(handover), Duration::from_secs(60)).unwrap();
            for step in plan.steps() {
                let kind = StepName::parse(step.id.as_str()).unwrap().kind();
                let story = story(kind, handover).unwrap_or_else(|| panic!("{} has no words", step.id));
                assert!(story.does.len() <= 80 && story.undone.len() <= 60, "{}", step.id);
            }
        }
    }
}
