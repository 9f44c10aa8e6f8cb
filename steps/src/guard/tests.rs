//! Decisions by value, and what holds of all of them.

use super::decide::{BootFacts, Copy, Next, OnReboot, RunFacts, Standing, Workflow, at_boot};
use crate::component::Component;
use fulcrum_engine::state::RunId;
use proptest::prelude::*;

fn run(number: u8, workflow: Workflow, standing: Standing, boot: &str) -> RunFacts {
    RunFacts {
        run: RunId::from_bytes([number; 16]),
        workflow,
        standing,
        boot_id: boot.to_owned(),
        by_guard: workflow != Workflow::Pivot,
        retired: Component::ALL.into(),
    }
}

fn facts(runs: Vec<RunFacts>, manifests: &[Component]) -> BootFacts {
    let manifests = manifests.iter().copied().collect();
    BootFacts { runs, on_reboot: OnReboot::Resume, manifests, boot_id: "now".to_owned() }
}

const UNFINISHED: Standing = Standing::Unfinished { unwinding: false };
const UNWINDING: Standing = Standing::Unfinished { unwinding: true };
const ALL: [Component; 3] = Component::ALL;

#[test]
fn a_self_hosted_node_that_has_booted_gets_its_static_pods_back_and_hands_over() {
    let pivot = run(1, Workflow::Pivot, Standing::Completed, "before");
    let decision = at_boot(&facts(vec![pivot.clone()], &[]));
    assert_eq!(decision.put_back, ALL.map(|component| (component, Copy::Standby)));
    assert_eq!(decision.next, Next::HandOver);
    // A second power cut before the hand-over had begun.
    let decision = at_boot(&facts(vec![pivot], &ALL));
    assert_eq!((decision.put_back.len(), decision.next), (0, Next::HandOver));
}

#[test]
fn what_was_in_between_goes_on_as_was_said() {
    let [one] = [RunId::from_bytes([1; 16])];
    let last = |standing, boot, by_guard| {
        let pivot = RunFacts { by_guard, ..run(1, Workflow::Pivot, standing, boot) };
        facts(vec![pivot], &[Component::Scheduler])
    };
    let booted = at_boot(&last(UNFINISHED, "before", false));
    assert_eq!(booted.next, Next::Resume(one));
    assert_eq!(booted.put_back.len(), 2, "the scheduler's is there: {booted:?}");
    assert!(booted.put_back.iter().all(|(_, copy)| *copy == Copy::Retired), "an undo knows what it took");
    let rollback = BootFacts { on_reboot: OnReboot::Rollback, ..last(UNFINISHED, "before", false) };
    assert_eq!(at_boot(&rollback).next, Next::Unwind(one));
    let undoing = BootFacts { on_reboot: OnReboot::Rollback, ..last(UNWINDING, "before", false) };
    assert_eq!(at_boot(&undoing).next, Next::Resume(one), "it is being undone already");
    // The same boot: somebody is at work on it, or was killed and will be told to go on.
    let same = at_boot(&last(UNFINISHED, "now", false));
    assert_eq!((same.put_back.len(), same.next), (0, Next::Rest));
    // It was the guard that was killed.
    assert_eq!(at_boot(&last(UNFINISHED, "now", true)).next, Next::Resume(one));
    // A person goes on, but the control plane must be there.
    for standing in [Standing::Paused, Standing::NeedsOperator] {
        let decision = at_boot(&last(standing, "before", false));
        assert_eq!((decision.put_back.len(), decision.next), (2, Next::Rest));
    }
}

#[test]
fn what_stands_in_stays_and_what_the_guard_was_at_goes_on() {
    let after = |workflow, standing, boot| {
        let pivot = run(1, Workflow::Pivot, Standing::Completed, "before");
        at_boot(&facts(vec![pivot, run(2, workflow, standing, boot)], &ALL)).next
    };
    let two = RunId::from_bytes([2; 16]);
    for boot in ["before", "now"] {
        assert_eq!(after(Workflow::StandIn, Standing::Completed, boot), Next::Rest);
        assert_eq!(after(Workflow::HandOver, Standing::RolledBack, boot), Next::Rest);
        assert_eq!(after(Workflow::HandOver, UNFINISHED, boot), Next::Resume(two));
        assert_eq!(after(Workflow::RenewStandby, UNFINISHED, boot), Next::Resume(two));
    }
    assert_eq!(after(Workflow::HandOver, Standing::Completed, "before"), Next::HandOver);
    assert_eq!(after(Workflow::RenewStandby, Standing::Completed, "before"), Next::HandOver);
    let watched = vec![run(1, Workflow::Pivot, Standing::Completed, "now")];
    assert_eq!(at_boot(&facts(watched, &[])).next, Next::Watch);
}

fn any_run(number: u8) -> impl Strategy<Value = RunFacts> {
    let workflow = match number {
        0 => Just(Workflow::Pivot).boxed(),
        _ => {
            prop::sample::select(vec![Workflow::HandOver, Workflow::StandIn, Workflow::RenewStandby]).boxed()
        }
    };
    let standings = vec![
        Standing::Completed,
        Standing::RolledBack,
        UNFINISHED,
        UNWINDING,
        Standing::Paused,
        Standing::NeedsOperator,
    ];
    (workflow, prop::sample::select(standings), any::<bool>(), any::<bool>(), 0u8..8).prop_map(
        move |(workflow, standing, now, by_guard, retired)| RunFacts {
            by_guard,
            retired: some(retired),
            ..run(number + 1, workflow, standing, if now { "now" } else { "before" })
        },
    )
}

fn some(bits: u8) -> std::collections::BTreeSet<Component> {
    ALL.into_iter()
        .enumerate()
        .filter(|(at, _)| bits >> at & 1 == 1)
        .map(|(_, component)| component)
        .collect()
}

proptest! {
    /// Whatever the journal and the disk say: a boot leaves no component that fulcrum had taken away without a
    /// manifest, and nothing that is there is touched.
    #[test]
    fn no_boot_leaves_a_component_that_nothing_starts(
        pivot in any_run(0), later in any_run(1), more in 0usize..2, manifests in 0u8..8, rollback: bool,
    ) {
        let mut runs = vec![pivot.clone(), later];
        runs.truncate(1 + more);
        // Runs follow only a pivot that is done.
        if pivot.standing != Standing::Completed {
            runs.truncate(1);
        }
        let on_reboot = if rollback { OnReboot::Rollback } else { OnReboot::Resume };
        let facts = BootFacts { runs: runs.clone(), on_reboot, manifests: some(manifests), boot_id: "now".into() };
        let decision = at_boot(&facts);
        prop_assert!(decision.put_back.iter().all(|(component, _)| !facts.manifests.contains(component)));
        let rebooted = runs.last().is_some_and(|run| run.boot_id != "now");
        if rebooted && pivot.standing != Standing::RolledBack {
            for component in ALL {
                let taken = pivot.standing == Standing::Completed || pivot.retired.contains(&component);
                let back = decision.put_back.iter().any(|(it, _)| *it == component);
                prop_assert!(!taken || back || facts.manifests.contains(&component), "{component}: {decision:?}");
            }
            prop_assert!(decision.next != Next::Watch, "nothing serves yet");
        }
        if !rebooted {
            prop_assert!(decision.put_back.is_empty(), "what runs is left alone");
        }
    }
}
