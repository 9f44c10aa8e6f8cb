//! Runs for programs: docs/formats/history.md has the fields.

use crate::render::time::rfc3339;
use crate::story::{Actor, Change, Moment, Story};
use fulcrum_engine::Session;
use fulcrum_engine::history::Attempt;
use fulcrum_engine::state::Timestamp;
use fulcrum_steps::plan;
use fulcrum_steps::step_name::{reworded, shown};
use serde_json::{Value, json};

/// The version of what `history -o json` and `-o jsonl` write. Fields may be added to a version; a field that
/// goes, or means something else, makes the next one.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// One run.
pub(crate) fn run_json(story: &Story) -> Value {
    let info = story.info();
    let settings = info.as_ref().map(|info| &info.settings);
    let path = story.path();
    json!({
        "run": story.header.run,
        "kind": plan::shown(&story.header.kind),
        "created": rfc3339(story.header.created),
        "last": rfc3339(story.last),
        "standing": story.standing(),
        "failed": story.failed(),
        "outcome": story.history.outcome,
        "why": info.as_ref().and_then(|info| info.why.clone()),
        "reason": story.history.reason.as_deref().map(reworded),
        "from": path.first(),
        "to": path.last().filter(|_| !story.is_between()),
        "path": path,
        "node": settings.map(|settings| &settings.node),
        "kubernetes": settings.map(|settings| format!("1.{}", settings.kubernetes_minor)),
        "handover": settings.map(|settings| settings.handover),
        "of_pivot": settings.and_then(|settings| settings.of_pivot),
        "forward_ms": story.forward().as_millis() as u64,
        "back_ms": story.back().map(|back| back.as_millis() as u64),
        "counts": story.counts(),
        "entries": story.header.head.seq,
        "head": story.header.head.hash,
        "events": story.moments.iter().filter_map(moment_json).collect::<Vec<_>>(),
        "attempts": story.attempts().iter().map(attempt_json).collect::<Vec<_>>(),
    })
}

/// What happened to the run itself. Attempts have a list of their own.
fn moment_json(moment: &Moment) -> Option<Value> {
    let event = |event: &str, time: Timestamp, reason: &str| json!({ "event": event, "time": rfc3339(time), "reason": reason });
    Some(match moment {
        Moment::Attempt(_) => return None,
        Moment::Session { time, session, change } => session_json(*time, session, *change),
        Moment::RollbackStarted { time, reason } => event("rollback-started", *time, reason),
        Moment::Paused { time, reason } => event("paused", *time, reason),
        Moment::Ended { time, outcome, reason } => {
            json!({ "event": "ended", "time": rfc3339(*time), "outcome": outcome, "reason": reason })
        }
    })
}

fn session_json(time: Timestamp, session: &Session, change: Change) -> Value {
    json!({
        "event": if change == Change::Begun { "begun" } else { "resumed" },
        "time": rfc3339(time),
        "after_reboot": change == Change::Rebooted,
        "boot_id": session.boot_id,
        "pid": session.pid,
        "program": session.program,
        "actor": Actor::of(session),
    })
}

fn attempt_json(attempt: &Attempt) -> Value {
    json!({
        "step": shown(&attempt.step),
        "direction": attempt.direction,
        "attempt": attempt.attempt,
        "started": rfc3339(attempt.started),
        "ended": attempt.ended.map(rfc3339),
        "outcome": attempt.result,
        "boot_id": attempt.session.boot_id,
        "pid": attempt.session.pid,
        "program": attempt.session.program,
        "role": attempt.session.role,
        "detail": attempt.detail,
        "output": attempt.output,
        "entry": attempt.seq,
    })
}
