//! Decisions by value, and what holds for all of them.

use crate::component::Component;
use crate::guard::decide::{
    BootFacts, ManifestCopy, Next, Pulse, RunFacts, Standing, Watched, Workflow, at_boot, fall_back, stagger,
};
use crate::handover::line::{InLine, prefer};
use crate::host::Steering;
use crate::settings::OnReboot;
use crate::unit::HOLD_OFF;
use fulcrum_engine::state::{RunId, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

fn run(number: u8, workflow: Workflow, standing: Standing, boot: &str) -> RunFacts {
    RunFacts {
        run: RunId::from_bytes([number; 16]),
        workflow,
        standing,
        begun: Timestamp::from_micros(u64::from(number) * 60_000_000),
        boot_id: boot.to_owned(),
        by_guard: workflow != Workflow::Pivot,
        retired: Component::ALL.into(),
    }
}

fn facts(runs: Vec<RunFacts>, manifests: &[Component]) -> BootFacts {
    let manifests = manifests.iter().copied().collect();
    BootFacts { runs, on_reboot: OnReboot::Resume, manifests, boot_id: "now".to_owned(), hold_off: HOLD_OFF }
}

const UNFINISHED: Standing = Standing::Unfinished { rolling_back: false };
const ROLLING_BACK: Standing = Standing::Unfinished { rolling_back: true };
const ALL: [Component; 3] = Component::ALL;

#[test]
fn a_self_hosted_node_that_has_booted_gets_its_static_pods_back_and_hands_over() {
    let pivot = run(1, Workflow::Pivot, Standing::Completed, "before");
    let decision = at_boot(&facts(vec![pivot.clone()], &[]));
    let [api, manager, scheduler] = ALL.map(|component| (component, ManifestCopy::Standby));
    assert_eq!(decision.put_back, [api]);
    assert_eq!(decision.put_back_later, [manager, scheduler], "they can do nothing before the API answers");
    assert_eq!(decision.next, Next::HandOver);
    // The guard was killed, and started again, before it did.
    let decision = at_boot(&facts(vec![pivot.clone()], &[Component::ApiServer]));
    assert_eq!((decision.put_back.len(), decision.put_back_later.len()), (0, 2));
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
    assert!(
        booted.put_back.iter().all(|(_, copy)| *copy == ManifestCopy::Retired),
        "an undo knows what it took"
    );
    let rollback = BootFacts { on_reboot: OnReboot::Rollback, ..last(UNFINISHED, "before", false) };
    assert_eq!(at_boot(&rollback).next, Next::RollBack(one));
    let undoing = BootFacts { on_reboot: OnReboot::Rollback, ..last(ROLLING_BACK, "before", false) };
    assert_eq!(at_boot(&undoing).next, Next::Resume(one), "it is being undone already");
    // The same boot: a process is at work on the run, or was killed and a person will have it go on.
    let same = at_boot(&last(UNFINISHED, "now", false));
    assert_eq!((same.put_back.len(), same.next), (0, Next::Rest));
    // The guard was killed.
    assert_eq!(at_boot(&last(UNFINISHED, "now", true)).next, Next::Resume(one));
    // Going on is up to a person, but the control plane must be there.
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
        assert_eq!(after(Workflow::FallBack, Standing::Completed, boot), Next::HandOverIfProven);
        assert_eq!(after(Workflow::HandOver, UNFINISHED, boot), Next::Resume(two));
        assert_eq!(after(Workflow::RenewStandby, UNFINISHED, boot), Next::Resume(two));
    }
    assert_eq!(after(Workflow::HandOver, Standing::RolledBack, "now"), Next::Watch);
    assert_eq!(
        after(Workflow::HandOver, Standing::RolledBack, "before"),
        Next::HandOver,
        "each boot is a try"
    );
    assert_eq!(after(Workflow::HandOver, Standing::Completed, "before"), Next::HandOver);
    assert_eq!(after(Workflow::RenewStandby, Standing::Completed, "before"), Next::HandOver);
    // A boot has cut a renewal short, and that renewal was finished first.
    let pivot = run(1, Workflow::Pivot, Standing::Completed, "before");
    let renewed = run(2, Workflow::RenewStandby, Standing::Completed, "now");
    assert_eq!(at_boot(&facts(vec![pivot, renewed], &ALL)).next, Next::HandOver);
    let watched = vec![run(1, Workflow::Pivot, Standing::Completed, "now")];
    assert_eq!(at_boot(&facts(watched, &[])).next, Next::Watch);
}

