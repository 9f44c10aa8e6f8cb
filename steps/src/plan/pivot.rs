//! The pivot of one node.

use crate::component::Component;
use crate::site::{Handover, Settings};
use crate::step::Job;
use fulcrum_engine::{Backoff, Durability, Plan, PlanError, Policy, StepSpec};
use serde_json::{Value, json};
use std::time::Duration;

/// The workflow's name in the journal.
pub const PIVOT: &str = "pivot";

/// The longest that a static or a new pod may take: image unpacked, process started, caches filled. A
/// server that exits at once is given time for four restarts with the kubelet's back-off.
const POD_WITHIN: Duration = Duration::from_secs(180);
/// The longest that one API call, retried, may take.
const CALL_WITHIN: Duration = Duration::from_secs(60);

/// The pivot: nothing is cut before everything new serves.
///
/// ```text
/// preflight → lock → archive → label-node → share-port/<c> → create-daemonset/<c> → await-ready/<c>
///     → (all three) → retire-static/<c> → verify → seal
/// ```
///
/// Two places are reserved: `arm-guard` after `archive`, `line-up` and `switch` around `await-ready`.
///
/// # Errors
/// Never in practice: the DAG is the one above.
pub fn pivot(settings: &Settings, deadline: Duration) -> Result<Plan, PlanError> {
    let mut steps = vec![
        // The same checks have passed a moment ago: a pod that is not Ready just now may be again soon.
        step("preflight", Job::Preflight).policy(Policy::tries(10, CALL_WITHIN)),
        step("lock", Job::Lock).after(["preflight"]),
        step("archive", Job::Archive).after(["lock"]),
        step("label-node", Job::LabelNode).after(["archive"]),
    ];
    let shared = Component::ALL.map(|component| format!("share-port/{component}"));
    let ready = Component::ALL.map(|component| format!("await-ready/{component}"));
    let retired = Component::ALL.map(|component| format!("retire-static/{component}"));
    for component in Component::ALL {
        steps.extend(for_component(component, settings.handover, &shared, &ready));
    }
    steps.push(step("verify", Job::Verify).after(retired).policy(Policy::tries(1, POD_WITHIN)));
    steps.push(step("seal", Job::Seal).after(["verify"]));
    Ok(Plan::new(PIVOT, steps)?.with_deadline(deadline).with_shared(json!(settings)))
}

fn for_component(
    component: Component,
    handover: Handover,
    shared: &[String],
    ready: &[String],
) -> [StepSpec; 4] {
    let Handover::Restart = handover;
    let [share, create, wait, retire] = [
        (format!("share-port/{component}"), Job::SharePort { component }),
        (format!("create-daemonset/{component}"), Job::CreateDaemonset { component }),
        (format!("await-ready/{component}"), Job::AwaitReady { component }),
        (format!("retire-static/{component}"), Job::RetireStatic { component }),
    ]
    .map(|(name, job)| step(&name, job).policy(Policy::tries(1, POD_WITHIN)));
    [
        // Side by side: a leader loses its lease while the API server restarts anyway, and its restart
        // takes as long.
        share.after(["label-node"]),
        // After all three: each restart could take away what the creation of another's pod needs.
        create.after(shared.iter().cloned()).policy(Policy::tries(3, CALL_WITHIN)),
        // What a pod answered before a restart of this program says little; before a reboot, nothing.
        wait.after([format!("create-daemonset/{component}")]).durability(Durability::Process),
        retire.after(ready.iter().cloned()),
    ]
}

/// A step that is patient on the way back: a rollback waits for an API that is down, and what ends it is a
/// person, not a count. 60 attempts of up to three minutes.
fn step(name: &str, job: Job) -> StepSpec {
    let backoff = Backoff { initial: Duration::from_millis(500), max: Duration::from_secs(15) };
    let undo = Policy { attempts: 60, backoff, timeout: POD_WITHIN };
    let args = serde_json::to_value(job).unwrap_or(Value::Null);
    StepSpec::new(name, args).policy(Policy::tries(5, CALL_WITHIN)).undo_policy(undo)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn settings() -> Settings {
        Settings {
            cluster_uid: "u".into(),
            node: "cp1".into(),
            node_addresses: vec![],
            manifests_dir: "/m".into(),
            kubeconfig: "/k".into(),
            role_label: crate::cluster::ROLE_LABEL.into(),
            kubernetes_minor: 35,
            handover: Handover::Restart,
            health: BTreeMap::new(),
        }
    }

    #[test]
    fn nothing_is_cut_before_everything_new_is_ready() {
        let plan = pivot(&settings(), Duration::from_secs(600)).unwrap();
        assert_eq!(plan.steps().len(), 4 + 3 * 4 + 2);
        for component in Component::ALL {
            let retire = plan.step(&format!("retire-static/{component}").into()).unwrap();
            for other in Component::ALL {
                assert!(retire.after.contains(&format!("await-ready/{other}").into()));
            }
        }
    }

    #[test]
    fn a_stored_plan_gives_back_its_jobs_and_settings() {
        let plan = pivot(&settings(), Duration::from_secs(600)).unwrap();
        let stored: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        let job: Job = serde_json::from_value(stored.steps()[0].args.clone()).unwrap();
        assert_eq!(job, Job::Preflight);
        assert_eq!(serde_json::from_value::<Settings>(stored.shared().clone()).unwrap(), settings());
    }
}
