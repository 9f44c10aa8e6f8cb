//! What verification and an export of a large journal cost.
//! `cargo test --release -p fulcrum-evidence --test tampering -- --ignored --nocapture`

use fulcrum_evidence::export::export;
use fulcrum_evidence::seal::seal;
use fulcrum_evidence::verify::{Standing, verify};
use fulcrum_state::{Commit, Journal, Reader};
use std::time::{Duration, Instant};

const RUNS: usize = 1000;
/// The entries of a pivot that goes through, and the bytes of one.
const ENTRIES: usize = 60;
const BYTES: usize = 250;

#[tokio::test]
#[ignore = "takes a minute, and its limits are those of a build for use"]
async fn a_thousand_runs_are_verified_in_a_second_and_exported_in_three() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let journal = Journal::open(dir.path(), "test").unwrap();
    let body = format!("{{\"event\":\"attempt-done\",\"output\":\"{}\"}}", "x".repeat(BYTES));
    for number in 0..RUNS {
        let plan = format!("plan {number} {}", "y".repeat(8000)).into_bytes();
        let commit =
            Commit { bodies: vec![body.clone(); ENTRIES / 2], blobs: vec![plan], ..Commit::default() };
        let mut run = journal.begin("pivot", commit).await.unwrap();
        run.append(Commit { bodies: vec![body.clone(); ENTRIES / 2], over: true, ..Commit::default() })
            .await
            .unwrap();
        if number % 10 == 0 {
            seal(&journal.reader(), dir.path()).unwrap();
        }
    }
    let mut late = Vec::new();
    let mut timed = |what: &'static str, most: Duration, work: &mut dyn FnMut()| {
        let (began, cpu) = (Instant::now(), on_the_cpu());
        work();
        let (took, cpu) = (began.elapsed(), on_the_cpu() - cpu);
        println!("{what}: {took:?}, of which {cpu:?} on the CPU, at most {most:?}");
        late.extend((took > most).then_some(what));
    };
    timed("the signature after a run", Duration::from_secs(1), &mut || {
        seal(&journal.reader(), dir.path()).unwrap();
    });
    drop(journal);
    timed("verify", Duration::from_secs(1), &mut || {
        let report = verify(&Reader::open(dir.path()).unwrap(), dir.path(), &[]).unwrap();
        assert_eq!(report.of(Standing::Wrong).count(), 0);
    });
    timed("export", Duration::from_secs(3), &mut || {
        export(&Reader::open(dir.path()).unwrap(), dir.path(), &[], to.path()).unwrap();
    });
    assert!(cfg!(debug_assertions) || late.is_empty(), "too late: {late:?}");
}

/// How long this thread has been on a processor. A machine that does something else as well makes it wait.
fn on_the_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default())
}