/// An edit whose command has died must not wait for a person. One that a person has paused, or must settle,
/// keeps nothing from being guarded: the DaemonSet's pods serve, the former or the new ones.
#[test]
fn an_edit_that_was_cut_short_goes_on_and_one_that_waits_is_guarded() {
    let after = |change, standing, boot| {
        let pivot = run(1, Workflow::Pivot, Standing::Completed, boot);
        let change = RunFacts { by_guard: false, ..run(2, change, standing, boot) };
        at_boot(&facts(vec![pivot, change], &[])).next
    };
    let two = RunId::from_bytes([2; 16]);
    for change in [Workflow::Edit, Workflow::RenewCerts] {
        for boot in ["before", "now"] {
            assert_eq!(after(change, UNFINISHED, boot), Next::Resume(two));
            assert_eq!(after(change, ROLLING_BACK, boot), Next::Resume(two));
        }
        for standing in [Standing::Paused, Standing::NeedsOperator, Standing::Completed, Standing::RolledBack]
        {
            assert_eq!(after(change, standing, "now"), Next::Watch);
            let settled = matches!(standing, Standing::Completed | Standing::RolledBack);
            let booted = if settled { Next::HandOver } else { Next::Watch };
            assert_eq!(after(change, standing, "before"), booted, "a hand-over needs the lock, which it has");
        }
    }
}

/// Without an API its undo would give up after some seconds, and a fallback may be what brings the API back.
#[test]
fn an_edit_waits_for_the_api_also_on_its_way_back() {
    for standing in [UNFINISHED, ROLLING_BACK] {
        assert!(run(2, Workflow::Edit, standing, "now").needs_the_api());
        assert!(run(2, Workflow::RenewCerts, standing, "now").needs_the_api());
        assert!(!run(2, Workflow::FallBack, standing, "now").needs_the_api());
        assert_eq!(run(2, Workflow::HandOver, standing, "now").needs_the_api(), standing == UNFINISHED);
    }
}

/// The guard never flaps.
#[test]
fn a_second_failure_soon_after_the_first_stays_static() {
    let pivot = run(1, Workflow::Pivot, Standing::Completed, "now");
    let story = |second: u8| {
        let failed = |number| run(number, Workflow::FallBack, Standing::Completed, "now");
        let again = run(3, Workflow::HandOver, Standing::Completed, "now");
        at_boot(&facts(vec![pivot.clone(), failed(2), again, failed(second)], &ALL)).next
    };
    assert_eq!(story(4), Next::Watch, "two minutes later");
    assert_eq!(story(60), Next::HandOverIfProven, "an hour later");
    // A hand-over after a fallback was rolled back: no boot tries it again.
    let failed = run(2, Workflow::FallBack, Standing::Completed, "before");
    let gone_back = run(3, Workflow::HandOver, Standing::RolledBack, "before");
    assert_eq!(at_boot(&facts(vec![pivot, failed, gone_back], &ALL)).next, Next::Watch);
}

#[test]
fn a_component_that_is_silent_for_long_enough_and_holds_no_port_falls_back() {
    let seen = |pulses: [(u64, bool); 3]| {
        let pulse = |(silent, listens)| Pulse { silent: Duration::from_secs(silent), listens };
        let hosted = ALL.into_iter().zip(pulses.map(pulse)).collect();
        fall_back(&Watched { patience: Duration::from_secs(30), stagger: Duration::ZERO, hosted })
            .map(|(components, _)| components)
    };
    let [api, manager, scheduler] = ALL;
    assert_eq!(seen([(0, true), (0, true), (0, true)]), None);
    assert_eq!(seen([(29, false), (0, true), (0, true)]), None, "patience");
    assert_eq!(seen([(31, true), (0, true), (0, true)]), None, "it holds the port");
    assert_eq!(seen([(30, false), (0, true), (99, false)]), Some(vec![api, scheduler]));
    assert_eq!(seen([(0, true), (45, false), (45, true)]), Some(vec![manager]));
    assert_eq!(seen([(5, false), (45, false), (29, false)]), Some(vec![manager]));
    assert_eq!(
        fall_back(&Watched { patience: Duration::ZERO, stagger: Duration::ZERO, hosted: BTreeMap::new() }),
        None,
        "nothing is hosted"
    );
}

