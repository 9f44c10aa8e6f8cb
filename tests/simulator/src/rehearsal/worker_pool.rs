//! Runs cases side by side, each on a thread of its own. What blocks one of them (opening a journal, waiting
//! for a child, a disk) holds up no other.

use super::crash::{Broken, FaultRehearsal};
use super::point::Case;
use futures::stream::Stream;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

/// The threads, and the cases that they have tried. Dropping it ends the cases under way, and waits for their
/// end.
pub(super) struct WorkerPool {
    threads: Vec<JoinHandle<()>>,
    tried: UnboundedReceiver<Broken>,
    stop: CancellationToken,
}

/// The tools of one thread.
struct Hand {
    rehearsal: FaultRehearsal,
    cases: Arc<Mutex<std::vec::IntoIter<Case>>>,
    tell: UnboundedSender<Broken>,
    stop: CancellationToken,
    runtime: Handle,
}

impl WorkerPool {
    /// Starts this many threads, which take the cases in turn. Their runtime must have threads of its own.
    pub(super) fn start(rehearsal: &FaultRehearsal, cases: Vec<Case>, hands: usize) -> Self {
        let (tell, tried) = unbounded_channel();
        let mut pool = Self { threads: Vec::new(), tried, stop: CancellationToken::new() };
        let hands = hands.clamp(1, cases.len().max(1));
        let cases = Arc::new(Mutex::new(cases.into_iter()));
        for _ in 0..hands {
            let hand = Hand {
                rehearsal: rehearsal.clone(),
                cases: Arc::clone(&cases),
                tell: tell.clone(),
                stop: pool.stop.clone(),
                runtime: Handle::current(),
            };
            pool.threads.push(std::thread::spawn(move || hand.work()));
        }
        pool
    }

    /// A thread that panicked has lost its case. The case must not look like one that passed.
    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Hand {
    fn work(self) {
        while let Some(case) = self.next() {
            let tried = self.stop.run_until_cancelled(self.rehearsal.try_one(case));
            match self.runtime.block_on(tried).map(|broken| self.tell.send(broken)) {
                Some(Ok(())) => {}
                Some(Err(_)) | None => return,
            }
        }
    }

    fn next(&self) -> Option<Case> {
        self.cases.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

impl Stream for WorkerPool {
    type Item = Broken;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Broken>> {
        let tried = self.tried.poll_recv(cx);
        if matches!(tried, Poll::Ready(None)) {
            self.join();
        }
        tried
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // The thread's own panic is not repeated here.
            let _ = thread.join();
        }
    }
}
