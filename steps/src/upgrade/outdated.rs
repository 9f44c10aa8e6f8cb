//! What stands on a component's command line and would end a process of another release at its start: flags that the release
//! does not know any more, and feature gates that it does not know or takes with one value only. Pure.
//!
//! A process reads which gates it knows from itself, whatever it emulates. Which of them are locked it reads from their
//! entries for the release that it emulates (component-base, `featuregate`). So a gate that is gone ends an upgrade at
//! once, and a gate that is locked ends `finalize`.

use super::gate_table::{EMULATING, GATES};
use super::gone_flags::gone_since;
use super::release_of::KUBE;
use crate::component::Component;
use crate::manifest::{Words, WordsError};
use std::fmt;

/// The flag with the feature gates.
const FLAG: &str = "feature-gates";

/// The minor release of a process, and the one that it behaves as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Behaves {
    /// Its own.
    pub(super) of: u32,
    /// The one that it emulates. Its own if it emulates none.
    pub(super) emulated: u32,
}

/// What a component's command line has and a release does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Outdated {
    /// A flag that the release does not know any more.
    #[error(
        "{component} of 1.{since} and later does not know --{flag}: take it out with `fulcrum edit {component} --unset {flag}`, \
         and see what replaces it in the release notes"
    )]
    Flag {
        /// The component.
        component: Component,
        /// The flag.
        flag: &'static str,
        /// The first minor release without it.
        since: u32,
    },
    /// Feature gates with which the component would not start.
    #[error("{component} would not start with its --{FLAG}: {}; {}", list(.gates), way(*.component, .rest))]
    Gates {
        /// The component.
        component: Component,
        /// The gates, and why.
        gates: Vec<OutdatedGate>,
        /// The value of the flag without them. Empty if nothing is left.
        rest: String,
    },
}

/// A feature gate that a release does not take as it is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutdatedGate {
    /// The gate.
    pub name: String,
    /// Why not.
    pub why: GateRefused,
}

/// Why a release does not take a feature gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateRefused {
    /// No release from this minor one on knows the gate.
    Gone(u32),
    /// It can have this value only, from this minor release on.
    Locked(u32, bool),
    /// A process of the first minor release does not know the gate yet while it emulates the second.
    NotYet(u32, u32),
}

impl fmt::Display for OutdatedGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.why {
            GateRefused::Gone(since) => write!(f, "1.{since} and later do not know {name}"),
            GateRefused::Locked(since, only) => write!(f, "1.{since} and later take {name} as {only} only"),
            GateRefused::NotYet(of, emulated) => {
                write!(f, "1.{of} does not know {name} while it behaves as 1.{emulated}")
            }
        }
    }
}

