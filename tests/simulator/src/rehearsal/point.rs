//! Names for the point where a run can be broken, the fault, and what follows. With the name a case can be
//! repeated: `retire-static/kube-apiserver@effect:kill:resume`.

use fulcrum_engine::{Event, Plan, StepId};
use fulcrum_evidence::seal::Stage;
use fulcrum_steps::step_name::{shown, stored};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What stands for a step where the run's end is signed.
pub const SIGNING: &str = "signing";

/// An instant in the life of one step, or in the signing of a run's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The step, or [`SIGNING`].
    pub step: StepId,
    /// The instant.
    pub when: When,
}

/// An instant in the life of a step, or in the signing of a run's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// The intent is durable, and nothing of the effect is there.
    Started,
    /// The effect is there, and its result is not journalled.
    Effect,
    /// The result is durable.
    Done,
    /// The intent to undo is durable, and nothing is undone.
    UndoStarted,
    /// The effect is undone, and the result is not journalled.
    UndoEffect,
    /// The result of the undo is durable.
    UndoDone,
    /// The end of the completed run is durable, and nothing of its signature is there.
    Unsigned,
    /// The node's key is there, and its public half is not among the known ones.
    KeyMade,
    /// The key and its public half are there, and the checkpoint is not.
    KeyKnown,
    /// The checkpoint is there, and the cluster does not know it.
    Signed,
    /// As `Unsigned`, after the way back. The key is there.
    UndoUnsigned,
    /// As `Signed`, after the way back.
    UndoSigned,
}

/// The fault at the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The process is killed (SIGKILL).
    Kill,
    /// The machine loses its power and boots again.
    Reboot,
    /// The API server dies and stays away for a while. The process lives.
    Api,
    /// The machine does not reach the others for a while, and they do not reach it. The process lives.
    Partition,
}

/// What follows the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// The run goes on in its direction: in another process, or in its own if that still lives.
    Resume,
    /// Another process undoes the run. A process that still lives is asked to pause first, as by Ctrl-C.
    Rollback,
}

/// A way to break a run, and what follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Case {
    /// The point.
    pub point: Point,
    /// The fault.
    pub fault: Fault,
    /// What follows.
    pub then: Then,
}

/// The text names no case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{said}`: {why}; say `everywhere`, a step, STEP@WHEN, STEP@WHEN:FAULT or STEP@WHEN:FAULT:THEN, where WHEN is one of {}, \
     FAULT of {} and THEN of {}; the STEP {SIGNING} has for WHEN {}",
    words(&When::OF_STEP), words(.faults), words(&Then::ALL), words(&When::OF_SIGNING)
)]
pub struct ParseCaseError {
    said: String,
    why: String,
    faults: [Fault; 3],
}

impl When {
    /// All instants of a step, in order.
    pub const OF_STEP: [Self; 6] =
        [Self::Started, Self::Effect, Self::Done, Self::UndoStarted, Self::UndoEffect, Self::UndoDone];

    /// All instants of the signing, in order.
    pub const OF_SIGNING: [Self; 6] =
        [Self::Unsigned, Self::KeyMade, Self::KeyKnown, Self::Signed, Self::UndoUnsigned, Self::UndoSigned];

    /// All instants of what is named so.
    fn of(step: &StepId) -> [Self; 6] {
        if step.as_str() == SIGNING { Self::OF_SIGNING } else { Self::OF_STEP }
    }

    /// Whether the instant is on the way back, or at its end.
    pub fn is_undo(self) -> bool {
        matches!(
            self,
            Self::UndoStarted | Self::UndoEffect | Self::UndoDone | Self::UndoUnsigned | Self::UndoSigned
        )
    }

    /// Whether the run is over, and its end is being signed.
    pub fn is_signing(self) -> bool {
        Self::OF_SIGNING.contains(&self)
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Effect => "effect",
            Self::Done => "done",
            Self::UndoStarted => "undo-started",
            Self::UndoEffect => "undo-effect",
            Self::UndoDone => "undo-done",
            Self::Unsigned => "unsigned",
            Self::KeyMade => "key-made",
            Self::KeyKnown => "key-known",
            Self::Signed => "signed",
            Self::UndoUnsigned => "undo-unsigned",
            Self::UndoSigned => "undo-signed",
        }
    }
}

impl Fault {
    /// The faults in a cluster of so many nodes, in order. With others beside it a node is cut off from them, which takes
    /// its API server's store away, too.
    pub const fn of(nodes: u8) -> [Self; 3] {
        match nodes {
            0 | 1 => [Self::Kill, Self::Reboot, Self::Api],
            _ => [Self::Kill, Self::Reboot, Self::Partition],
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Reboot => "reboot",
            Self::Api => "api",
            Self::Partition => "partition",
        }
    }
}

impl Then {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Resume, Self::Rollback];

    const fn word(self) -> &'static str {
        match self {
            Self::Resume => "resume",
            Self::Rollback => "rollback",
        }
    }
}

impl Point {
    /// Whether this stage of a signing is the point.
    pub(super) fn is_stage(&self, stage: Stage) -> bool {
        match self.when {
            When::Unsigned | When::UndoUnsigned => stage == Stage::Unsigned,
            When::KeyMade => stage == Stage::KeyMade,
            When::KeyKnown => stage == Stage::KeyKnown,
            When::Signed | When::UndoSigned => stage == Stage::Signed,
            _ => false,
        }
    }

    /// Whether this durable event is the point. The `effect` points and those of the signing are no events.
    pub(super) fn is(&self, event: &Event) -> bool {
        let when = match event {
            Event::AttemptStarted { .. } => When::Started,
            Event::AttemptDone { .. } => When::Done,
            Event::UndoStarted { .. } => When::UndoStarted,
            Event::UndoDone { .. } => When::UndoDone,
            _ => return false,
        };
        when == self.when && event.step() == Some(&self.step)
    }
}

