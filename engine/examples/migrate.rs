//! A table of a live database gets another column in place of an old one, with a person's word in between.
//!
//! ```text
//! cargo run -p fulcrum-engine --example migrate -- /tmp/shop               # until it waits for a person
//! kill -9 it while it fills the column, and run the same line again: it goes on where it was
//! cargo run -p fulcrum-engine --example migrate -- /tmp/shop approve ann   # or reject
//! cargo run -p fulcrum-engine --example migrate -- /tmp/shop               # goes on with the decision
//! cargo run -p fulcrum-engine --example migrate -- /tmp/shop undo          # the table as it was
//! ```
//!
//! `users` has a column `email` as people have typed it. `address`, in small letters, shall replace it: it is
//! added, filled a hundred rows at a time, and when somebody has approved, `email` is retired. While the run
//! waits for that, no process is there, and a trigger fills what is new.

#![expect(clippy::print_stdout, reason = "it is a program that talks to a person")]

use fulcrum_engine::state::{Journal, RunId, Timestamp};
use fulcrum_engine::{
    ClosureStep, Context, Engine, Event, Observer, Phase, Plan, Policy, ProbeResult, Question, Session,
    StepError, StepSpec, Steps, step,
};
use rusqlite::{Connection, ErrorCode};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const ROWS: u32 = 2_000;
const BATCH: u32 = 100;
const KEY: &str = "email to address";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let usage = "usage: migrate DIRECTORY [approve NAME | reject NAME | undo]";
    let [root, words @ ..] = args.as_slice() else { return Err(usage.into()) };
    std::fs::create_dir_all(root)?;
    let database = Path::new(root).join("shop.db");
    make_shop(&database)?;
    let journal = Journal::open(Path::new(root).join("journal"), "migrate")?;
    let steps = Steps::new().with(add_column()).with(fill()).with(approve()).with(retire());
    let engine = Engine::new(journal, steps, Session::current("migrate 1")?).observer(Arc::new(Printer));
    let run = Engine::run_of(KEY);
    let ending = match words {
        [] => engine.run_or_resume(KEY, plan(&database)?).await?,
        [word, name] if word == "approve" => return Ok(engine.approve(run, "approve", name, "").await?),
        [word, name] if word == "reject" => return Ok(engine.reject(run, "approve", name, "").await?),
        [word] if word == "undo" => engine.roll_back(run, "undo was asked for").await?,
        _ => return Err(usage.into()),
    };
    println!("{}", ending.phase);
    if let Phase::Ended(_, reason) = &ending.phase {
        println!("{reason}");
    }
    Ok(())
}

fn plan(database: &Path) -> Result<Plan, Box<dyn Error>> {
    let step = |name: &str| StepSpec::with_args(name, &database);
    let steps = vec![
        step("add-column")?,
        // A large table takes its time.
        step("fill")?.after(["add-column"]).policy(Policy::tries(3, Duration::from_secs(3600))),
        step("approve")?.after(["fill"]),
        step("retire")?.after(["approve"]),
    ];
    Ok(Plan::new("migrate", steps)?)
}

fn make_shop(database: &Path) -> rusqlite::Result<()> {
    let mut shop = Connection::open(database)?;
    let all = shop.transaction()?;
    all.execute_batch("CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, email TEXT)")?;
    let empty: bool = all.query_row("SELECT count(*) = 0 FROM users", [], |row| row.get(0))?;
    for n in (1..=ROWS).filter(|_| empty) {
        all.execute("INSERT INTO users (email) VALUES (?1)", [format!("User{n}@Example.org")])?;
    }
    all.commit()
}

/// Does the work on a thread of its own: SQLite waits for the disk, and for another process that writes. A later
/// attempt may find that one gone; anything else is as wrong the next time.
async fn work<T: Send + 'static>(
    cx: &Context,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, StepError> {
    let database: PathBuf = cx.args()?;
    let done = tokio::task::spawn_blocking(move || work(&Connection::open(database)?)).await;
    done.map_err(StepError::fatal)?.map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StepError::retry(error),
        _ => StepError::fatal(error),
    })
}

