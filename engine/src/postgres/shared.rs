//! What the handles of a store share: its connections, and the claims of this process.

use super::pool::Pool;
use fulcrum_state::{AppendError, Lease, RunHeader, RunId};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(super) struct Core {
    pub(super) pool: Pool,
    pub(super) holder: String,
    pub(super) lease: Duration,
    pub(super) runtime: Handle,
    pub(super) woken: watch::Sender<u64>,
    local: Mutex<HashMap<RunId, Local>>,
    /// Told when a run leaves `local`.
    pub(super) released: Condvar,
    released_count: watch::Sender<u64>,
}

/// What this process does with a run.
enum Local {
    /// It asks for the claim.
    Taking,
    Held {
        hold: Arc<Hold>,
        /// A worker has claimed the run for the next call that continues it.
        handed: Option<Arc<PgLease>>,
    },
    Releasing,
}

/// A claim, for those that renew it and those that watch it.
pub(super) struct Hold {
    pub(super) run: RunId,
    pub(super) token: u64,
    pub(super) lost: CancellationToken,
    /// The end of the lease by this machine's clock, counted from before it was asked for.
    pub(super) until: Mutex<Instant>,
    pub(super) header: RunHeader,
    /// When the run is due once it is released, if not now.
    pub(super) due: Mutex<Option<Due>>,
}

/// When a run is to be taken up. The default is: not before somebody appends to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Due {
    /// By anybody, so long after its release: the clocks of two machines differ. `None`: not before somebody appends to
    /// it.
    pub(super) after: Option<Duration>,
    /// At once, by a worker on one of these machines.
    pub(super) machines: Vec<String>,
}

impl Due {
    pub(super) fn after(pause: Duration) -> Self {
        Self { after: Some(pause), machines: Vec::new() }
    }
}

/// A claim that is released when the last of its clones is dropped.
pub(super) struct PgLease {
    core: Arc<Core>,
    pub(super) hold: Arc<Hold>,
}

impl Lease for PgLease {
    fn token(&self) -> u64 {
        self.hold.token
    }

    fn lost(&self) -> fulcrum_state::Answer<()> {
        Box::pin(self.hold.lost.clone().cancelled_owned())
    }
}

impl PgLease {
    pub(super) fn set_due(&self, due: Due) {
        *lock(&self.hold.due) = Some(due);
    }

    /// The next call that continues the run gets this claim.
    pub(super) fn hand(self: &Arc<Self>) {
        if let Some(Local::Held { handed, .. }) = self.core.local().get_mut(&self.hold.run) {
            *handed = Some(self.clone());
        }
    }

    /// Nobody continues the run with this claim any more.
    pub(super) fn not_handed(&self) {
        let handed = self.core.take_handed(self.hold.run);
        drop(handed);
    }
}

impl Drop for PgLease {
    fn drop(&mut self) {
        self.core.local().insert(self.hold.run, Local::Releasing);
        let (core, hold) = (self.core.clone(), self.hold.clone());
        self.core.runtime.spawn(async move {
            if let Err(error) = core.release(&hold).await {
                tracing::warn!(run = %hold.run, %error, "the claim was not released: it ends with its lease");
            }
            core.forget(hold.run);
        });
    }
}

/// An answer to a claim.
pub(super) struct Claimed {
    pub(super) header: RunHeader,
    pub(super) token: u64,
    /// When it was asked for.
    pub(super) asked: Instant,
}

/// Takes a run out of the claims that are under way, unless it became one.
pub(super) struct Taking<'a> {
    core: &'a Core,
    run: RunId,
    done: bool,
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.core.forget(self.run);
        }
    }
}

impl Core {
    pub(super) fn new(pool: Pool, holder: String, lease: Duration, runtime: Handle) -> Self {
        Self {
            pool,
            holder,
            lease,
            runtime,
            woken: watch::Sender::new(0),
            local: Mutex::default(),
            released: Condvar::new(),
            released_count: watch::Sender::new(0),
        }
    }

    /// The claims of this process that are not being released.
    pub(super) fn holds(&self) -> Vec<Arc<Hold>> {
        let local = self.local();
        let held = |local: &Local| match local {
            Local::Held { hold, .. } => Some(hold.clone()),
            Local::Taking | Local::Releasing => None,
        };
        local.values().filter_map(held).collect()
    }

    /// Waits until nothing is being released, at most this long.
    pub(super) fn wait_for_releases(&self, most: Duration) {
        let busy =
            |local: &mut HashMap<RunId, Local>| local.values().any(|local| matches!(local, Local::Releasing));
        drop(self.released.wait_timeout_while(self.local(), most, busy));
    }

    /// Waits until this process has no claim on the run that is being released.
    pub(super) async fn free(&self, run: RunId) -> Result<Taking<'_>, AppendError> {
        let mut changes = self.released_count.subscribe();
        loop {
            match self.local().entry(run) {
                Entry::Vacant(vacant) => {
                    vacant.insert(Local::Taking);
                    return Ok(Taking { core: self, run, done: false });
                }
                Entry::Occupied(found) => match found.get() {
                    Local::Releasing => {}
                    Local::Taking | Local::Held { .. } => return Err(AppendError::Claimed { run }),
                },
            }
            if changes.changed().await.is_err() {
                return Err(AppendError::WriterGone);
            }
        }
    }

    fn forget(&self, run: RunId) {
        self.local().remove(&run);
        self.released.notify_all();
        self.released_count.send_modify(|count| *count += 1);
    }

    /// The claim that was asked for.
    pub(super) fn held(self: &Arc<Self>, mut taking: Taking<'_>, claimed: Claimed) -> Arc<PgLease> {
        taking.done = true;
        self.keep(claimed)
    }

    pub(super) fn keep(self: &Arc<Self>, claimed: Claimed) -> Arc<PgLease> {
        let Claimed { header, token, asked } = claimed;
        let hold = Arc::new(Hold {
            run: header.run,
            token,
            lost: CancellationToken::new(),
            until: Mutex::new(asked + self.lease),
            header,
            due: Mutex::new(None),
        });
        let lease = Arc::new(PgLease { core: self.clone(), hold: hold.clone() });
        self.local().insert(hold.run, Local::Held { hold, handed: None });
        lease
    }

    /// The claim that a worker has made for this call. Once.
    pub(super) fn take_handed(&self, run: RunId) -> Option<Arc<PgLease>> {
        match self.local().get_mut(&run) {
            Some(Local::Held { handed, .. }) => handed.take(),
            _ => None,
        }
    }

    /// The runs that this process has anything to do with.
    pub(super) fn local_runs(&self) -> Vec<RunId> {
        self.local().keys().copied().collect()
    }

    fn local(&self) -> MutexGuard<'_, HashMap<RunId, Local>> {
        lock(&self.local)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