impl Case {
    /// Whether another case covers this one. On the way back, once the process has gone, resume and rollback
    /// are one: both go on undoing, by one call. So one of them is tried for both: resume after a kill,
    /// rollback after a reboot. A run whose end is being signed is over, and there is nothing to take up.
    fn is_stood_for(&self) -> bool {
        if self.point.when.is_signing() {
            return self.then != Then::Resume;
        }
        let stands = match self.fault {
            Fault::Kill => Then::Resume,
            Fault::Reboot => Then::Rollback,
            Fault::Api | Fault::Partition => return false,
        };
        self.point.when.is_undo() && self.then != stands
    }
}

/// The cases of `plan` that `said` means in a cluster of so many nodes: `everywhere`, or the beginning of a case's
/// name, in whole words. Of two equal cases only one is taken, unless it is named.
///
/// # Errors
/// When it means no case.
pub fn cases(plan: &Plan, said: &str, nodes: u8) -> Result<Vec<Case>, ParseCaseError> {
    let all_faults = Fault::of(nodes);
    let wrong = |why: String| ParseCaseError { said: said.to_owned(), why, faults: all_faults };
    let mut words = said.split(':');
    let place = words.next().unwrap_or_default();
    let (step, when) = match place.split_once('@') {
        Some((step, when)) => (step, Some(parse(when, &When::of(&stored(step))).map_err(wrong)?)),
        None => (place, None),
    };
    let fault = words.next().map(|word| parse(word, &all_faults)).transpose().map_err(wrong)?;
    let then = words.next().map(|word| parse(word, &Then::ALL)).transpose().map_err(wrong)?;
    if let Some(word) = words.next() {
        return Err(wrong(format!("`{word}` is a word too many")));
    }
    let all: Vec<StepId> = plan.steps().iter().map(|spec| spec.id.clone()).chain([SIGNING.into()]).collect();
    let known = |id: &&StepId| place == "everywhere" || **id == stored(step);
    let steps: Vec<&StepId> = all.iter().filter(known).collect();
    if steps.is_empty() {
        let all: Vec<String> = all.iter().map(shown).collect();
        return Err(wrong(format!("there is no step {step}; there are {}", all.join(", "))));
    }
    let points =
        steps.into_iter().flat_map(|step| When::of(step).map(|when| Point { step: step.clone(), when }));
    let faults = |point: Point| all_faults.map(|fault| (point.clone(), fault));
    let thens =
        |(point, fault): (Point, Fault)| Then::ALL.map(|then| Case { point: point.clone(), fault, then });
    let meant = |case: &Case| {
        when.is_none_or(|when| case.point.when == when)
            && fault.is_none_or(|fault| case.fault == fault)
            && then.map_or_else(|| !case.is_stood_for(), |then| case.then == then)
    };
    Ok(points.flat_map(faults).flat_map(thens).filter(meant).collect())
}

fn parse<T: Copy + fmt::Display>(word: &str, all: &[T]) -> Result<T, String> {
    let found = all.iter().find(|one| one.to_string() == word);
    found.copied().ok_or_else(|| format!("`{word}` is none of {}", words(all)))
}

fn words<T: fmt::Display>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", shown(&self.step), self.when)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.point, self.fault, self.then)
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (step, when) = text.split_once('@').ok_or_else(|| format!("`{text}` is not STEP@WHEN"))?;
        let step = stored(step);
        Ok(Self { when: parse(when, &When::of(&step))?, step })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_engine::StepSpec;
    use serde_json::Value;

    #[test]
    fn a_case_is_found_again_by_its_name() {
        let step = |id: &str| StepSpec::new(id, Value::Null);
        let steps = vec![step("lock"), step("retire-static/kube-apiserver").after(["lock"])];
        let plan = Plan::new("test", steps).unwrap();
        let of = |said: &str| cases(&plan, said, 1);
        let all = of("everywhere").unwrap();
        assert_eq!(all.len(), 2 * 3 * (6 + 4) + 6 * 3, "two steps and the signing");
        for case in &all {
            assert_eq!(of(&case.to_string()).unwrap(), std::slice::from_ref(case));
            assert_eq!(case.point.to_string().parse(), Ok(case.point.clone()));
        }
        assert_eq!(of("lock").unwrap().len(), 30);
        assert_eq!(of("lock@undo-done").unwrap().len(), 4);
        assert_eq!(of("lock@undo-done:kill:rollback").unwrap().len(), 1, "named, it is tried");
        assert_eq!(of("lock@done:api").unwrap().len(), 2);
        assert_eq!(of("everywhere:reboot").unwrap().len(), 24);
        assert_eq!(of("signing:kill").unwrap().len(), 6);
        let several = cases(&plan, "lock:partition", 3).unwrap();
        assert_eq!(several.len(), 12, "each of the six, and both of what follows");
        assert_eq!(cases(&plan, "everywhere", 3).unwrap().len(), all.len());
        for (said, why) in [
            ("nowhere", "no step nowhere; there are lock,"),
            ("lock@noon", "`noon` is none of started,"),
            ("lock@unsigned", "`unsigned` is none of started,"),
            ("signing@done", "`done` is none of unsigned,"),
            ("lock@done:flood", "`flood` is none of kill,"),
            ("lock@done:partition", "`partition` is none of kill, reboot, api"),
            ("lock@done:kill:pray", "`pray` is none of resume,"),
            ("lock@done:kill:resume:again", "a word too many"),
        ] {
            let error = of(said).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
