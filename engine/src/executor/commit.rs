//! From events that were applied to entries that are durable.

use super::Executor;
use crate::error::EngineError;
use fulcrum_state::{Head, RunId, Timestamp, fault};

impl Executor<'_> {
    /// Makes the batch durable, then tells the observer.
    pub(super) async fn commit(&mut self) -> Result<(), EngineError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let encode =
            |cause: serde_json::Error| EngineError::Encode { what: "an event", cause: cause.to_string() };
        let bodies =
            batch.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>().map_err(encode)?;
        batch.iter().for_each(|event| fault::point_of("journal/before", event.kind()));
        let (run, head) = self.append(bodies).await?;
        batch.iter().for_each(|event| fault::point_of("journal/after", event.kind()));
        (self.id, self.head) = (Some(run), Some(head));
        let time = Timestamp::now();
        for event in &batch {
            self.engine.observer.event(run, time, event);
        }
        Ok(())
    }

    async fn append(&mut self, bodies: Vec<String>) -> Result<(RunId, Head), EngineError> {
        let journal = &self.engine.journal;
        #[cfg(feature = "testing")]
        if self.engine.entry_by_entry && bodies.len() > 1 {
            let mut last = None;
            for body in bodies {
                last = Some(Box::pin(self.append(vec![body])).await?);
                self.id = last.map(|(run, _)| run);
            }
            return last.ok_or_else(|| EngineError::Lost { cause: "an empty commit".into() });
        }
        Ok(match self.id {
            Some(run) => (run, journal.append(run, bodies).await?),
            None => journal.begin(self.run.plan().workflow(), bodies).await?,
        })
    }
}
