//! The common state of driver, servers and handle: the world behind its lock, and the signal for its moves.

use super::api::{self, Asked, Body, Reply};
use super::connection::{Connection, answers_instead};
use super::failure::Failure;
use super::fault::Outcome;
use super::host;
use super::options::SimulatorOptions;
use super::reader::Reader;
use super::watch::{self, Told, Watch};
use super::world::{Caller, Now, World};
use jiff::Timestamp;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The world and its clock.
#[derive(Debug)]
pub(super) struct Shared {
    world: Mutex<World>,
    began: Instant,
    /// Signalled after every move of the world, and after every write.
    moved: tokio::sync::watch::Sender<()>,
    stop: AtomicBool,
}

/// The fate of a request.
pub(super) enum Fate {
    Answered(Reply),
    /// An answer that goes on.
    Watches(Box<Watch>),
    /// No server listens.
    Refused,
    /// The connection ends without an answer.
    Cut,
    Hangs,
    /// The answer comes after this time.
    Later(Duration),
}

impl Shared {
    pub(super) fn new(first: SimulatorOptions, others: Vec<SimulatorOptions>) -> Self {
        let now = Now { at: Duration::ZERO, wall: Timestamp::now() };
        Self {
            world: Mutex::new(World::new(first, others, now)),
            began: Instant::now(),
            moved: tokio::sync::watch::Sender::new(()),
            stop: AtomicBool::new(false),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Now {
        Now { at: self.began.elapsed(), wall: Timestamp::now() }
    }

    /// The instant of the runtime's clock that is `at` here.
    pub(super) fn instant(&self, at: Duration) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.began + at)
    }

    pub(super) fn moved(&self) -> tokio::sync::watch::Receiver<()> {
        self.moved.subscribe()
    }

    /// Makes every waiter look again.
    pub(super) fn tell_all(&self) {
        self.moved.send_replace(());
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.tell_all();
    }

    /// Moves the world on until it is stopped. `dirs` are the nodes' manifests directories.
    pub(super) fn drive(&self, dirs: &[PathBuf], tick: Duration) {
        let mut readers: Vec<(&PathBuf, Reader)> = dirs.iter().map(|dir| (dir, Reader::default())).collect();
        while !self.stop.load(Ordering::Acquire) {
            let read: Vec<_> = readers.iter_mut().map(|(dir, reader)| (*dir, reader.read(dir))).collect();
            {
                let mut world = self.lock();
                let now = self.now();
                for (dir, error) in read.into_iter().filter_map(|(dir, read)| Some((dir, read.err()?))) {
                    let subject = format!("directory {}", dir.display());
                    world.log.add(now.at, subject, format!("not read: {error}"));
                }
                let files: Vec<_> = readers.iter().map(|(_, reader)| reader.files()).collect();
                world.advance(now, &files);
            }
            self.tell_all();
            std::thread::park_timeout(tick);
        }
    }

    /// Decides the fate of the caller's request on this connection, and carries it out.
    pub(super) fn serve(&self, asked: &Asked, caller: Caller, connection: &Connection) -> Fate {
        let now = self.now();
        let mut world = self.lock();
        if asked.path.starts_with(host::PREFIX) {
            match host::delay(&world, caller.on, asked) {
                Duration::ZERO => {}
                delay => return Fate::Later(delay),
            }
            return Fate::Answered(host::answer(&mut world, caller.on, asked, now.at));
        }
        let Some((number, pid)) = connection.server(&mut world, caller, now.at) else { return Fate::Refused };
        let node = &mut world.nodes[number];
        if node.machine.is_etcd(pid) {
            let (code, value) = world.ask_etcd(number, (asked.method.as_str(), &asked.path));
            return Fate::Answered((code, Body::Made(value)));
        }
        if !node.machine.is_api_server(pid) {
            return Fate::Cut;
        }
        if let Some(reply) = answers_instead(&node.machine, pid, &asked.path) {
            return Fate::Answered(reply);
        }
        let path = format!("{}?{}", asked.path, asked.query);
        let Some(outcome) = node.faults.befalls(asked.method.as_str(), &path) else {
            return self.act(&mut world, asked, (caller, pid), now);
        };
        world.log.add(now.at, "api", format!("{} {}: fault {outcome:?}", asked.method, asked.path));
        let failed = |failure: Failure| Fate::Answered(failure.into());
        match outcome {
            Outcome::InternalError => failed(Failure::internal("an injected fault")),
            Outcome::Conflict => failed(Failure::conflict(&asked.path, "", "an injected fault")),
            Outcome::Timeout => failed(Failure::timeout(
                "the server was unable to return a response in time: an injected fault",
            )),
            Outcome::Hangs => Fate::Hangs,
            Outcome::Slow(delay) => Fate::Later(delay),
            Outcome::LosesAnswer => {
                self.act(&mut world, asked, (caller, pid), now);
                Fate::Cut
            }
        }
    }

    /// Answers a request that a fault has held up. No further fault hits the request.
    pub(super) fn serve_late(&self, asked: &Asked, caller: Caller, connection: &Connection) -> Fate {
        let now = self.now();
        let mut world = self.lock();
        if asked.path.starts_with(host::PREFIX) {
            return Fate::Answered(host::answer(&mut world, caller.on, asked, now.at));
        }
        let Some((number, pid)) = connection.server(&mut world, caller, now.at) else { return Fate::Refused };
        match answers_instead(&world.nodes[number].machine, pid, &asked.path) {
            Some(reply) => Fate::Answered(reply),
            None => self.act(&mut world, asked, (caller, pid), now),
        }
    }

    /// Does what the caller asks of the API server with this pid.
    fn act(&self, world: &mut World, asked: &Asked, server: (Caller, u32), now: Now) -> Fate {
        if watch::is_asked(asked) {
            return match Watch::open(world, asked, server, now) {
                Ok(watch) => Fate::Watches(Box::new(watch)),
                Err(failure) => Fate::Answered(failure.into()),
            };
        }
        let version = world.store.version();
        let reply = api::answer(world, asked, now);
        if version != world.store.version() {
            self.tell_all();
        }
        Fate::Answered(reply)
    }

    /// The present news of a watch.
    pub(super) fn tell(&self, watch: &mut Watch) -> Told {
        if self.stop.load(Ordering::Acquire) {
            return Told::Cut;
        }
        let world = self.lock();
        watch.tell(&world, self.now())
    }
}
