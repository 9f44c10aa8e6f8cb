//! Turns applied events into durable entries.

use super::Executor;
use crate::attempt::What;
use crate::checkpoint;
use crate::clip::clip;
use crate::error::EngineError;
use crate::event::{Event, Outcome};
use crate::here;
use crate::status::StepState;
use crate::step_error::StepError;
use fulcrum_state::{AppendError, Commit, fault};
use std::sync::Arc;
use tokio::sync::Mutex;

/// The run's state is kept beside the journal after this many new entries; a large state more seldom.
pub(super) const CHECKPOINT_EVERY: usize = 512;
const CHECKPOINT_BYTES_AN_ENTRY: usize = 512;

/// The most bytes of bodies and blobs in one commit. A larger batch makes several commits. A single larger
/// value is a file.
const COMMIT_BYTES_MAX: usize = 128 * 1024;

/// An applied event, with what is kept beside its entry: a plan or a pre-image.
pub(super) struct Recorded {
    pub(super) event: Event,
    pub(super) blob: Option<Vec<u8>>,
    /// For an intent with a pre-image: the step's state before it.
    pub(super) before: Option<StepState>,
}

impl Executor<'_> {
    /// Makes the batch durable, and tells the observer.
    pub(super) async fn commit(&mut self) -> Result<(), EngineError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        while !self.batch.is_empty() {
            match self.append_some().await {
                Err(EngineError::Journal(AppendError::NoRoom(error) | AppendError::Blob(error)))
                    if self.batch.iter().any(|recorded| recorded.before.is_some()) =>
                {
                    self.give_up_pre_images(&StepError::retry(error))?;
                }
                result => result?,
            }
        }
        self.answer_letters();
        Ok(())
    }

    /// Appends the batch, or as much of its beginning as one commit holds, and takes that out.
    async fn append_some(&mut self) -> Result<(), EngineError> {
        let (mut commit, mut bytes) = (Commit::default(), 0);
        for recorded in &mut self.batch {
            let body = serde_json::to_string(&recorded.event)
                .map_err(|cause| EngineError::Encode { what: "an event", cause: cause.to_string() })?;
            bytes += body.len() + recorded.blob.as_ref().map_or(0, Vec::len);
            if !commit.bodies.is_empty() && (bytes > COMMIT_BYTES_MAX || self.engine.entry_by_entry()) {
                break;
            }
            commit.bodies.push(body);
            commit.blobs.extend(recorded.blob.take());
        }
        let count = commit.bodies.len();
        commit.over = self.batch[..count].last().is_some_and(|recorded| {
            let over = |outcome| matches!(outcome, Outcome::Completed | Outcome::RolledBack);
            matches!(recorded.event, Event::Ended { outcome, .. } if over(outcome))
        });
        // The way back may take the last room on the disk.
        commit.ends = self.run.rollback().is_some();
        for recorded in &self.batch[..count] {
            fault::point_of("journal/before", recorded.event.kind());
        }
        self.append(commit).await?;
        for recorded in &self.batch[..count] {
            fault::point_of("journal/after", recorded.event.kind());
        }
        let durable: Vec<Recorded> = self.batch.drain(..count).collect();
        self.tell(&durable).await;
        self.keep_checkpoint(count).await;
        Ok(())
    }

    async fn append(&mut self, commit: Commit) -> Result<(), EngineError> {
        #[cfg(feature = "testing")]
        let turn = self.engine.turn().await?;
        match &self.writer {
            Some(writer) => {
                let mut writer = writer.lock().await;
                writer.append(commit).await?;
                here::at_work(writer.run());
            }
            None => {
                let writer =
                    self.engine.journal.begin_as(self.name, self.run.plan().workflow(), commit).await?;
                here::at_work(writer.run());
                self.lease = writer.lease().cloned();
                self.writer = Some(Arc::new(Mutex::new(writer)));
            }
        }
        #[cfg(feature = "testing")]
        if let (Some(turn), Some(recorded)) = (turn, self.batch.first()) {
            turn.has_written(self.name, &recorded.event)?;
        }
        Ok(())
    }

    /// Tells the observer of these events, with the time of their entries: all entries of a commit have one
    /// time.
    async fn tell(&self, durable: &[Recorded]) {
        let (true, Some(writer)) = (self.watcher.is_there(), &self.writer) else { return };
        let (run, time) = {
            let writer = writer.lock().await;
            (writer.run(), writer.time())
        };
        for recorded in durable {
            self.watcher.event(run, time, &recorded.event);
        }
    }

    async fn keep_checkpoint(&mut self, entries: usize) {
        self.entries_since_checkpoint += entries;
        // The state is that of the head only if every applied event is durable.
        if self.batch.is_empty()
            && self.entries_since_checkpoint >= self.checkpoint_after
            && let (Some(state), Some(writer)) = (checkpoint::encode(&self.run), &self.writer)
        {
            self.checkpoint_after = CHECKPOINT_EVERY.max(state.len() / CHECKPOINT_BYTES_AN_ENTRY);
            writer.lock().await.checkpoint(state);
            self.entries_since_checkpoint = 0;
        }
    }

    /// Gives up pre-images that found no room. Their steps have failed before their first effect. The batch's
    /// other events are not affected.
    fn give_up_pre_images(&mut self, error: &StepError) -> Result<(), EngineError> {
        let batch = std::mem::take(&mut self.batch);
        let (without, kept): (Vec<Recorded>, _) =
            batch.into_iter().partition(|recorded| recorded.before.is_some());
        self.batch = kept;
        for Recorded { event, before, .. } in without {
            let (Event::AttemptStarted { step, attempt, .. }, Some(before)) = (event, before) else {
                continue;
            };
            self.run.restore(&step, before);
            self.show_output(&step);
            self.flights.forget(&step);
            self.calls.retain(|call| call.step != step || call.what != What::Run);
            let error = StepError::retry(clip(&format!("the pre-image cannot be kept: {error}")));
            self.save_failed(step, attempt, &error)?;
        }
        self.decide()
    }
}
