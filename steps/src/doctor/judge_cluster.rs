//! Judges what the API says. Pure.

use super::facts::{Facts, Ground, Leader};
use super::finding::{Area, Finding};
use crate::cluster::{LOCK_LEASE, NAMESPACE};
use crate::component::Component;
use std::time::Duration;

/// A lease that was not renewed for this long has no leader: leaders renew every 2 s, and a candidate takes
/// over after 15 s.
const RENEWED_WITHIN: Duration = Duration::from_secs(20);

/// Takes over DaemonSets that this journal knows nothing of.
const ADOPT: &str = "fulcrum adopt";

pub(super) fn api(facts: &Facts) -> Vec<Finding> {
    vec![match &facts.api {
        Ok(_) => Finding::good(Area::Api, "the API is ready"),
        Err(error) => Finding::bad(
            Area::Api,
            error.clone(),
            "see what serves below; journalctl -u kubelet; fulcrum rollback restores static pods without the API",
        ),
    }]
}

/// The DaemonSets against what the journal says should be there.
pub(super) fn daemonsets(facts: &Facts) -> Vec<Finding> {
    let area = Area::Daemonsets;
    let Ok(api) = &facts.api else { return vec![Finding::unknown(area, "the API does not answer")] };
    let mut findings = Vec::new();
    for component in Component::ALL {
        let name = component.daemonset_name();
        let (found, manifest) = (
            api.daemonsets.get(&component),
            facts.components.get(&component).is_some_and(|seen| seen.manifest),
        );
        match (facts.ground, found) {
            (Some(Ground::SelfHosted(_)), None) => findings.push(Finding::bad(
                area,
                format!("DaemonSet {name} is gone: what runs is not started again"),
                "fulcrum rollback, then fulcrum pivot",
            )),
            (Some(Ground::SelfHosted(_)), Some(one)) if one.ready < one.desired || one.desired == 0 => {
                let seen = format!("DaemonSet {name}: {} of {} pods are Ready", one.ready, one.desired);
                findings.push(Finding::bad(
                    area,
                    seen,
                    format!("kubectl -n {NAMESPACE} rollout undo daemonset {name}; fulcrum rollback if that does not help"),
                ));
            }
            (Some(Ground::Static), Some(one)) => {
                let whose = match &one.made_by {
                    Some(run) => {
                        format!("made by run {run}, which this journal does not have or has rolled back")
                    }
                    None => "made by kubeadm's pivot, or by hand".to_owned(),
                };
                let seen = format!("DaemonSet {name} is there, {whose}");
                let remedy = match manifest {
                    true => {
                        format!("kubectl -n {NAMESPACE} delete daemonset {name}, while the static pod serves")
                    }
                    false => ADOPT.to_owned(),
                };
                findings.push(Finding::bad(area, seen, remedy));
            }
            _ => {}
        }
    }
    if findings.is_empty() {
        let all = api.daemonsets.values().all(|one| one.ready >= one.desired);
        let seen = match (api.daemonsets.len(), all) {
            (0, _) => "there are none".to_owned(),
            (amount, true) => format!("all pods of {amount} are Ready"),
            (amount, false) => format!("{amount} are there, and not all pods are Ready"),
        };
        findings.push(Finding::good(area, seen));
    }
    findings
}

pub(super) fn leaders(facts: &Facts) -> Vec<Finding> {
    let area = Area::Leaders;
    let Ok(api) = &facts.api else { return vec![Finding::unknown(area, "the API does not answer")] };
    let judge = |(component, leader): (&Component, &Leader)| match (leader.holder.as_str(), leader.age) {
        (holder, Some(age)) if age <= RENEWED_WITHIN && !holder.is_empty() => {
            Finding::good(area, format!("{component} is led by {holder}, renewed {} s ago", age.as_secs()))
        }
        (holder, age) => {
            let holder = if holder.is_empty() { "no process" } else { holder };
            let age = age.map_or("never".to_owned(), |age| format!("{} s ago", age.as_secs()));
            Finding::bad(
                area,
                format!("{component} has no leader: its lease was last renewed {age}, by {holder}"),
                format!("crictl logs $(crictl ps -q --name {component})"),
            )
        }
    };
    api.leaders.iter().map(judge).collect()
}

/// The lock. A run that is in progress, or unfinished, holds it by right.
pub(super) fn lock(facts: &Facts) -> Finding {
    let area = Area::Lock;
    let Ok(api) = &facts.api else { return Finding::unknown(area, "the API does not answer") };
    let ours = |holder: &str| facts.unfinished.iter().any(|(run, ..)| holder.ends_with(&run.to_string()));
    match &api.lock {
        None => Finding::good(area, "free"),
        Some(holder) if facts.writer.is_some() || ours(holder) => {
            Finding::good(area, format!("{holder} holds it"))
        }
        Some(holder) => Finding::bad(
            area,
            format!("{holder} (node/run) holds it, and no run here is unfinished"),
            format!(
                "fulcrum resume, or fulcrum rollback, on that node; if it is gone for good: kubectl -n {NAMESPACE} delete \
                 lease {LOCK_LEASE}"
            ),
        ),
    }
}
