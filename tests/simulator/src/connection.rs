//! Which API server gets a client's requests. A connection stays with the server that took it, until that
//! server is told to end (it tells its clients) or is gone. A request that comes before the server has told
//! them is answered 503, unless it is held back. A held client learns first that it shall go elsewhere. The
//! kernel decides which server takes a new connection.

use super::api::{Body, Reply};
use super::failure::Failure;
use super::process::{Life, Machine, Proc};
use super::world::{Caller, World};
use serde_json::json;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The group that a server with [`super::fault::Flaw::ServesLess`] does not have.
pub(super) const LACKED: &str = "discovery.k8s.io";

/// A client's connection. None at first.
#[derive(Debug, Default)]
pub(super) struct Connection {
    pid: AtomicU32,
}

impl Connection {
    /// The process at its other end and that one's node, a new one if the old one is gone. `None`: the
    /// connection is refused.
    pub(super) fn server(&self, world: &mut World, caller: Caller, now: Duration) -> Option<(usize, u32)> {
        let known = self.pid.load(Ordering::Relaxed);
        let open = world.process(known).filter(|(_, proc)| !proc.said_goodbye(now)).map(|(number, _)| number);
        if let Some(number) = open.filter(|number| world.reaches(caller, *number)) {
            return Some((number, known));
        }
        let (number, taken) = world.connect(caller)?;
        self.pid.store(taken, Ordering::Relaxed);
        Some((number, taken))
    }
}

/// What this process answers instead of the reply. `None` if it serves. A server that listens and has not
/// filled its caches yet knows no roles (*measured*: 403 and 500 for about 3 s).
pub(super) fn answers_instead(machine: &Machine, pid: u32, path: &str) -> Option<Reply> {
    if machine.is_ready(pid) {
        if path == "/metrics" {
            return Some((200, Body::Made(json!(machine.metrics(pid)))));
        }
        let lacks = machine.serves_less(pid) && path.starts_with(&format!("/apis/{LACKED}/"));
        return lacks.then(|| Failure::no_path(path).into());
    }
    let starts = machine.procs.get(&pid).is_some_and(|proc| matches!(proc.life, Life::WarmingUp(_)));
    if matches!(path, "/healthz" | "/livez" | "/readyz") {
        let why = "[-]poststarthook/rbac/bootstrap-roles failed: reason withheld";
        return Some((500, Body::Made(json!(why))));
    }
    let failure = if machine.procs.get(&pid).is_some_and(Proc::is_ending) {
        Failure::unavailable("apiserver is shutting down")
    } else if starts {
        Failure::forbidden(format!("{path} is forbidden: the roles are not known yet"))
    } else {
        Failure::internal("etcdserver: no leader")
    };
    Some(failure.into())
}
