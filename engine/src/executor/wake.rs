//! What wakes the executor while a step waits: the time, and decisions.

use super::Executor;
use crate::desk::Letter;
use crate::error::EngineError;
use crate::event::Event;
use fulcrum_state::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// The wall clock may be set meanwhile. After this long it is looked at again.
const CLOCK_LOOK: Duration = Duration::from_secs(30);

impl Executor<'_> {
    /// When to look whether a wait has ended.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let left = self.wake?.since(Timestamp::now());
        Some(Instant::now() + left.min(CLOCK_LOOK))
    }

    /// Takes a decision in. Its answer is told once it is durable, or at once if the step does not ask.
    pub(super) fn take_letter(&mut self, letter: Letter) -> Result<(), EngineError> {
        let Letter { step, decision, session, answer } = letter;
        if let Err(why) = self.run.asks(&step, Timestamp::now()) {
            let run = self.name;
            // A caller that is gone wants no answer.
            let _ = answer.send(Err(EngineError::NotAsked { run, step, why }));
            return Ok(());
        }
        self.record(Event::Decided { step, decision, session })?;
        self.decided.push(answer);
        Ok(())
    }

    /// Tells those who have decided that it is durable.
    pub(super) fn answer_letters(&mut self) {
        for answer in self.decided.drain(..) {
            let _ = answer.send(Ok(()));
        }
    }
}