fn has_column(shop: &Connection, name: &str) -> rusqlite::Result<bool> {
    let question = "SELECT count(*) = 1 FROM pragma_table_info('users') WHERE name = ?1";
    shop.query_row(question, [name], |row| row.get(0))
}

fn done_if(done: bool) -> ProbeResult {
    if done { ProbeResult::Done } else { ProbeResult::Absent }
}

/// The column, and a trigger that fills it in rows that come while the run waits. Both in one transaction: all is
/// there, or nothing. What was there before is not the step's to take away.
fn add_column() -> ClosureStep {
    const ADD: &str = "BEGIN; ALTER TABLE users ADD COLUMN address TEXT;
        CREATE TRIGGER fill_address AFTER INSERT ON users WHEN new.address IS NULL AND new.email IS NOT NULL
        BEGIN UPDATE users SET address = lower(new.email) WHERE id = new.id; END; COMMIT";
    const DROP: &str = "BEGIN; DROP TRIGGER fill_address; ALTER TABLE users DROP COLUMN address; COMMIT";
    step("add-column")
        .save(|cx| async move { Ok(vec![u8::from(work(&cx, |shop| has_column(shop, "address")).await?)]) })
        .run(|cx| async move {
            if cx.pre_image() == Some(&[1]) {
                return Err(StepError::fatal("users has a column address already"));
            }
            work(&cx, |shop| if has_column(shop, "address")? { Ok(()) } else { shop.execute_batch(ADD) })
                .await
        })
        .probe(|cx| async move {
            let there = work(&cx, |shop| has_column(shop, "address")).await?;
            Ok(done_if(there && cx.pre_image() != Some(&[1])))
        })
        .undo(|cx| async move {
            if cx.pre_image() != Some(&[0]) {
                return Ok(());
            }
            work(&cx, |shop| if has_column(shop, "address")? { shop.execute_batch(DROP) } else { Ok(()) })
                .await
        })
}

/// Each batch is a transaction of its own: after a crash, or a stop, the next attempt fills what is empty. The
/// column goes with the step before, so there is nothing to undo.
fn fill() -> ClosureStep {
    step("fill").run(|cx| async move {
        let batch = "UPDATE users SET address = lower(email) WHERE id IN
            (SELECT id FROM users WHERE address IS NULL AND email IS NOT NULL LIMIT ?1)";
        let mut filled = 0;
        loop {
            let rows = work(&cx, move |shop| shop.execute(batch, [BATCH])).await?;
            filled += rows;
            cx.report(format!("{filled} rows are filled"));
            println!("{filled} rows are filled");
            if rows == 0 {
                return Ok(());
            }
            if cx.is_stopped() {
                return Err(StepError::stopped());
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // Time to kill it.
        }
    })
}

/// No process is there while the run waits. The journal keeps who decided, and when.
fn approve() -> ClosureStep {
    step("approve").run(|cx| async move {
        let week = Duration::from_secs(7 * 24 * 3600);
        let question = Question::new("address is filled; does nobody read email any more?").expires_in(week);
        Ok(cx.approval(&question)?.by)
    })
}

/// Renamed and not dropped: the way back needs what people have typed.
fn retire() -> ClosureStep {
    const TO: &str = "ALTER TABLE users RENAME COLUMN email TO email_retired";
    const BACK: &str = "ALTER TABLE users RENAME COLUMN email_retired TO email";
    step("retire")
        .run(|cx| async move {
            work(&cx, |shop| if has_column(shop, "email")? { shop.execute_batch(TO) } else { Ok(()) }).await
        })
        .probe(|cx| async move { Ok(done_if(!work(&cx, |shop| has_column(shop, "email")).await?)) })
        .undo(|cx| async move {
            work(&cx, |shop| if has_column(shop, "email")? { Ok(()) } else { shop.execute_batch(BACK) }).await
        })
}

struct Printer;

impl Observer for Printer {
    fn event(&self, _run: RunId, _time: Timestamp, event: &Event) {
        match event {
            Event::Resumed { .. } => println!("taken up"),
            Event::AttemptDone { step, .. } => println!("{step} is done"),
            Event::UndoDone { step, .. } => println!("{step} is undone"),
            _ => {}
        }
    }
}
