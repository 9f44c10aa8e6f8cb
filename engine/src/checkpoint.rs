//! The state of a run as bytes, kept beside the journal. With it, a long run is taken up without reading all
//! of it.
//!
//! The engine never needs it. It ignores a state that is missing, of another format or of another plan, and
//! reads the run from its first entry.

use crate::event::{Actor, Outcome, PauseCause, Role, Session};
use crate::plan::Plan;
use crate::run::{Kept, Phase, Rollback, Run};
use crate::status::{Status, StepState};
use crate::wait::Waited;
use bincode::{Decode, Encode, config};
use fulcrum_state::{Digest, Timestamp};
use std::sync::Arc;

/// Changes when the meaning of the following bytes changes.
const FORMAT: u32 = 3;

/// The state. `None` before the run is begun, and while a process is at work that has said its machine: this format has
/// no place for that.
pub(crate) fn encode(run: &Run) -> Option<Vec<u8>> {
    let kept = run.kept();
    if kept.session.is_some_and(|session| session.machine.is_some()) {
        return None;
    }
    let state = StateV3 {
        plan: kept.stored_plan?.to_string(),
        phase: match kept.phase {
            Phase::New => return None,
            Phase::Active => PhaseV1::Active,
            Phase::Paused { reason, cause } => PhaseV1::Paused(reason.clone(), cause_number(*cause)),
            Phase::Waiting { until } => PhaseV1::Waiting(until.map(|until| until.as_micros())),
            Phase::Ended(outcome, reason) => PhaseV1::Ended(outcome_number(*outcome), reason.clone()),
        },
        session: kept.session.map(|session| {
            let role = session.role.as_str().to_owned();
            (session.boot_id.clone(), session.pid, session.program.clone(), role)
        }),
        rollback: kept.rollback.map(|rollback| (rollback.reason.clone(), rollback.mode.clone())),
        deaths: kept.deaths,
        in_session: kept.in_session,
        steps: kept.states.iter().map(StepV3::of).collect(),
    };
    bincode::encode_to_vec((FORMAT, state), config::standard()).ok()
}

/// The plan of a state.
pub(crate) fn plan_of(bytes: &[u8]) -> Option<Digest> {
    decode_state(bytes)?.plan.parse().ok()
}

/// The run, if the state belongs to a run of this plan.
pub(crate) fn decode(bytes: &[u8], plan: Arc<Plan>) -> Option<Run> {
    let state = decode_state(bytes)?;
    let phase = match state.phase {
        PhaseV1::Active => Phase::Active,
        PhaseV1::Paused(reason, cause) => {
            let causes = [
                PauseCause::Unknown,
                PauseCause::Person,
                PauseCause::Signal,
                PauseCause::Breakpoint,
                PauseCause::Above,
                PauseCause::Queued,
            ];
            let cause = causes.into_iter().find(|known| cause_number(*known) == cause)?;
            Phase::Paused { reason, cause }
        }
        PhaseV1::Waiting(until) => Phase::Waiting { until: until.map(Timestamp::from_micros) },
        PhaseV1::Ended(outcome, reason) => {
            let outcomes =
                [Outcome::Completed, Outcome::RolledBack, Outcome::NeedsOperator, Outcome::Abandoned];
            let outcome = outcomes.into_iter().find(|known| outcome_number(*known) == outcome)?;
            Phase::Ended(outcome, reason)
        }
    };
    let session = state.session.map(|(boot_id, pid, program, role)| Session {
        boot_id,
        pid,
        program,
        role: Role::new(role),
        // Only entries keep it: the engine asks no run for it.
        actor: Actor::new(),
        machine: None,
    });
    let states: Vec<StepState> = state.steps.into_iter().map(StepV3::into_state).collect::<Option<_>>()?;
    let rollback = state.rollback.map(|(reason, mode)| Rollback { reason, mode });
    let kept = Kept {
        stored_plan: state.plan.parse().ok(),
        phase: &phase,
        session: session.as_ref(),
        rollback: rollback.as_ref(),
        deaths: state.deaths,
        in_session: state.in_session,
        states: &states,
    };
    (plan.steps().len() == kept.states.len()).then(|| Run::from_kept(plan, &kept))
}

