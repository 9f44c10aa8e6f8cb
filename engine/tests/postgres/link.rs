//! The way between a machine and the server, which can be cut: what is sent meanwhile arrives later, as with TCP.

use crate::server::Server;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};

/// The name that clients of PostgreSQL look for in a directory of sockets.
const SOCKET: &str = ".s.PGSQL.5432";

pub(crate) struct Link {
    dir: tempfile::TempDir,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_cut: Mutex<bool>,
    changed: Condvar,
}

impl Link {
    /// A way to the server, which is open. Its threads end with the connections.
    pub(crate) fn to(server: &Server) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
        let state = Arc::new(State::default());
        let (kept, to) = (Arc::clone(&state), server.socket_dir().join(SOCKET));
        std::thread::spawn(move || listener.incoming().for_each(|from| carry(from.unwrap(), &to, &kept)));
        Self { dir, state }
    }

    /// What a machine at this end connects to.
    pub(crate) fn config(&self) -> String {
        Server::config_at(self.dir.path())
    }

    /// Nothing arrives from now on, in either direction.
    pub(crate) fn cut(&self) {
        *self.state.is_cut.lock().unwrap() = true;
    }

    /// Everything arrives again, what was sent meanwhile first.
    pub(crate) fn mend(&self) {
        *self.state.is_cut.lock().unwrap() = false;
        self.state.changed.notify_all();
    }
}

/// Carries a connection, a thread for each direction.
fn carry(client: UnixStream, to: &PathBuf, state: &Arc<State>) {
    let Ok(server) = UnixStream::connect(to) else { return };
    for (from, to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
        let state = Arc::clone(state);
        std::thread::spawn(move || one_way(from, to, &state));
    }
}

fn one_way(mut from: UnixStream, mut to: UnixStream, state: &State) {
    let mut some = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut some) {
        let is_cut = state.is_cut.lock().unwrap();
        drop(state.changed.wait_while(is_cut, |is_cut| *is_cut).unwrap());
        if to.write_all(&some[..read]).is_err() {
            break;
        }
    }
    // The other end learns that this one has gone.
    let _ = (to.shutdown(std::net::Shutdown::Both), from.shutdown(std::net::Shutdown::Both));
}
