//! What every store of a journal must hold, as checks that a test calls.
//!
//! ```
//! use fulcrum_state::{Journal, testing};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), testing::Violation> {
//! let journal = Journal::in_memory();
//! testing::conforms(|| journal.clone()).await?;
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeSet;
use std::fmt::Debug;

use crate::AppendError;
use crate::Commit;
use crate::Digest;
use crate::Head;
use crate::Journal;
use crate::MAX_BODY_BYTES;
use crate::MAX_INLINE_BLOB_BYTES;
use crate::MAX_KIND_BYTES;
use crate::ReadError;
use crate::RunId;
use crate::RunWriter;

/// What a store does not hold.
#[derive(Debug, thiserror::Error)]
#[error("{check}: {found}")]
pub struct Violation {
    check: &'static str,
    found: String,
}

type Held = Result<(), Violation>;

/// Checks everything that a journal promises of one process, on an open journal that nobody else writes. `open`
/// gives one journal each time, in any number of handles.
///
/// # Errors
/// The first promise that does not hold.
pub async fn conforms(open: impl Fn() -> Journal) -> Held {
    reads_what_was_appended(&open()).await?;
    begins_a_name_once(&open()).await?;
    has_one_writer_of_a_run(&open()).await?;
    appends_all_or_nothing(&open()).await?;
    keeps_blobs(&open()).await?;
    lists_runs_in_their_order(&open()).await?;
    lets_writers_append_at_once(&open()).await?;
    keeps_the_entries_of_a_dropped_append(&open()).await?;
    removes_runs_for_good(&open()).await
}

/// Checks what a store promises of two processes: `first` and `second` are journals of different holders.
///
/// # Errors
/// The first promise that does not hold.
pub async fn conforms_for_two(first: &Journal, second: &Journal) -> Held {
    const CHECK: &str = "a run has one writer among all processes";
    let mut writer = begun(first, CHECK).await?;
    let run = writer.run();
    equal(CHECK, read(second, run, CHECK)?, vec![body(1)])?;
    expect(
        CHECK,
        second.continue_run(run),
        |error| matches!(error, AppendError::Held { run: r, .. } if *r == run),
    )?;
    expect(CHECK, second.begin_as(run, "kind", Commit::of([body(1)])).await, |error| {
        matches!(error, AppendError::Exists { .. })
    })?;
    expect(CHECK, second.prune(vec![run], "a test").await, |error| {
        matches!(error, AppendError::Held { .. } | AppendError::Claimed { .. })
    })?;
    append(&mut writer, 2, CHECK).await?;
    let token = writer.lease().map(|lease| lease.token());
    drop(writer);
    let mut other = continued(second, run, CHECK)?;
    holds(CHECK, other.lease().map(|lease| lease.token()) > token, || "the token did not grow".into())?;
    append(&mut other, 3, CHECK).await?;
    equal(CHECK, read(first, run, CHECK)?, (1..=3).map(body).collect())
}

async fn reads_what_was_appended(journal: &Journal) -> Held {
    const CHECK: &str = "what was appended is read, in order and linked";
    let mut writer = begun(journal, CHECK).await?;
    let run = writer.run();
    let head = ok(CHECK, writer.append(Commit::of([body(2), body(3)])).await)?;
    equal(CHECK, (head.seq, head), (3, writer.head()))?;
    equal(CHECK, ok(CHECK, writer.append(Commit::default()).await)?, head)?;
    equal(CHECK, read(journal, run, CHECK)?, vec![body(1), body(2), body(3)])?;
    equal(CHECK, ok(CHECK, journal.reader().verify(run))?, head)?;
    let entries: Result<Vec<_>, _> = journal.reader().entries(run).collect();
    let entries = ok(CHECK, entries)?;
    let times: Vec<_> = entries[1..].iter().map(|entry| entry.time).collect();
    equal(CHECK, times, vec![writer.time(); 2])?;
    let after = entries[0].head();
    let rest = journal.reader().entries_after(run, after).map(|entry| entry.map(|entry| entry.seq));
    equal(CHECK, ok(CHECK, rest.collect::<Result<Vec<_>, _>>())?, vec![2, 3])?;
    let wrong = Head { hash: Digest::of(b"another"), ..after };
    let found = journal.reader().entries_after(run, wrong).next();
    holds(CHECK, matches!(&found, Some(Err(error)) if error.is_damage()), || format!("{found:?}"))
}

