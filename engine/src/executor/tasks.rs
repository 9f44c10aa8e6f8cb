//! The calls at work: tasks, or calls that were done before they had to be tasks.

use crate::attempt::Finished;
use futures::future::BoxFuture;
use std::collections::VecDeque;
use std::task::Poll;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, JoinSet};

/// The calls that have not been taken in.
pub(super) struct Tasks {
    at_work: JoinSet<Finished>,
    ended: VecDeque<Finished>,
    /// Whether the runtime has one thread. Then a task begins no earlier than a call that is polled here, and
    /// making it one costs more than most of a short step.
    one_thread: bool,
}

impl Tasks {
    pub(super) fn new() -> Self {
        let one_thread = Handle::try_current()
            .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::CurrentThread);
        Self { at_work: JoinSet::new(), ended: VecDeque::new(), one_thread }
    }

    /// Begins a call. It becomes a task, on one thread only if it has to wait for something.
    pub(super) async fn begin(&mut self, mut call: BoxFuture<'static, Finished>) {
        if self.one_thread
            && let Poll::Ready(finished) = futures::poll!(&mut call)
        {
            return self.ended.push_back(finished);
        }
        self.at_work.spawn(call);
    }

    /// True if no call is at work, and none has ended.
    pub(super) fn is_empty(&self) -> bool {
        self.at_work.is_empty() && self.ended.is_empty()
    }

    /// A call that has ended.
    pub(super) fn ended(&mut self) -> Option<Result<Finished, JoinError>> {
        self.ended.pop_front().map(Ok).or_else(|| self.at_work.try_join_next())
    }

    /// The next call that ends. `None` if no call is at work.
    pub(super) async fn next(&mut self) -> Option<Result<Finished, JoinError>> {
        match self.ended.pop_front() {
            Some(finished) => Some(Ok(finished)),
            None => self.at_work.join_next().await,
        }
    }

    /// True if a call is known to have ended.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Drops all calls, and waits until each is gone.
    pub(super) async fn shutdown(&mut self) {
        self.ended.clear();
        self.at_work.shutdown().await;
    }
}
