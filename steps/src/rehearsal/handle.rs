//! The rehearsal from outside: starting it, talking to it, breaking it, watching it.

use super::api::{self, Asked, Reply};
use super::failure::Failure;
use super::fault::{ApiFault, Flaw, Outcome, Which};
use super::host::{self, RehearsalHost};
use super::kubelet::Files;
use super::log::Happened;
use super::options::RehearsalOptions;
use super::server::{self, Server};
use super::snapshot::Snapshot;
use super::world::{Now, World};
use crate::node::Host;
use jiff::Timestamp;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A running rehearsal. Dropping it ends everything that is simulated; files stay as they are.
#[derive(Debug)]
pub struct Rehearsal {
    shared: Arc<Shared>,
    driver: Option<JoinHandle<()>>,
    servers: Mutex<JoinSet<()>>,
}

/// What a condition on the snapshot was waited for in vain.
#[derive(Debug, thiserror::Error)]
#[error("waited {waited:?} for {what}; last seen: {seen:?}")]
pub struct WaitError {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub waited: Duration,
    /// The last snapshot.
    pub seen: Box<Snapshot>,
}

/// What driver, servers and handle share.
#[derive(Debug)]
pub(super) struct Shared {
    world: Mutex<World>,
    began: Instant,
    /// Told after every move of the world.
    moved: watch::Sender<()>,
    stop: AtomicBool,
}

/// What becomes of a request.
pub(super) enum Fate {
    Answered(Reply),
    /// Nobody listens.
    Refused,
    /// The connection ends without an answer.
    Cut,
    Hangs,
}

impl Rehearsal {
    /// Starts the world: from here on the kubelet reads the manifests directory.
    ///
    /// # Errors
    /// If no thread can be started for it.
    pub fn start(options: RehearsalOptions) -> io::Result<Self> {
        let (tick, dir) = (options.pace.tick, options.manifests_dir.clone());
        let now = Now { at: Duration::ZERO, wall: Timestamp::now() };
        let shared = Arc::new(Shared {
            world: Mutex::new(World::new(options, now)),
            began: Instant::now(),
            moved: watch::Sender::new(()),
            stop: AtomicBool::new(false),
        });
        let driven = shared.clone();
        // A thread of its own, for it reads files, and has to go on while a test blocks its runtime.
        let driver =
            std::thread::Builder::new().name("rehearsal".into()).spawn(move || driven.drive(&dir, tick))?;
        Ok(Self { shared, driver: Some(driver), servers: Mutex::default() })
    }