async fn begins_a_name_once(journal: &Journal) -> Held {
    const CHECK: &str = "a name has one run";
    let run = RunId::of_key(&format!("a name of {}", RunId::new()));
    let kind = "k".repeat(MAX_KIND_BYTES);
    let begin = |kind: String| async move { journal.begin_as(run, &kind, Commit::of([body(1)])).await };
    expect(CHECK, begin(format!("{kind}k")).await, |error| matches!(error, AppendError::KindTooLong { .. }))?;
    let writer = ok(CHECK, begin(kind.clone()).await)?;
    drop(writer);
    let again = begin(kind.clone()).await;
    expect(CHECK, again, |error| matches!(error, AppendError::Exists { .. } | AppendError::Claimed { .. }))?;
    let header = ok(CHECK, journal.reader().header(run))?;
    equal(CHECK, header.map(|header| (header.run, header.kind, header.over)), Some((run, kind, false)))
}

async fn has_one_writer_of_a_run(journal: &Journal) -> Held {
    const CHECK: &str = "a run has one writer of a process";
    let writer = begun(journal, CHECK).await?;
    let run = writer.run();
    expect(CHECK, journal.continue_run(run), |error| matches!(error, AppendError::Claimed { .. }))?;
    let head = writer.head();
    drop(writer);
    let mut writer = continued(journal, run, CHECK)?;
    equal(CHECK, writer.head(), head)?;
    append(&mut writer, 2, CHECK).await?;
    let unknown = RunId::new();
    expect(CHECK, journal.continue_run(unknown), |error| {
        matches!(error, AppendError::Read { source: ReadError::UnknownRun { .. }, .. })
    })?;
    let found = journal.reader().entries(unknown).next();
    holds(CHECK, matches!(found, Some(Err(ReadError::UnknownRun { .. }))), || format!("{found:?}"))
}

async fn appends_all_or_nothing(journal: &Journal) -> Held {
    const CHECK: &str = "an append keeps all of its entries or none";
    let mut writer = begun(journal, CHECK).await?;
    let long = format!("\"{}\"", "x".repeat(MAX_BODY_BYTES));
    for (bad, name) in [(long.as_str(), "too large"), ("{", "not JSON"), ("{}\n", "not on one line")] {
        let result = writer.append(Commit::of([body(2), bad.to_owned()])).await;
        holds(CHECK, result.is_err(), || format!("an entry is {name}, and was kept"))?;
    }
    let alone = Commit::default().with_blob(*b"blob");
    expect(CHECK, writer.append(alone).await, |error| matches!(error, AppendError::BlobsAlone { .. }))?;
    append(&mut writer, 2, CHECK).await?;
    let exact = format!("\"{}\"", "x".repeat(MAX_BODY_BYTES - 2));
    ok(CHECK, writer.append(Commit::of([exact.clone()])).await)?;
    let odd = "{\"b\":1,  \"a\":1.0,\"c\":\"\\u0000 \\ud83d\\ude00 é\"}".to_owned();
    ok(CHECK, writer.append(Commit::of([odd.clone()])).await)?;
    equal(CHECK, read(journal, writer.run(), CHECK)?, vec![body(1), body(2), exact, odd])
}

async fn keeps_blobs(journal: &Journal) -> Held {
    const CHECK: &str = "blobs come back byte for byte";
    let mut writer = begun(journal, CHECK).await?;
    let large = vec![7; MAX_INLINE_BLOB_BYTES * 3 + 1];
    let blobs = [b"text".to_vec(), Vec::new(), vec![0, 0xff, 0], large, b"text".to_vec()];
    let mut commit = Commit::of([body(2), body(3)]);
    for blob in &blobs {
        commit = commit.with_blob(blob.clone());
    }
    ok(CHECK, writer.append(commit).await)?;
    ok(CHECK, journal.reader().verify(writer.run()))?;
    for blob in blobs {
        equal(CHECK, ok(CHECK, journal.reader().blob(&Digest::of(&blob)))?, blob)?;
    }
    let missing = journal.reader().blob(&Digest::of(b"never kept"));
    holds(CHECK, matches!(missing, Err(ReadError::MissingBlob { .. })), || format!("{missing:?}"))
}

