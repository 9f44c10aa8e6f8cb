//! From events that were applied to entries that are durable.

use super::Executor;
use crate::attempt::What;
use crate::checkpoint;
use crate::clip::clip;
use crate::error::EngineError;
use crate::event::{Event, Outcome};
use crate::status::StepState;
use crate::step::StepError;
use fulcrum_state::{AppendError, Commit, Head, RunId, Timestamp, fault};
use std::sync::Arc;
use tokio::sync::Mutex;

/// The run's state is kept beside the journal once so many entries have come on top; a large state more seldom.
pub(super) const CHECKPOINT_EVERY: usize = 512;
const CHECKPOINT_BYTES_AN_ENTRY: usize = 512;

/// An event that was applied, with what is kept beside its entry: a plan or a pre-image.
pub(super) struct Recorded {
    pub(super) event: Event,
    pub(super) blob: Option<Vec<u8>>,
    /// For an intent with a pre-image: the step before it.
    pub(super) before: Option<StepState>,
}

impl Executor<'_> {
    /// Makes the batch durable, then tells the observer.
    pub(super) async fn commit(&mut self) -> Result<(), EngineError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        loop {
            match self.append_batch().await {
                Err(EngineError::Journal(AppendError::NoRoom(error)))
                    if self.batch.iter().any(|recorded| recorded.before.is_some()) =>
                {
                    self.give_up_pre_images(&StepError::from(error))?;
                }
                result => {
                    self.batch.clear();
                    return result;
                }
            }
        }
    }

    async fn append_batch(&mut self) -> Result<(), EngineError> {
        let mut bodies = Vec::with_capacity(self.batch.len());
        for recorded in &self.batch {
            let body = serde_json::to_string(&recorded.event)
                .map_err(|cause| EngineError::Encode { what: "an event", cause: cause.to_string() })?;
            bodies.push(body);
        }
        let blobs: Vec<Option<Vec<u8>>> =
            self.batch.iter_mut().map(|recorded| recorded.blob.take()).collect();
        let over = matches!(
            self.batch.last(),
            Some(Recorded {
                event: Event::Ended { outcome: Outcome::Completed | Outcome::RolledBack, .. },
                ..
            })
        );
        let before = self.head().await;
        self.batch.iter().for_each(|recorded| fault::point_of("journal/before", recorded.event.kind()));
        for commit in self.commits(bodies, blobs, over) {
            self.append(commit).await?;
        }
        self.batch.iter().for_each(|recorded| fault::point_of("journal/after", recorded.event.kind()));
        self.tell(before).await;
        self.keep_checkpoint().await;
        Ok(())
    }

    /// All in one, unless a test wants to die between any two entries.
    fn commits(&self, bodies: Vec<String>, blobs: Vec<Option<Vec<u8>>>, over: bool) -> Vec<Commit> {
        #[cfg(feature = "testing")]
        if self.engine.mortality.is_some() {
            let last = bodies.len() - 1;
            let entries = bodies.into_iter().zip(blobs).enumerate();
            let commit = |(at, (body, blob)): (usize, (String, Option<Vec<u8>>))| Commit {
                bodies: vec![body],
                blobs: blob.into_iter().collect(),
                over: over && at == last,
            };
            return entries.map(commit).collect();
        }
        vec![Commit { bodies, blobs: blobs.into_iter().flatten().collect(), over }]
    }

    async fn append(&mut self, commit: Commit) -> Result<(), EngineError> {
        #[cfg(feature = "testing")]
        if let Some(mortality) = &self.engine.mortality {
            mortality.before_an_entry()?;
        }
        let seq = match &self.writer {
            Some(writer) => writer.lock().await.append(commit).await?.seq,
            None => {
                let writer = self.engine.journal.begin(self.run.plan().workflow(), commit).await?;
                let seq = writer.head().seq;
                self.writer = Some(Arc::new(Mutex::new(writer)));
                seq
            }
        };
        #[cfg(feature = "testing")]
        if let Some(mortality) = &self.engine.mortality {
            mortality.after_entry(seq)?;
        }
        let _ = seq;
        Ok(())
    }

    async fn head(&self) -> Option<(RunId, Head)> {
        let writer = self.writer.as_ref()?.lock().await;
        Some((writer.run(), writer.head()))
    }

    /// Tells the observer of the batch, with the times of its entries.
    async fn tell(&self, before: Option<(RunId, Head)>) {
        let (true, Some((run, _))) = (self.watcher.is_there(), self.head().await) else { return };
        let reader = self.engine.journal.reader();
        let mut entries = match before {
            Some((_, head)) => reader.entries_after(run, head),
            None => reader.entries(run),
        };
        for recorded in &self.batch {
            // It was acknowledged a moment ago. If it cannot be read, that is found by whoever reads the run.
            let time = entries.next().and_then(Result::ok).map_or_else(Timestamp::now, |entry| entry.time);
            self.watcher.event(run, time, &recorded.event);
        }
    }

    async fn keep_checkpoint(&mut self) {
        self.entries_since_checkpoint += self.batch.len();
        if self.entries_since_checkpoint >= self.checkpoint_after
            && let (Some(state), Some(writer)) = (checkpoint::encode(&self.run), &self.writer)
        {
            self.checkpoint_after = CHECKPOINT_EVERY.max(state.len() / CHECKPOINT_BYTES_AN_ENTRY);
            writer.lock().await.checkpoint(state);
            self.entries_since_checkpoint = 0;
        }
    }

    /// There is no room for pre-images: their steps have failed before their first effect. The others of the
    /// batch are not concerned.
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
            self.flights.forget(&step);
            self.calls.retain(|call| call.step != step || call.what != What::Run);
            let error = StepError::retry(clip(&format!("the pre-image cannot be kept: {error}")));
            self.save_failed(step, attempt, &error)?;
        }
        self.decide()
    }
}
