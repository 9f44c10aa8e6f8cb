//! A PostgreSQL of the test's own: in a directory of its own, on a socket there, as another user than root.

use crate::harness::skipped;
use fulcrum_engine::postgres::tokio_postgres::NoTls;
use fulcrum_engine::postgres::{Options, Postgres};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The user `nobody` of Debian: the server refuses to run as root.
const NOBODY: u32 = 65534;

/// The longest wait for a server that starts, on a machine that does other things, too.
const START_MAX: Duration = Duration::from_secs(120);

pub(crate) struct Server {
    programs: PathBuf,
    dir: tempfile::TempDir,
    child: Child,
}

impl Server {
    /// Starts a server. `None`, and a word about it, where PostgreSQL is not installed.
    pub(crate) fn start() -> Option<Server> {
        let Some(programs) = programs() else {
            skipped("PostgreSQL is not installed: Debian's package postgresql has it");
            return None;
        };
        let dir = tempfile::Builder::new().prefix("fulcrum-pg-").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        if is_root() {
            chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut init = command(&programs, "initdb");
        init.arg("-D").arg(&data).args(["-A", "trust", "-U", "fulcrum", "-E", "UTF8", "--locale=C"]);
        let made = init.output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let child = serve(&programs, &data);
        let mut server = Server { programs, dir, child };
        server.wait_until_it_answers();
        Some(server)
    }

    pub(crate) fn config(&self) -> String {
        Self::config_at(&self.socket_dir())
    }

    /// What connects to a socket in this directory.
    pub(crate) fn config_at(dir: &Path) -> String {
        format!("host={} user=fulcrum dbname=postgres", dir.display())
    }

    /// Where the server's own socket is.
    pub(crate) fn socket_dir(&self) -> PathBuf {
        self.data()
    }

    pub(crate) async fn open(&self, options: Options) -> Postgres {
        open(&self.config(), options).await
    }

    /// Kills the server, and starts it again.
    pub(crate) fn kill_and_start(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = serve(&self.programs, &self.data());
        self.wait_until_it_answers();
    }

    fn wait_until_it_answers(&mut self) {
        let data = self.data();
        let mut asks = command(&self.programs, "pg_isready");
        asks.arg("-q").arg("-h").arg(&data);
        let begun = Instant::now();
        while !asks.status().unwrap().success() {
            assert!(
                begun.elapsed() < START_MAX,
                "the server does not answer: look at {}/log",
                data.display()
            );
            // After a kill, it starts only once the last of its children is gone.
            if self.child.try_wait().unwrap().is_some() {
                self.child = serve(&self.programs, &data);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Where children leave something.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Server {
    /// Asks it to end at once: a kill would leave its shared memory behind.
    fn drop(&mut self) {
        let process = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let asked = process.is_some_and(|process| {
            rustix::process::kill_process(process, rustix::process::Signal::QUIT).is_ok()
        });
        if !asked {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Opens the journal. The names of several holders differ by themselves.
pub(crate) async fn open(config: &str, options: Options) -> Postgres {
    Postgres::open_with(config.parse().unwrap(), NoTls, options).await.unwrap()
}

fn serve(programs: &Path, data: &Path) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(data.with_file_name("log")).unwrap();
    let mut server = command(programs, "postgres");
    server.arg("-D").arg(data).arg("-k").arg(data);
    server.args(["-c", "listen_addresses=", "-c", "max_connections=100"]);
    server.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

fn command(programs: &Path, name: &str) -> Command {
    let mut command = Command::new(programs.join(name));
    command.current_dir("/");
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where the server's programs are: the newest of those that Debian has installed.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let programs = versions.map(|version| version.path().join("bin"));
    programs.filter(|programs| programs.join("initdb").exists()).max()
}