fn list(gates: &[OutdatedGate]) -> String {
    gates.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What a person does about it.
fn way(component: Component, rest: &str) -> String {
    match rest {
        "" => format!("take it out with `fulcrum edit {component} --unset {FLAG}`"),
        rest => format!("leave the others with `fulcrum edit {component} --set {FLAG}={rest}`"),
    }
}

/// What a process that behaves so does not take of these words.
///
/// # Errors
/// When the words do not run the component.
pub(super) fn outdated(
    component: Component,
    words: &Words,
    behaves: Behaves,
) -> Result<Vec<Outdated>, WordsError> {
    let flags = words.flags(component)?;
    let gone = flags.keys().filter_map(|name| gone_since(component, behaves.of, name));
    let mut found: Vec<_> = gone.map(|(flag, since)| Outdated::Flag { component, flag, since }).collect();
    let values = words.values(component, FLAG)?;
    let (mut gates, mut rest) = (Vec::new(), Vec::new());
    for written in
        values.iter().flat_map(|value| value.split(',')).filter(|written| !written.trim().is_empty())
    {
        match gate(written).and_then(|(name, value)| refused(name, value, behaves).map(|why| (name, why))) {
            Some((name, why)) => gates.push(OutdatedGate { name: name.to_owned(), why }),
            None => rest.push(written),
        }
    }
    if !gates.is_empty() {
        found.push(Outdated::Gates { component, gates, rest: rest.join(",") });
    }
    Ok(found)
}

/// The name and the value of a gate of `kube`. `None` for what is no such gate, which a release decides about itself.
fn gate(written: &str) -> Option<(&str, Option<bool>)> {
    let (name, value) = written.split_once('=')?;
    let name = match name.trim().split_once(':') {
        Some((of, name)) => (of.trim() == KUBE).then_some(name.trim())?,
        None => name.trim(),
    };
    Some((name, as_go_reads(value.trim())))
}

fn as_go_reads(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Why a process that behaves so does not take the gate with this value.
fn refused(name: &str, value: Option<bool>, behaves: Behaves) -> Option<GateRefused> {
    let has = |names: &str| names.split_whitespace().any(|one| one == name);
    let emulating = |(of, gate, only): &(u32, &str, Option<bool>)| {
        let applies = *of == behaves.of && *gate == name && behaves.emulated < behaves.of;
        applies.then_some(match only {
            Some(only) => GateRefused::Locked(*of, *only),
            None => GateRefused::NotYet(*of, behaves.emulated),
        })
    };
    let gone = GATES.iter().find(|row| row.since <= behaves.of && has(row.gone));
    if let Some(row) = gone {
        return Some(GateRefused::Gone(row.since));
    }
    let locked = GATES.iter().filter(|row| row.since <= behaves.emulated);
    let mut locked = locked.filter_map(|row| {
        let only = if has(row.on) { true } else { has(row.off).then_some(false)? };
        Some(GateRefused::Locked(row.since, only))
    });
    let why = EMULATING.iter().find_map(emulating).or_else(|| locked.next())?;
    match why {
        GateRefused::Locked(_, only) if value == Some(only) => None,
        why => Some(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::NEWEST_TRIED;

    const SERVER: Component = Component::ApiServer;

    fn of(minor: u32) -> Behaves {
        Behaves { of: minor, emulated: minor }
    }

    fn said(words: &[&str], behaves: Behaves) -> String {
        let command =
            std::iter::once("kube-apiserver").chain(words.iter().copied()).map(str::to_owned).collect();
        let found = outdated(SERVER, &Words { command, args: Vec::new() }, behaves).unwrap();
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join("|")
    }

    /// Each gate of the table by name. While the release before is emulated, only what is gone is refused.
    #[test]
    fn every_gate_is_refused_from_its_release_on_and_not_before() {
        for row in &GATES {
            let before = of(row.since - 1);
            let emulates = Behaves { of: row.since, emulated: row.since - 1 };
            let names = |text: &'static str| text.split(' ').filter(|name| !name.is_empty());
            for (name, value) in names(row.gone).flat_map(|name| [(name, true), (name, false)]) {
                for behaves in [of(row.since), emulates, of(99)] {
                    assert_eq!(
                        refused(name, Some(value), behaves),
                        Some(GateRefused::Gone(row.since)),
                        "{name}"
                    );
                }
                assert!(!matches!(refused(name, Some(value), before), Some(GateRefused::Gone(_))), "{name}");
            }
            let locked =
                names(row.on).map(|name| (name, true)).chain(names(row.off).map(|name| (name, false)));
            for (name, only) in locked {
                let why = Some(GateRefused::Locked(row.since, only));
                assert_eq!(refused(name, Some(!only), of(row.since)), why, "{name}");
                assert_eq!(refused(name, None, of(row.since)), why, "{name}");
                assert_eq!(refused(name, Some(only), of(row.since)), None, "{name}");
                assert_eq!(refused(name, Some(!only), before), None, "{name}");
                let early = EMULATING.iter().any(|(since, gate, _)| (*since, *gate) == (row.since, name));
                assert_eq!(refused(name, Some(!only), emulates), why.filter(|_| early), "{name}");
            }
        }
    }

    /// A release that is tried has its row: `release.rs` and this table grow together.
    #[test]
    fn the_table_has_every_release_up_to_the_newest_that_was_tried() {
        let releases: Vec<u32> = GATES.iter().map(|row| row.since).collect();
        assert_eq!(releases, (21..=NEWEST_TRIED).collect::<Vec<_>>());
    }

    #[test]
    fn a_gates_entries_for_the_release_that_is_emulated_are_the_new_ones() {
        let emulates = |of: u32| Behaves { of, emulated: of - 1 };
        let policy = said(&["--feature-gates=MutatingAdmissionPolicy=true"], emulates(32));
        assert!(
            policy.contains("1.32 does not know MutatingAdmissionPolicy while it behaves as 1.31"),
            "{policy}"
        );
        assert_eq!(said(&["--feature-gates=MutatingAdmissionPolicy=true"], of(32)), "");
        let options = said(&["--feature-gates=TopologyManagerPolicyOptions=false"], emulates(36));
        assert!(
            options.contains("1.36 and later take TopologyManagerPolicyOptions as true only"),
            "{options}"
        );
    }

    #[test]
    fn one_command_leaves_what_the_release_takes() {
        let gates = [
            "--feature-gates=Mine=true,HonorPVReclaimPolicy=true",
            "--v=2",
            "--feature_gates",
            "kube: MemoryManager=true ,other:MemoryManager=true,ImageVolume=false,AllAlpha=false",
        ];
        assert_eq!(said(&gates, of(35)), "");
        let now = said(&gates, Behaves { of: 36, emulated: 35 });
        assert_eq!(
            now,
            "kube-apiserver would not start with its --feature-gates: 1.36 and later do not know HonorPVReclaimPolicy, \
             1.36 and later do not know MemoryManager; leave the others with `fulcrum edit kube-apiserver --set \
             feature-gates=Mine=true,other:MemoryManager=true,ImageVolume=false,AllAlpha=false`"
        );
        let finalized = said(&gates, of(36));
        assert!(finalized.contains(", 1.36 and later take ImageVolume as true only; leave"), "{finalized}");
        let alone = said(&["--feature-gates=HonorPVReclaimPolicy=false", "--cloud-config=/x"], of(36));
        assert!(
            alone.starts_with("kube-apiserver of 1.33 and later does not know --cloud-config"),
            "{alone}"
        );
        assert!(alone.contains("--unset cloud-config`"), "{alone}");
        assert!(
            alone.ends_with("take it out with `fulcrum edit kube-apiserver --unset feature-gates`"),
            "{alone}"
        );
    }

    /// Nobody but the release decides about what it was not asked about: a vendor's gate, a typing error, an odd value.
    #[test]
    fn what_no_table_has_is_not_refused() {
        for words in
            ["--feature-gates=Vendors=true", "--feature-gates=,=,x", "--feature-gates", "--vendors-flag=1"]
        {
            assert_eq!(said(&[words], of(37)), "", "{words}");
        }
    }
}
