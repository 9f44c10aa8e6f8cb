//! Which process may go on with a run: those on the machines that its next steps are bound to, or any.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::load::load;
use crate::plan::StepSpec;
use crate::run::{Action, Phase, Run};
use crate::wait::Wait;
use fulcrum_state::{Reader, Timestamp};

/// Why a run stays where it is.
const STAYS: &str = "a journal in a directory stays on its machine: carry the run out there, or keep the journal \
    in a store that both machines reach";
const STAYS_BELOW: &str = "the run of a step is carried out where that step is: bind the step above it, too";

impl Engine {
    /// Refuses steps that are bound elsewhere, if the run cannot move.
    pub(crate) fn check_machines<'a>(
        &self,
        steps: impl IntoIterator<Item = &'a StepSpec>,
    ) -> Result<(), EngineError> {
        let todo = match (self.journal.is_shared(), self.is_child) {
            (true, false) => return Ok(()),
            (false, _) => STAYS,
            (true, true) => STAYS_BELOW,
        };
        let here = &self.session.machine;
        let mut bound = steps.into_iter().filter(|spec| spec.is_elsewhere(here.as_deref()));
        match bound.find_map(|spec| Some((&spec.id, spec.machine()?))) {
            None => Ok(()),
            Some((step, machine)) => {
                let (step, machine, here) = (step.clone(), machine.to_owned(), here.clone());
                Err(EngineError::OtherMachine { step, machine, here, todo })
            }
        }
    }
}

/// Whether the run waits, and none of its waits is over. A run that waits for another one waits as long as that
/// one does. A step that is bound to another machine than `here` waits for a process there.
pub(crate) fn still_waits(reader: &Reader, run: &Run, now: Timestamp, here: Option<&str>) -> bool {
    matches!(run.phase(), Phase::Waiting { .. })
        && run.due().iter().all(|action| {
            let spec = action.step().and_then(|step| run.plan().step(step));
            spec.is_some_and(|spec| spec.is_elsewhere(here)) || !is_ready(reader, run, action, now, here)
        })
}

/// The machines on which something of a run that waits can go on.
#[cfg(feature = "postgres")]
pub(crate) fn machines(reader: &Reader, run: &Run, now: Timestamp) -> Vec<String> {
    let bound = |action: &Action| {
        let machine = run.plan().step(action.step()?)?.machine()?;
        is_ready(reader, run, action, now, Some(machine)).then(|| machine.to_owned())
    };
    let machines: std::collections::BTreeSet<String> = run.due().iter().filter_map(bound).collect();
    machines.into_iter().collect()
}

/// Whether nothing but a machine is missing.
fn is_ready(reader: &Reader, run: &Run, action: &Action, now: Timestamp, here: Option<&str>) -> bool {
    let Action::Await { step, until } = action else { return true };
    if until.is_some_and(|until| until <= now) {
        return true;
    }
    let other = run.waits().find_map(|(waiting, wait)| match wait {
        Wait::Run { run, .. } if waiting == step => Some(*run),
        _ => None,
    });
    other.is_some_and(|other| !load(reader, other).is_ok_and(|other| still_waits(reader, &other, now, here)))
}
