//! Runs cases side by side, each on a thread of its own. What blocks one of them (opening a journal, waiting
//! for a child, a disk) holds up no other.

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
pub(super) struct WorkerPool<B> {
    threads: Vec<JoinHandle<()>>,
    tried: UnboundedReceiver<B>,
    stop: CancellationToken,
}

/// The tools of one thread.
struct Worker<C, B, T> {
    cases: Arc<Mutex<std::vec::IntoIter<C>>>,
    try_one: Arc<T>,
    tell: UnboundedSender<B>,
    stop: CancellationToken,
    runtime: Handle,
}

impl<B: Send + 'static> WorkerPool<B> {
    /// Starts this many threads, which take the cases in turn and try each. Their runtime must have threads of its own.
    pub(super) fn start<C, T>(cases: Vec<C>, workers: usize, try_one: T) -> Self
    where
        C: Send + 'static,
        T: AsyncFn(C) -> B + Send + Sync + 'static,
    {
        let (tell, tried) = unbounded_channel();
        let mut pool = Self { threads: Vec::new(), tried, stop: CancellationToken::new() };
        let workers = workers.clamp(1, cases.len().max(1));
        let (cases, try_one) = (Arc::new(Mutex::new(cases.into_iter())), Arc::new(try_one));
        for _ in 0..workers {
            let worker = Worker {
                cases: Arc::clone(&cases),
                try_one: Arc::clone(&try_one),
                tell: tell.clone(),
                stop: pool.stop.clone(),
                runtime: Handle::current(),
            };
            pool.threads.push(std::thread::spawn(move || worker.work()));
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

impl<C, B, T: AsyncFn(C) -> B> Worker<C, B, T> {
    fn work(self) {
        while let Some(case) = self.next() {
            let tried = self.stop.run_until_cancelled((self.try_one)(case));
            match self.runtime.block_on(tried).map(|broken| self.tell.send(broken)) {
                Some(Ok(())) => {}
                Some(Err(_)) | None => return,
            }
        }
    }

    fn next(&self) -> Option<C> {
        self.cases.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

impl<B: Send + 'static> Stream for WorkerPool<B> {
    type Item = B;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<B>> {
        let tried = self.tried.poll_recv(cx);
        if matches!(tried, Poll::Ready(None)) {
            self.join();
        }
        tried
    }
}

impl<B> Drop for WorkerPool<B> {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // The thread's own panic is not repeated here.
            let _ = thread.join();
        }
    }
}