    /// A client in this process. Needs a tokio runtime.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(Server::new(self.shared.clone()), "default")
    }

    /// The machine, for the steps. Needs a tokio runtime.
    pub fn host(&self) -> Arc<dyn Host> {
        Arc::new(RehearsalHost::new(self.client()))
    }

    /// Serves API and machine as plain HTTP on a listener, and tells its address.
    ///
    /// # Errors
    /// If the listener does not know its own address.
    pub fn serve_on(&self, listener: TcpListener) -> io::Result<SocketAddr> {
        let address = listener.local_addr()?;
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.spawn(server::accept(Server::new(self.shared.clone()), listener));
        Ok(address)
    }

    /// Client and machine of a rehearsal that another process serves at this address.
    ///
    /// # Errors
    /// If no HTTP client can be made. Nothing is sent yet.
    pub fn connect(address: SocketAddr) -> kube::Result<(kube::Client, Arc<dyn Host>)> {
        let url =
            http::Uri::builder().scheme("http").authority(address.to_string()).path_and_query("/").build();
        let mut config = kube::Config::new(url.map_err(kube::Error::HttpError)?);
        config.default_retry = false;
        let client = kube::Client::try_from(config)?;
        Ok((client.clone(), Arc::new(RehearsalHost::new(client))))
    }

    /// Kills the processes meant, as SIGKILL would; the kubelet starts them again. Says how many.
    pub fn crash(&self, which: impl Into<Which>) -> usize {
        self.shared.lock().crash(&which.into(), self.shared.now())
    }

    /// Kills the processes meant and keeps the kubelet from starting them until [`Self::repair`].
    pub fn hold_down(&self, which: impl Into<Which>) {
        self.shared.lock().hold_down(which.into(), self.shared.now());
    }

    /// Gives the processes meant a flaw. What has passed the point where it shows is not touched.
    pub fn flaw(&self, which: impl Into<Which>, flaw: Flaw) {
        self.shared.lock().faults.set_flaw(which.into(), flaw);
    }

    /// Takes back what [`Self::hold_down`] and [`Self::flaw`] did for the very same `which`.
    pub fn repair(&self, which: impl Into<Which>) {
        self.shared.lock().faults.clear_flaws(&which.into());
    }

    /// Makes coming API requests fail.
    pub fn inject(&self, fault: ApiFault) {
        self.shared.lock().faults.inject(fault);
    }

    /// Power off and on.
    pub fn reboot(&self) {
        self.shared.lock().reboot(self.shared.now());
    }

    /// What runs right now.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.lock().snapshot()
    }

    /// What happened so far.
    pub fn log(&self) -> Vec<Happened> {
        self.shared.lock().log.lines()
    }

    /// Waits until a condition holds, looking at every move of the world.
    ///
    /// # Errors
    /// If it does not within `deadline`.
    pub async fn until(
        &self,
        what: &str,
        deadline: Duration,
        mut holds: impl FnMut(&Snapshot) -> bool + Send,
    ) -> Result<Snapshot, WaitError> {
        let mut moved = self.shared.moved.subscribe();
        let end = tokio::time::Instant::now() + deadline;
        loop {
            let seen = self.snapshot();
            if holds(&seen) {
                return Ok(seen);
            }
            if tokio::time::timeout_at(end, moved.changed()).await.is_err() {
                return Err(WaitError { what: what.into(), waited: deadline, seen: Box::new(seen) });
            }
        }
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(driver) = self.driver.take() {
            driver.thread().unpark();
            // Nothing to do about a driver that panicked: the snapshot stood still, and tests saw it.
            let _ = driver.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        Now { at: self.began.elapsed(), wall: Timestamp::now() }
    }

    fn drive(&self, dir: &Path, tick: Duration) {
        let mut files = Files::new();
        while !self.stop.load(Ordering::Acquire) {
            let read = read_files(dir);
            {
                let mut world = self.lock();
                let now = self.now();
                match read {
                    Ok(read) => files = read,
                    Err(e) => world.log.add(
                        now.at,
                        format!("directory {}", dir.display()),
                        format!("not read: {e}"),
                    ),
                }
                world.advance(now, &files);
            }
            self.moved.send_replace(());
            std::thread::park_timeout(tick);
        }
    }

    /// Decides what becomes of a request, and does it.
    pub(super) fn serve(&self, asked: &Asked) -> Fate {
        let now = self.now();
        let mut world = self.lock();
        if asked.path.starts_with(host::PREFIX) {
            return Fate::Answered(host::answer(&mut world, asked));
        }
        if !world.api_up() {
            return Fate::Refused;
        }
        let path = format!("{}?{}", asked.path, asked.query);
        let Some(outcome) = world.faults.befalls(asked.method.as_str(), &path) else {
            return Fate::Answered(api::answer(&mut world, asked, now));
        };
        world.log.add(now.at, "api", format!("{} {}: fault {outcome:?}", asked.method, asked.path));
        let failed = |failure: Failure| Fate::Answered((failure.code, failure.status()));
        match outcome {
            Outcome::InternalError => failed(Failure::internal("an injected fault")),
            Outcome::Conflict => failed(Failure::conflict(&asked.path, "", "an injected fault")),
            Outcome::Timeout => {
                let message = "the server was unable to return a response in time: an injected fault".into();
                failed(Failure { code: 504, reason: "Timeout", message })
            }
            Outcome::Hangs => Fate::Hangs,
            Outcome::LosesAnswer => {
                let (_, _) = api::answer(&mut world, asked, now);
                Fate::Cut
            }
        }
    }
}

/// The files that the kubelet would read. A directory that is not there is an empty one.
fn read_files(dir: &Path) -> io::Result<Files> {
    let mut files = Files::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(files),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') || !entry.path().is_file() {
            continue;
        }
        match std::fs::read(entry.path()) {
            Ok(content) => {
                files.insert(name, content);
            }
            // Renamed or removed since it was listed: the next round sees how it is now.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(files)
}