/// A DaemonSet that is gone is gone for all of its nodes.
#[test]
fn the_guards_of_several_nodes_fall_back_one_after_the_other() {
    let patience = Duration::from_secs(30);
    let waits = |node: &str, hosted: &[&str]| {
        let hosted: Vec<String> = hosted.iter().map(|node| (*node).to_owned()).collect();
        stagger(node, &hosted, patience).as_secs()
    };
    assert_eq!([waits("a", &[]), waits("a", &["a"]), waits("b", &["b"])], [0; 3], "alone");
    let five = ["c", "a", "e", "d", "b"];
    assert_eq!(["a", "b", "c", "d", "e"].map(|node| waits(node, &five)), [0, 10, 20, 30, 30]);
    let silent = Duration::from_secs(39);
    let down = Pulse { silent, listens: false };
    let seen = |stagger, component| {
        fall_back(&Watched { patience, stagger, hosted: [(component, down)].into() }).is_some()
    };
    let [api, manager, _] = ALL;
    assert!(!seen(Duration::from_secs(10), api), "another node's comes first");
    assert!(seen(Duration::from_secs(9), api));
    assert!(seen(Duration::from_secs(10), manager), "only the API server has clients to keep");
}

#[test]
fn the_one_that_served_stays_first_in_line_and_the_newest_is_next() {
    let pod = |inode| InLine { inode, is_static: false };
    let lined = |serving, newcomer| Some(Steering::Prefer { serving, newcomer });
    assert_eq!(prefer(&[], Some(1)), None);
    assert_eq!(prefer(&[pod(7)], None), lined(7, None));
    assert_eq!(
        prefer(&[pod(7), pod(8), pod(9)], Some(7)),
        lined(7, Some(9)),
        "three: the newest reaches itself"
    );
    assert_eq!(prefer(&[pod(7), pod(8), pod(9)], Some(8)), lined(8, Some(9)));
    assert_eq!(prefer(&[pod(8), pod(9)], Some(7)), lined(8, Some(9)), "the one that served has gone");
    let stands_in = InLine { inode: 10, is_static: true };
    assert_eq!(prefer(&[pod(7), stands_in], Some(7)), lined(10, Some(7)));
}

fn any_run(number: u8) -> impl Strategy<Value = RunFacts> {
    let workflow = match number {
        0 => Just(Workflow::Pivot).boxed(),
        _ => {
            let all = [
                Workflow::HandOver,
                Workflow::FallBack,
                Workflow::RenewStandby,
                Workflow::Edit,
                Workflow::RenewCerts,
            ];
            prop::sample::select(all.to_vec()).boxed()
        }
    };
    let standings = vec![
        Standing::Completed,
        Standing::RolledBack,
        UNFINISHED,
        ROLLING_BACK,
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
    /// For any journal and any disk: a boot leaves no component that fulcrum had taken away without a
    /// manifest, and does not touch a manifest that is there.
    #[test]
    fn no_boot_leaves_a_component_that_nothing_starts(
        pivot in any_run(0), later in [any_run(1), any_run(2)], more in 0usize..3, manifests in 0u8..8, rollback: bool,
    ) {
        let [one, two] = later;
        let mut runs = vec![pivot.clone(), one, two];
        runs.truncate(1 + more);
        // Runs follow only a pivot that is done.
        if pivot.standing != Standing::Completed {
            runs.truncate(1);
        }
        let on_reboot = if rollback { OnReboot::Rollback } else { OnReboot::Resume };
        let facts = BootFacts { runs: runs.clone(), on_reboot, manifests: some(manifests), boot_id: "now".into(), hold_off: HOLD_OFF };
        let decision = at_boot(&facts);
        prop_assert!(decision.put_back.iter().all(|(component, _)| !facts.manifests.contains(component)));
        let serves = runs.iter().rfind(|run| matches!(run.workflow, Workflow::Pivot | Workflow::HandOver | Workflow::FallBack));
        let rebooted = serves.is_some_and(|run| run.boot_id != "now");
        if rebooted && pivot.standing != Standing::RolledBack {
            for component in ALL {
                let taken = pivot.standing == Standing::Completed || pivot.retired.contains(&component);
                let among = |all: &[(Component, ManifestCopy)]| all.iter().any(|(it, _)| *it == component);
                let later = component != Component::ApiServer
                    && decision.next == Next::HandOver
                    && among(&decision.put_back_later);
                let back = among(&decision.put_back) || later;
                prop_assert!(!taken || back || facts.manifests.contains(&component), "{component}: {decision:?}");
            }
        }
        if !rebooted {
            prop_assert!(decision.put_back.is_empty(), "what runs is left alone");
            prop_assert!(decision.put_back_later.is_empty(), "what runs is left alone");
        }
    }
}
