//! What a durable step costs on PostgreSQL, here and in durare:
//!
//! ```text
//! cargo run --release --manifest-path engine/benches/peers/Cargo.toml --bin postgres
//! ```
//!
//! One server is started for all of it, as Debian installs it: `fsync` and `synchronous_commit` are on, for both. The
//! engines take turns, each time on an empty database, in processes of their own:
//!
//! * 64 runs at once in one process, of 20 steps that do nothing: steps a second, from the first start to the last end;
//! * 1,000 runs of 20 steps that were handed in, and four processes of workers with 16 runs at once each: steps a
//!   second, from the start of the first process to the end of the last run.
//!
//! The server says how many transactions and how many syncs of its log that took. Prints a table: the median of the
//! rounds. Exits with 1 if durare is ahead, with 2 if there is no server.

#[path = "../../../../tests/postgres/server.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "a server of the tests")]
mod server;
mod subject;

/// What the server of the tests needs.
mod harness {
    pub(crate) fn skipped(why: &str) {
        println!("skipped: {why}");
    }
}

use fulcrum_engine::postgres::tokio_postgres::{Client, Config, NoTls};
use server::Server;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use subject::{Failed, Subject};
use tokio::task::JoinSet;

const AT_ONCE: u64 = 64;
const STEPS: u64 = 20;
const RUNS: u64 = 1000;
const WORKERS: usize = 4;
const ROUNDS: usize = 3;
/// The longest that workers may take.
const MOST: Duration = Duration::from_secs(900);
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    AtOnce,
    Workers,
}

/// What one turn has shown.
struct Turn {
    task: Task,
    subject: Subject,
    /// Steps a second.
    rate: f64,
    transactions: f64,
    syncs: f64,
}

fn main() -> Result<ExitCode, Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if !args.is_empty() {
        return runtime.block_on(child(&args)).map(|()| ExitCode::SUCCESS);
    }
    let Some(server) = Server::start() else { return Ok(ExitCode::from(2)) };
    let turns = runtime.block_on(measure(&server))?;
    Ok(if table(&turns) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(server: &Server) -> Result<Vec<Turn>, Failed> {
    let client = connect(&server.config()).await?;
    for setting in ["server_version", "fsync", "synchronous_commit", "wal_sync_method"] {
        let found = client.query_one("SELECT current_setting($1)", &[&setting]).await?;
        println!("{setting} = {}", found.get::<_, String>(0));
    }
    let mut turns = Vec::new();
    for round in 0..ROUNDS {
        for subject in Subject::ALL {
            for task in [Task::AtOnce, Task::Workers] {
                let database = format!("round_{round}_{subject:?}_{task:?}").to_lowercase();
                client.batch_execute(&format!("CREATE DATABASE {database}")).await?;
                turns.push(take_turn(server, &client, subject, task, &database).await?);
                client.batch_execute(&format!("DROP DATABASE {database} WITH (FORCE)")).await?;
            }
        }
    }
    Ok(turns)
}

/// One task of one subject, on an empty database.
async fn take_turn(
    server: &Server,
    client: &Client,
    subject: Subject,
    task: Task,
    database: &str,
) -> Result<Turn, Failed> {
    let socket = socket(server)?;
    let (steps, took, before) = match task {
        Task::AtOnce => {
            // Makes the tables.
            succeeded(start(subject, &socket, database, "submit", 0)?)?;
            let before = counts(client, database).await?;
            let output = start(subject, &socket, database, "run", AT_ONCE)?.wait_with_output()?;
            let text = String::from_utf8_lossy(&output.stdout);
            let nanos = text.lines().find_map(|line| line.strip_prefix("measured ")?.parse().ok());
            let nanos = nanos.ok_or_else(|| format!("{}: {}: {text}", subject.name(), output.status))?;
            (AT_ONCE * STEPS, Duration::from_nanos(nanos), before)
        }
        Task::Workers => {
            succeeded(start(subject, &socket, database, "submit", RUNS)?)?;
            let own = connect(&format!("host={socket} user=fulcrum dbname={database}")).await?;
            let before = counts(client, database).await?;
            let took = worked(subject, &socket, database, &own).await?;
            (RUNS * STEPS, took, before)
        }
    };
    // The server counts a transaction when its session is idle for a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = counts(client, database).await?;
    let count = |n: usize| (after[n] - before[n]) as f64 / steps as f64;
    let rate = steps as f64 / took.as_secs_f64();
    println!("{}, {task:?}: {rate:.0} steps/s", subject.name());
    Ok(Turn { task, subject, rate, transactions: count(0), syncs: count(1) })
}

/// Starts the workers. Returns how long all runs took.
async fn worked(subject: Subject, socket: &str, database: &str, own: &Client) -> Result<Duration, Failed> {
    let begun = Instant::now();
    let workers = (0..WORKERS).map(|n| start(subject, socket, database, "work", n as u64));
    let mut workers = workers.collect::<Result<Vec<_>, Failed>>()?;
    let mut left = 1;
    while left > 0 && begun.elapsed() < MOST {
        tokio::time::sleep(LOOK).await;
        left = own.query_one(subject.left(), &[]).await?.get::<_, i64>(0);
    }
    let took = begun.elapsed();
    for worker in &mut workers {
        worker.kill()?;
        worker.wait()?;
    }
    if left > 0 {
        return Err(format!("{}: {left} runs are open after {MOST:?}", subject.name()).into());
    }
    Ok(took)
}

/// Transactions of the database, and syncs of the server's log.
async fn counts(client: &Client, database: &str) -> Result<[i64; 2], Failed> {
    let counts = "SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = $1), \
         (SELECT wal_sync FROM pg_stat_wal)";
    let row = client.query_one(counts, &[&database]).await?;
    Ok([row.get(0), row.get(1)])
}

fn start(subject: Subject, socket: &str, database: &str, verb: &str, count: u64) -> Result<Child, Failed> {
    let mut child = Command::new(std::env::current_exe()?);
    child.arg(verb).arg((subject as usize).to_string()).args([socket, database]).arg(count.to_string());
    Ok(child.stdout(Stdio::piped()).spawn()?)
}

fn succeeded(child: Child) -> Result<(), Failed> {
    let output = child.wait_with_output()?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("a child has failed: {}", output.status).into())
    }
}