fn decode_state(bytes: &[u8]) -> Option<StateV3> {
    let (format, used): (u32, usize) = bincode::decode_from_slice(bytes, config::standard()).ok()?;
    if format != FORMAT {
        return None;
    }
    let rest = &bytes[used..];
    let (state, used): (StateV3, usize) = bincode::decode_from_slice(rest, config::standard()).ok()?;
    (used == rest.len()).then_some(state)
}

#[derive(Encode, Decode)]
struct StateV3 {
    plan: String,
    phase: PhaseV1,
    session: Option<(String, u32, String, String)>,
    rollback: Option<(String, Option<String>)>,
    deaths: u32,
    in_session: bool,
    steps: Vec<StepV3>,
}

#[derive(Encode, Decode)]
enum PhaseV1 {
    Active,
    Paused(String, u8),
    Ended(u8, String),
    Waiting(Option<u64>),
}

#[derive(Encode, Decode)]
struct StepV3 {
    status: u8,
    why: String,
    attempts: u32,
    undos: u32,
    failures: u32,
    settled: u32,
    deaths: u32,
    pre_image: Option<String>,
    /// JSON.
    output: Option<String>,
    /// What it waits for and has waited for, as JSON.
    wait: Option<String>,
    waited: Option<String>,
    deadline: Option<u64>,
}

impl StepV3 {
    fn of(state: &StepState) -> Self {
        let (status, why) = match &state.status {
            Status::Waiting => (0, ""),
            Status::Running => (1, ""),
            Status::NeedsProbe => (2, ""),
            Status::Done => (3, ""),
            Status::Failed(why) => (4, why.as_str()),
            Status::Foreign(why) => (5, why.as_str()),
            Status::ToUndo => (6, ""),
            Status::Undoing => (7, ""),
            Status::Undone => (8, ""),
            Status::UndoFailed(why) => (9, why.as_str()),
            Status::Suspended(_) => (10, ""),
        };
        let wait = match &state.status {
            Status::Suspended(wait) => serde_json::to_string(wait.as_ref()).ok(),
            _ => None,
        };
        Self {
            status,
            why: why.to_owned(),
            attempts: state.attempts,
            undos: state.undos,
            failures: state.failures,
            settled: state.settled,
            deaths: state.deaths,
            pre_image: state.pre_image.map(|digest| digest.to_string()),
            output: state.output.as_ref().map(ToString::to_string),
            wait,
            waited: state.waited.as_ref().and_then(|waited| serde_json::to_string(waited.as_ref()).ok()),
            deadline: state.deadline.map(|deadline| deadline.as_micros()),
        }
    }

    fn into_state(self) -> Option<StepState> {
        let status = match self.status {
            0 => Status::Waiting,
            1 => Status::Running,
            2 => Status::NeedsProbe,
            3 => Status::Done,
            4 => Status::Failed(self.why),
            5 => Status::Foreign(self.why),
            6 => Status::ToUndo,
            7 => Status::Undoing,
            8 => Status::Undone,
            9 => Status::UndoFailed(self.why),
            10 => Status::Suspended(Arc::new(serde_json::from_str(&self.wait?).ok()?)),
            _ => return None,
        };
        let waited: Option<Waited> = self.waited.map(|text| serde_json::from_str(&text)).transpose().ok()?;
        let pre_image = self.pre_image.map(|text| text.parse()).transpose().ok()?;
        let output = self.output.map(|text| serde_json::from_str(&text)).transpose().ok()?.map(Arc::new);
        Some(StepState {
            status,
            attempts: self.attempts,
            undos: self.undos,
            failures: self.failures,
            settled: self.settled,
            deaths: self.deaths,
            pre_image,
            output,
            waited: waited.map(Arc::new),
            deadline: self.deadline.map(Timestamp::from_micros),
        })
    }
}

fn cause_number(cause: PauseCause) -> u8 {
    match cause {
        PauseCause::Unknown => 0,
        PauseCause::Person => 1,
        PauseCause::Signal => 2,
        PauseCause::Breakpoint => 3,
        PauseCause::Above => 4,
        PauseCause::Queued => 5,
    }
}

fn outcome_number(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Completed => 0,
        Outcome::RolledBack => 1,
        Outcome::NeedsOperator => 2,
        Outcome::Abandoned => 3,
    }
}