async fn lists_runs_in_their_order(journal: &Journal) -> Held {
    const CHECK: &str = "runs are listed in the order of their beginnings, those that are over apart";
    let mut runs = Vec::new();
    for n in 0..3 {
        // The name says nothing of the order.
        let run = RunId::of_key(&format!("{n} of {}", RunId::new()));
        let mut writer = ok(CHECK, journal.begin_as(run, "kind", Commit::of([body(1)])).await)?;
        if n == 1 {
            ok(CHECK, writer.append(Commit::of([body(2)]).over()).await)?;
        }
        runs.push(run);
    }
    let names = |headers: Vec<crate::RunHeader>| -> Vec<RunId> {
        headers.into_iter().map(|header| header.run).filter(|run| runs.contains(run)).collect()
    };
    equal(CHECK, names(ok(CHECK, journal.reader().runs())?), runs.clone())?;
    equal(CHECK, names(ok(CHECK, journal.open_runs())?), vec![runs[0], runs[2]])?;
    let mut writer = continued(journal, runs[1], CHECK)?;
    append(&mut writer, 3, CHECK).await?;
    equal(CHECK, names(ok(CHECK, journal.open_runs())?), runs.clone())?;
    equal(CHECK, ok(CHECK, journal.reader().verify(runs[1]))?.seq, 3)
}

async fn lets_writers_append_at_once(journal: &Journal) -> Held {
    const CHECK: &str = "runs are written at once";
    let at_once = |_| async {
        let mut writer = begun(journal, CHECK).await?;
        for n in 2..=20 {
            append(&mut writer, n, CHECK).await?;
        }
        equal(CHECK, read(journal, writer.run(), CHECK)?, (1..=20).map(body).collect())?;
        Ok(writer.run())
    };
    let runs = join_all((0..8).map(at_once)).await.into_iter().collect::<Result<BTreeSet<_>, _>>()?;
    equal(CHECK, runs.len(), 8)
}

async fn keeps_the_entries_of_a_dropped_append(journal: &Journal) -> Held {
    const CHECK: &str = "an append whose caller is gone is whole or not there, and its writer knows no more";
    let mut writer = begun(journal, CHECK).await?;
    let run = writer.run();
    let answered = {
        let mut append = Box::pin(writer.append(Commit::of([body(2), body(3)])));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        append.as_mut().poll(&mut context).is_ready()
    };
    let second = writer.append(Commit::of([body(4)])).await;
    drop(writer);
    let seen = continued(journal, run, CHECK)?.head().seq;
    equal(CHECK, read(journal, run, CHECK)?.len() as u64, seen)?;
    let fits = match &second {
        // The first one was done before its caller was gone.
        Ok(head) if answered => head.seq == 4 && seen == 4,
        Err(AppendError::Moved { found: 3, .. }) => seen == 3,
        // The second one was first.
        Ok(head) => head.seq == 2 && seen == 2,
        _ => false,
    };
    holds(CHECK, fits, || format!("the next append gave {second:?}, and the run has {seen} entries"))
}

