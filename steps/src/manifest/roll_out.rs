//! What a roll-out of a DaemonSet relies on. Pure.

use super::daemonset::MIN_READY_SECONDS;
use serde_json::Value;

/// A DaemonSet cannot be edited under watch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRollOut {
    /// Its pods are replaced only when a person deletes them.
    #[error(
        "its updateStrategy is {0}, so no roll-out follows an edit (fulcrum makes it so up to Kubernetes 1.24, which has \
         no maxSurge for DaemonSets): edit it with kubectl, and delete its pod"
    )]
    Strategy(String),
    /// The old pod would go before the new one serves.
    #[error(
        "its roll-out has maxSurge {surge} and maxUnavailable {unavailable}, so the old pod would go before the new one \
         serves: set maxSurge 1 and maxUnavailable 0"
    )]
    OldGoesFirst {
        /// The `maxSurge`.
        surge: String,
        /// The `maxUnavailable`.
        unavailable: String,
    },
    /// The old pod would go before it is known whether the new one serves by itself.
    #[error(
        "its minReadySeconds is {0}, and fulcrum needs {MIN_READY_SECONDS} to see whether a new pod serves by itself: set it \
         to {MIN_READY_SECONDS}"
    )]
    TooSoon(u64),
    /// Another roll-out is not through.
    #[error(
        "another roll-out of it is not through (pods wanted: {wanted}, of the newest template: {updated}, ready: {ready}): \
         wait for `kubectl -n kube-system rollout status ds/{name}`"
    )]
    InProgress {
        /// The DaemonSet.
        name: String,
        /// How many pods there shall be.
        wanted: u64,
        /// How many have the newest template.
        updated: u64,
        /// How many are ready.
        ready: u64,
    },
}

/// Whether an edit of this DaemonSet is followed by a roll-out in which the new pod starts beside the old one.
///
/// # Errors
/// When the roll-out would do otherwise, or another one is not through. The error says what to do.
pub fn can_roll_out(live: &Value) -> Result<(), NoRollOut> {
    let strategy = &live["spec"]["updateStrategy"];
    let kind = strategy["type"].as_str().unwrap_or("RollingUpdate");
    if kind != "RollingUpdate" {
        return Err(NoRollOut::Strategy(kind.to_owned()));
    }
    // The API server writes both defaults into the object.
    let (surge, unavailable) =
        (&strategy["rollingUpdate"]["maxSurge"], &strategy["rollingUpdate"]["maxUnavailable"]);
    if !is_some_pods(surge) || unavailable.is_null() || is_some_pods(unavailable) {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        return Err(NoRollOut::OldGoesFirst { surge: text(surge), unavailable: text(unavailable) });
    }
    let seconds = live["spec"]["minReadySeconds"].as_u64().unwrap_or(0);
    if seconds < u64::from(MIN_READY_SECONDS) {
        return Err(NoRollOut::TooSoon(seconds));
    }
    is_through(live)
}

/// Whether every pod is of the newest template and Ready, on all nodes.
///
/// # Errors
/// [`NoRollOut::InProgress`] when one is not.
pub fn is_through(live: &Value) -> Result<(), NoRollOut> {
    let number = |field: &str| live["status"][field].as_u64().unwrap_or(0);
    let [wanted, updated, ready] =
        ["desiredNumberScheduled", "updatedNumberScheduled", "numberReady"].map(number);
    let observed = live["status"]["observedGeneration"] == live["metadata"]["generation"];
    if observed && updated == wanted && ready == wanted {
        return Ok(());
    }
    let name = live["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    Err(NoRollOut::InProgress { name, wanted, updated, ready })
}

/// Whether a number of pods, or a share of them, is more than none.
pub(crate) fn is_some_pods(value: &Value) -> bool {
    match value.as_str() {
        Some(share) => share.trim_end_matches('%').parse::<u64>().is_ok_and(|share| share > 0),
        None => value.as_u64().is_some_and(|pods| pods > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn live() -> Value {
        json!({
            "metadata": { "name": "self-hosted-kube-apiserver", "generation": 3 },
            "spec": {
                "minReadySeconds": 20,
                "updateStrategy": {
                    "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 },
                },
            },
            "status": {
                "observedGeneration": 3, "desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberReady": 1,
            },
        })
    }

    #[test]
    fn an_edit_relies_on_a_new_pod_beside_the_old_one_and_on_time_to_judge_it() {
        assert_eq!(can_roll_out(&live()), Ok(()));
        let with = |at: &str, value: Value| {
            let mut live = live();
            *live.pointer_mut(at).unwrap() = value;
            can_roll_out(&live)
        };
        let rolling = "/spec/updateStrategy/rollingUpdate";
        assert_eq!(
            with("/spec/updateStrategy", json!({ "type": "OnDelete" })),
            Err(NoRollOut::Strategy("OnDelete".to_owned()))
        );
        for shape in [
            json!({ "maxSurge": 0, "maxUnavailable": 1 }),
            json!({ "maxSurge": 1, "maxUnavailable": 1 }),
            json!({ "maxSurge": "0%", "maxUnavailable": 0 }),
            json!({ "maxSurge": 1 }),
            Value::Null,
        ] {
            assert!(matches!(with(rolling, shape.clone()), Err(NoRollOut::OldGoesFirst { .. })), "{shape}");
        }
        assert_eq!(with(rolling, json!({ "maxSurge": "100%", "maxUnavailable": "0%" })), Ok(()));
        assert_eq!(with("/spec/minReadySeconds", json!(14)), Err(NoRollOut::TooSoon(14)));
        assert_eq!(with("/spec/minReadySeconds", Value::Null), Err(NoRollOut::TooSoon(0)));
        for field in ["observedGeneration", "updatedNumberScheduled", "numberReady"] {
            let other = with(&format!("/status/{field}"), json!(0));
            assert!(matches!(other, Err(NoRollOut::InProgress { .. })), "{field}");
        }
    }
}
