//! Where decisions are handed in for runs that this process is at work on.

use crate::error::EngineError;
use crate::event::Session;
use crate::plan::StepId;
use crate::wait::Decision;
use fulcrum_state::RunId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// The runs at work. The clones of an engine share one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Desk {
    runs: Arc<Mutex<Runs>>,
}

/// Two calls that begin one run know only later which of them does.
type Runs = BTreeMap<RunId, Vec<mpsc::UnboundedSender<Letter>>>;

/// A decision, and where its fate is told: durable, or refused.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) step: StepId,
    pub(crate) decision: Decision,
    pub(crate) session: Session,
    pub(crate) answer: oneshot::Sender<Result<(), EngineError>>,
}

/// The letters to one run, until it is dropped.
#[derive(Debug)]
pub(crate) struct Inbox {
    desk: Desk,
    run: RunId,
    sender: mpsc::UnboundedSender<Letter>,
    letters: mpsc::UnboundedReceiver<Letter>,
}

impl Desk {
    /// From now on letters reach this run.
    pub(crate) fn open(&self, run: RunId) -> Inbox {
        let (sender, letters) = mpsc::unbounded_channel();
        self.runs().entry(run).or_default().push(sender.clone());
        Inbox { desk: self.clone(), run, sender, letters }
    }

    /// Hands a decision in. `None` if nobody is at work on the run, or no longer. Then it has had no effect.
    pub(crate) async fn hand_in(
        &self,
        run: RunId,
        step: StepId,
        decision: Decision,
        session: Session,
    ) -> Option<Result<(), EngineError>> {
        let senders = self.runs().get(&run).cloned()?;
        for sender in senders {
            let (answer, answered) = oneshot::channel();
            let (step, decision, session) = (step.clone(), decision.clone(), session.clone());
            if sender.send(Letter { step, decision, session, answer }).is_ok()
                && let Ok(answer) = answered.await
            {
                return Some(answer);
            }
        }
        None
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    /// A letter that is there already.
    pub(crate) fn waiting(&mut self) -> Option<Letter> {
        self.letters.try_recv().ok()
    }

    /// The next letter. Never comes back without one.
    pub(crate) async fn next(&mut self) -> Letter {
        match self.letters.recv().await {
            Some(letter) => letter,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut runs = self.desk.runs();
        if let Some(senders) = runs.get_mut(&self.run) {
            senders.retain(|sender| !sender.same_channel(&self.sender));
            if senders.is_empty() {
                runs.remove(&self.run);
            }
        }
    }
}