async fn removes_runs_for_good(journal: &Journal) -> Held {
    const CHECK: &str = "a run that was removed is gone with its blobs, and its name is remembered";
    let mut writer = begun(journal, CHECK).await?;
    let blob = format!("a blob of {}", RunId::new());
    let head = ok(CHECK, writer.append(Commit::of([body(2)]).with_blob(blob.clone())).await)?;
    let (gone, kept) = (writer.run(), begun(journal, CHECK).await?);
    expect(CHECK, journal.prune(vec![gone], "a test").await, |error| {
        matches!(error, AppendError::Claimed { .. })
    })?;
    drop(writer);
    // Waits until the claim is released.
    drop(continued(journal, gone, CHECK)?);
    ok(CHECK, pruned(journal, gone).await)?;
    ok(CHECK, journal.prune(vec![gone, RunId::new()], "again").await)?;
    equal(CHECK, ok(CHECK, journal.reader().header(gone))?, None)?;
    let found = journal.reader().entries(gone).next();
    let is_gone = |found: &ReadError| matches!(found, ReadError::Pruned { head: at, .. } if *at == head);
    holds(CHECK, matches!(&found, Some(Err(error)) if is_gone(error)), || format!("{found:?}"))?;
    let found = journal.reader().blob(&Digest::of(blob.as_bytes()));
    holds(CHECK, matches!(found, Err(ReadError::MissingBlob { .. })), || format!("{found:?}"))?;
    let again = journal.begin_as(gone, "kind", Commit::of([body(1)])).await;
    expect(CHECK, again, |error| matches!(error, AppendError::Exists { .. }))?;
    equal(CHECK, read(journal, kept.run(), CHECK)?, vec![body(1)])
}

/// Removes a run once its claim is released.
async fn pruned(journal: &Journal, run: RunId) -> Result<(), AppendError> {
    for _ in 0..TRIES {
        match journal.prune(vec![run], "a test").await {
            Err(AppendError::Claimed { .. }) => std::thread::sleep(PAUSE),
            result => return result,
        }
    }
    journal.prune(vec![run], "a test").await
}

const TRIES: usize = 500;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// Continues a run. Its last writer was dropped, and may be about to be released.
fn continued(journal: &Journal, run: RunId, check: &'static str) -> Result<RunWriter, Violation> {
    for _ in 0..TRIES {
        match journal.continue_run(run) {
            Err(AppendError::Claimed { .. } | AppendError::Held { .. }) => std::thread::sleep(PAUSE),
            result => return ok(check, result),
        }
    }
    ok(check, journal.continue_run(run))
}

async fn begun(journal: &Journal, check: &'static str) -> Result<RunWriter, Violation> {
    ok(check, journal.begin("kind", Commit::of([body(1)])).await)
}

async fn append(writer: &mut RunWriter, n: u64, check: &'static str) -> Result<Head, Violation> {
    ok(check, writer.append(Commit::of([body(n)])).await)
}

fn read(journal: &Journal, run: RunId, check: &'static str) -> Result<Vec<String>, Violation> {
    let bodies = journal.reader().entries(run).map(|entry| entry.map(|entry| entry.body));
    ok(check, bodies.collect::<Result<_, _>>())
}

fn body(n: u64) -> String {
    format!("{{\"n\":{n}}}")
}

fn ok<T, E: std::error::Error>(check: &'static str, result: Result<T, E>) -> Result<T, Violation> {
    result.map_err(|error| Violation { check, found: crate::error::with_sources(&error) })
}

fn expect<T>(
    check: &'static str,
    result: Result<T, AppendError>,
    is_right: impl Fn(&AppendError) -> bool,
) -> Held {
    match result {
        Err(error) if is_right(&error) => Ok(()),
        Err(error) => Err(Violation { check, found: format!("it was refused with {error:?}") }),
        Ok(_) => Err(Violation { check, found: "it was not refused".to_owned() }),
    }
}

fn equal<T: PartialEq + Debug>(check: &'static str, found: T, expected: T) -> Held {
    let is_equal = found == expected;
    holds(check, is_equal, || format!("found {found:?}, expected {expected:?}"))
}

fn holds(check: &'static str, is_so: bool, found: impl FnOnce() -> String) -> Held {
    if is_so { Ok(()) } else { Err(Violation { check, found: found() }) }
}

/// Polls all of them until all are done.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (future, output) in waiting.iter_mut().filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(context) {
                std::task::Poll::Ready(value) => *output = Some(value),
                std::task::Poll::Pending => pending = true,
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    waiting.into_iter().filter_map(|(_, output)| output).collect()
}