/// The child's side: `args` is what [`start`] gives.
async fn child(args: &[String]) -> Result<(), Failed> {
    let [verb, subject, socket, database, count] = args else {
        return Err("this program takes no arguments; those of its children are its own".into());
    };
    let subject = Subject::ALL.get(subject.parse::<usize>()?).ok_or("an unknown subject")?;
    let count: u64 = count.parse()?;
    let peer = subject.open(socket, database, &format!("{verb} {count}")).await?;
    match verb.as_str() {
        "submit" => {
            for number in 0..count {
                peer.submit(number, STEPS).await?;
            }
        }
        "work" => peer.work().await?,
        _ => {
            let (peer, mut tasks) = (Arc::<dyn subject::Peer>::from(peer), JoinSet::new());
            let begun = Instant::now();
            for _ in 0..count {
                let peer = peer.clone();
                tasks.spawn(async move { peer.run(STEPS).await });
            }
            tasks.join_all().await.into_iter().collect::<Result<Vec<()>, Failed>>()?;
            println!("measured {}", begun.elapsed().as_nanos());
        }
    }
    Ok(())
}

async fn connect(config: &str) -> Result<Client, Failed> {
    let config: Config = config.parse()?;
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn socket(server: &Server) -> Result<String, Failed> {
    let config = server.config();
    let socket = config.split_whitespace().find_map(|word| word.strip_prefix("host="));
    Ok(socket.ok_or("a server without a socket")?.to_owned())
}

/// Prints the table. Whether ours is ahead in all.
fn table(turns: &[Turn]) -> bool {
    println!(
        "\n{ROUNDS} rounds; {AT_ONCE} runs at once in one process; {RUNS} runs, {WORKERS} workers; {STEPS} steps each\n"
    );
    println!(
        "| | steps/s, {AT_ONCE} at once | transactions a step | syncs a step | steps/s, {WORKERS} workers | transactions a step | syncs a step |"
    );
    println!("|---|---|---|---|---|---|---|");
    let of = |subject, task, what: fn(&Turn) -> f64| {
        let turns = turns.iter().filter(|turn| turn.subject == subject && turn.task == task);
        let mut found: Vec<f64> = turns.map(what).collect();
        found.sort_by(f64::total_cmp);
        found.get(found.len() / 2).copied().unwrap_or_default()
    };
    for subject in Subject::ALL {
        let cells = [Task::AtOnce, Task::Workers].map(|task| {
            let rate = of(subject, task, |turn| turn.rate);
            let [transactions, syncs] =
                [of(subject, task, |turn| turn.transactions), of(subject, task, |turn| turn.syncs)];
            format!("{rate:.0} | {transactions:.2} | {syncs:.2}")
        });
        println!("| {} | {} |", subject.name(), cells.join(" | "));
    }
    let rate = |subject, task| of(subject, task, |turn| turn.rate);
    [Task::AtOnce, Task::Workers]
        .into_iter()
        .all(|task| rate(Subject::Ours, task) > rate(Subject::Durare, task))
}
