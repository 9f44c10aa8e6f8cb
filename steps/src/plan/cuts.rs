//! The cuts of a plan: the steps from which on other processes serve. `--step-by-step` asks before each.

use crate::step::{Job, RedirectAct};
use fulcrum_engine::{Plan, StepId, StepSpec};
use std::collections::BTreeSet;

/// The steps of a pivot from which on clients are served by other processes than before.
pub fn cuts(plan: &Plan) -> impl Iterator<Item = &StepSpec> {
    plan.steps().iter().filter(|spec| {
        matches!(
            serde_json::from_value(spec.args.clone()),
            Ok(Job::Switch
                | Job::SharePort { .. }
                | Job::RetireStatic { .. }
                | Job::Redirect { forward: Some(RedirectAct::Begin | RedirectAct::End), .. })
        )
    })
}

/// The steps after which one of these `cuts` could begin: of those that a cut waits for, the ones that no other
/// of them waits for.
pub fn before<'a>(plan: &Plan, cuts: impl IntoIterator<Item = &'a StepSpec>) -> BTreeSet<StepId> {
    let mut last = BTreeSet::new();
    for cut in cuts {
        let earlier: BTreeSet<StepId> = cut.after.iter().flat_map(|step| ancestors(plan, step)).collect();
        last.extend(cut.after.iter().filter(|step| !earlier.contains(*step)).cloned());
    }
    last
}

/// All steps that must be done before this one.
fn ancestors(plan: &Plan, step: &StepId) -> BTreeSet<StepId> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&StepId> = plan.step(step).iter().flat_map(|spec| &spec.after).collect();
    while let Some(step) = open.pop() {
        if found.insert(step.clone()) {
            open.extend(plan.step(step).iter().flat_map(|spec| &spec.after));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::pivot::tests::settings;
    use super::*;
    use crate::plan::pivot;
    use crate::settings::HandoverMode;
    use std::time::Duration;

    fn plan(handover: HandoverMode) -> Plan {
        pivot(&settings(handover), Duration::from_secs(600)).unwrap()
    }

    fn names(ids: impl IntoIterator<Item = StepId>) -> Vec<String> {
        ids.into_iter().map(|id| id.as_str().to_owned()).collect()
    }

    #[test]
    fn the_cuts_of_each_hand_over_are_known() {
        let cuts_of = |handover| {
            let cuts: BTreeSet<String> =
                names(cuts(&plan(handover)).map(|spec| spec.id.clone())).into_iter().collect();
            cuts
        };
        let each = |kind: &str| {
            ["apiserver", "controller-manager", "scheduler"].map(|one| format!("{kind}/kube-{one}"))
        };
        let (switch, share, retire) = ("switch".to_owned(), each("share-port"), each("retire-static"));
        let steer: BTreeSet<String> = retire.iter().cloned().chain([switch]).collect();
        assert_eq!(cuts_of(HandoverMode::Steer), steer);
        let restart: BTreeSet<String> = retire.into_iter().chain(share).collect();
        assert_eq!(cuts_of(HandoverMode::Restart), restart);
        let bridge = cuts_of(HandoverMode::Bridge);
        assert_eq!(bridge.len(), 8, "{bridge:?}");
    }

    /// A pause comes where the cut could begin, and not at each step that is long done by then.
    #[test]
    fn a_run_pauses_right_before_a_cut() {
        let plan = plan(HandoverMode::Steer);
        let before_ = |name: &str| names(before(&plan, cuts(&plan).filter(|spec| spec.id.as_str() == name)));
        let ready = ["apiserver", "controller-manager", "scheduler"].map(|c| format!("await-ready/kube-{c}"));
        assert_eq!(before_("switch"), ready);
        assert_eq!(before_("retire-static/kube-scheduler"), ["way-back/vacate-port/kube-scheduler"]);
        let last = before_("retire-static/kube-apiserver");
        assert_eq!(
            last,
            [
                "retire-static/kube-controller-manager",
                "retire-static/kube-scheduler",
                "way-back/raise-bridge"
            ]
        );
    }
}
