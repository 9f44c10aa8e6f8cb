//! The journal on the store in memory: what it promises, and what it says when the store breaks it.

use super::*;
use crate::Entry;
use crate::MAX_ENTRY_BYTES;
use crate::Timestamp;

/// Does the future on this thread; nothing here needs a timer.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn bodies(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(|n| format!("{{\"n\":{n}}}")).collect()
}

/// A run with five entries.
fn begun(store: &MemoryStore) -> (Journal, RunId) {
    let journal = Journal::with_store(store.clone()).unwrap();
    let (run, _) = wait(journal.begin("pivot", bodies(1..=2))).unwrap();
    wait(journal.append(run, bodies(3..=5))).unwrap();
    (journal, run)
}

/// The bodies up to the first error, and the number in it.
fn read(journal: &Journal, run: RunId) -> (Vec<String>, Option<u64>) {
    let mut whole = Vec::new();
    let mut damage = Vec::new();
    for entry in journal.entries(run) {
        match entry {
            Ok(Entry { body, .. }) => whole.push(body),
            Err(ReadError::Damaged { seq, .. }) => damage.push(seq),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(damage.len() <= 1, "one error, then nothing");
    assert_eq!(journal.verify(run).is_err(), !damage.is_empty());
    (whole, damage.pop())
}

/// Whole are the entries before `seq`, and nothing can be appended.
fn check_damage(store: &MemoryStore, run: RunId, seq: u64) {
    let journal = Journal::with_store(store.clone()).unwrap();
    let whole = if seq == 1 { vec![] } else { bodies(1..=seq - 1) };
    assert_eq!(read(&journal, run), (whole, Some(seq)));
}

#[test]
fn the_store_in_memory_is_a_store() {
    crate::conformance::run(|| Box::new(MemoryStore::new()));
}

#[test]
fn what_is_appended_is_read_in_order() {
    let (journal, run) = begun(&MemoryStore::new());
    assert_eq!(read(&journal, run), (bodies(1..=5), None));
    let header = journal.header(run).unwrap().unwrap();
    assert_eq!((header.kind.as_str(), header.head.seq), ("pivot", 5));
    assert_eq!(journal.verify(run).unwrap(), header.head);
    assert_eq!(wait(journal.append(run, vec![])).unwrap(), header.head);
    assert_eq!(journal.syncs(), 2, "one for each call that wrote");

    let (second, head) = wait(journal.begin("rollback", vec![])).unwrap();
    assert_eq!(head.seq, 0);
    assert_eq!(journal.verify(second).unwrap(), head);
    let runs: Vec<RunId> = journal.runs().unwrap().into_iter().map(|header| header.run).collect();
    assert_eq!(runs, [run, second]);
}

#[test]
fn a_reader_sees_a_run_that_grows() {
    let (journal, run) = begun(&MemoryStore::new());
    let mut entries = journal.entries(run);
    assert_eq!(entries.next().unwrap().unwrap().seq, 1);
    wait(journal.append(run, bodies(6..=7))).unwrap();
    assert_eq!(entries.map(|entry| entry.unwrap().seq).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
}

/// A crash between the entries and the header: whoever waited was never answered.
#[test]
fn what_lies_beyond_the_header_was_never_committed() {
    let store = MemoryStore::new();
    let (_, run) = begun(&store);
    let head = Journal::with_store(store.clone()).unwrap().header(run).unwrap().unwrap().head;
    let first = Entry::after(run, head, Timestamp::now(), "cut".into());
    let second = Entry::after(run, first.head(), Timestamp::now(), "short".into());
    let entries = [first, second].iter().map(|entry| (run, entry.seq, entry.encode())).collect();
    store.commit(&crate::Batch { entries, headers: vec![] }).unwrap();

    let journal = Journal::with_store(store).unwrap();
    assert_eq!(read(&journal, run), (bodies(1..=5), None));
    let mut reader = journal.entries(run);
    assert_eq!(reader.by_ref().take(4).count(), 4);
    wait(journal.append(run, bodies(6..=6))).unwrap();
    assert_eq!(reader.map(|entry| entry.unwrap().body).collect::<Vec<_>>(), bodies(5..=6));
    assert_eq!(read(&journal, run), (bodies(1..=6), None));
}

#[test]
fn a_run_nobody_began_is_unknown() {
    let (journal, _) = begun(&MemoryStore::new());
    let run = RunId::new();
    assert!(matches!(wait(journal.append(run, bodies(1..=1))), Err(AppendError::UnknownRun { .. })));
    assert!(matches!(journal.verify(run), Err(ReadError::UnknownRun { .. })));
    assert!(matches!(journal.entries(run).collect::<Vec<_>>()[..], [Err(ReadError::UnknownRun { .. })]));
    assert_eq!(journal.header(run).unwrap(), None);
}

#[test]
fn too_large_an_entry_takes_the_whole_append_with_it() {
    let (journal, run) = begun(&MemoryStore::new());
    let long = "x".repeat(MAX_ENTRY_BYTES);
    let error = wait(journal.append(run, vec!["{}".into(), long.clone()])).unwrap_err();
    assert!(
        matches!(error, AppendError::TooLarge { seq: 7, bytes, .. } if bytes > MAX_ENTRY_BYTES),
        "{error}"
    );
    assert!(error.to_string().contains("put_blob"), "{error}");
    assert_eq!(read(&journal, run), (bodies(1..=5), None));
    assert!(matches!(wait(journal.begin(&long, vec![])), Err(AppendError::KindTooLong { .. })));
    let fits = "x".repeat(MAX_ENTRY_BYTES - 100);
    assert_eq!(wait(journal.append(run, vec![fits])).unwrap().seq, 6);
}

#[test]
fn the_first_failure_poisons_the_journal_for_good() {
    let store = MemoryStore::new();
    let (journal, run) = begun(&store);
    store.fail_commit(1);
    let error = wait(journal.append(run, bodies(6..=6))).unwrap_err();
    assert!(matches!(error, AppendError::Store(_)) && error.is_poisoned(), "{error}");
    let later = [
        wait(journal.append(run, bodies(6..=6))).unwrap_err(),
        wait(journal.begin("rollback", vec![])).unwrap_err(),
        wait(journal.put_blob(vec![1])).unwrap_err(),
    ];
    for error in later {
        assert!(error.is_poisoned() && error.to_string().contains("was told to fail"), "{error}");
    }
    assert_eq!(read(&journal, run), (bodies(1..=5), None), "it can still be read");

    let again = Journal::with_store(store.image()).unwrap();
    assert_eq!(wait(again.append(run, bodies(6..=6))).unwrap().seq, 6, "opening again is a new start");
}

#[test]
fn a_missing_or_changed_entry_is_named() {
    for seq in 1..=5 {
        let store = MemoryStore::new();
        let (_, run) = begun(&store);
        let gone = store.image();
        gone.damage_entry(run, seq, |_| None);
        check_damage(&gone, run, seq);

        let changed = store.image();
        changed.damage_entry(run, seq, |mut bytes| {
            *bytes.last_mut().unwrap() ^= 1;
            Some(bytes)
        });
        check_damage(&changed, run, seq);
    }
}

/// Every entry is whole by itself, and one is of another history.
#[test]
fn an_entry_in_the_wrong_place_is_named() {
    let store = MemoryStore::new();
    let (_, run) = begun(&store);
    let forged = Entry::after(run, Head { seq: 2, hash: Digest::of(b"") }, Timestamp::now(), "{}".into());
    store.damage_entry(run, 3, |_| Some(forged.encode()));
    check_damage(&store, run, 3);
}

#[test]
fn a_store_that_went_back_is_found_by_its_witness() {
    let store = MemoryStore::new();
    let (journal, run) = begun(&store);
    let older = store.image();
    wait(journal.append(run, bodies(6..=8))).unwrap();
    let (second, _) = wait(journal.begin("rollback", bodies(1..=1))).unwrap();

    let back = older.with_witness_of(&store);
    check_damage(&back, run, 6);
    check_damage(&back, second, 1);
    let journal = Journal::with_store(back).unwrap();
    assert_eq!(journal.runs().unwrap().len(), 2, "a run that is lost is not left out");
    assert_eq!(journal.header(run).unwrap().unwrap().head.seq, 8, "what was acknowledged");
    let error = wait(journal.append(run, bodies(6..=6))).unwrap_err();
    assert!(matches!(error, AppendError::Read { source: ReadError::Damaged { seq: 6, .. }, .. }), "{error}");
    let (third, _) = wait(journal.begin("pivot", bodies(1..=2))).unwrap();
    assert_eq!(read(&journal, third), (bodies(1..=2), None), "other runs go on");
}

#[test]
fn a_store_with_another_history_is_found_by_its_witness() {
    let store = MemoryStore::new();
    let (journal, run) = begun(&store);
    let fork = store.image();
    wait(journal.append(run, bodies(6..=6))).unwrap();
    wait(Journal::with_store(fork.clone()).unwrap().append(run, bodies(16..=17))).unwrap();
    check_damage(&fork.with_witness_of(&store), run, 6);
}

#[test]
fn a_witness_that_is_older_says_nothing() {
    let store = MemoryStore::new();
    let (journal, run) = begun(&store);
    let older = store.image();
    wait(journal.append(run, bodies(6..=6))).unwrap();
    let journal = Journal::with_store(store.with_witness_of(&older)).unwrap();
    assert_eq!(read(&journal, run), (bodies(1..=6), None));
}

/// sled fails for a page of up to 16 entries, of which one is damaged.
#[test]
fn entries_on_an_unreadable_page_are_found_in_the_log() {
    for damaged in 3..=5 {
        let store = MemoryStore::new();
        let (_, run) = begun(&store);
        store.fail_reads_from(run, 3);
        let journal = Journal::with_store(store.image()).unwrap();
        assert_eq!(read(&journal, run), (bodies(1..=5), None), "the page around them is damaged");
        store.damage_entry(run, damaged, |mut bytes| {
            *bytes.last_mut().unwrap() ^= 1;
            Some(bytes)
        });
        check_damage(&store, run, damaged);
    }
}

#[test]
fn a_later_schema_is_not_called_damage() {
    let store = MemoryStore::new();
    let (_, run) = begun(&store);
    store.damage_entry(run, 4, |mut bytes| {
        bytes[2] = 2;
        Some(bytes)
    });
    let error = Journal::with_store(store).unwrap().verify(run).unwrap_err();
    assert!(matches!(error, ReadError::Newer { seq: 4, found: 2, supported: 1, .. }), "{error}");
    assert!(!error.is_damage());
}

#[test]
fn a_blob_is_checked_when_it_is_read() {
    let store = MemoryStore::new();
    let journal = Journal::with_store(store.clone()).unwrap();
    let digest = wait(journal.put_blob(b"manifest".to_vec())).unwrap();
    assert_eq!(digest, Digest::of(b"manifest"));
    assert_eq!(journal.blob(&digest).unwrap(), b"manifest");
    assert_eq!(wait(journal.put_blob(b"manifest".to_vec())).unwrap(), digest);

    store.damage_blob(&digest, |_| Some(b"manifesT".to_vec()));
    assert!(matches!(journal.blob(&digest), Err(ReadError::DamagedBlob { .. })));
    store.damage_blob(&digest, |_| None);
    let error = journal.blob(&digest).unwrap_err();
    assert!(matches!(error, ReadError::MissingBlob { .. }) && error.is_damage(), "{error}");
}

/// What goes is the runs that are named, and the blobs that nobody else names; the chains of the others hold.
#[test]
fn a_removed_run_leaves_the_others_whole() {
    let store = MemoryStore::new();
    let journal = Journal::with_store(store.clone()).unwrap();
    let put = |text: &str| wait(journal.put_blob(text.into())).unwrap();
    let (own, shared, unnamed) = (put("own"), put("shared"), put("unnamed"));
    let (old, _) = wait(journal.begin("pivot", vec![format!("{own} {shared}")])).unwrap();
    let (kept, _) = wait(journal.begin("pivot", vec![format!("\"{shared}\"")])).unwrap();
    assert_eq!(wait(journal.remove(vec![])).unwrap(), 0, "an entry that names it may still come");
    drop(journal);

    let journal = Journal::with_store(store).unwrap();
    assert_eq!(wait(journal.remove(vec![old])).unwrap(), 2);
    assert_eq!(journal.runs().unwrap().len(), 1);
    journal.verify(kept).unwrap();
    assert!(matches!(journal.verify(old), Err(ReadError::UnknownRun { .. })));
    assert!(matches!(wait(journal.append(old, bodies(1..=1))), Err(AppendError::UnknownRun { .. })));
    assert_eq!(journal.blob(&shared).unwrap(), b"shared");
    for gone in [own, unnamed] {
        assert!(matches!(journal.blob(&gone), Err(ReadError::MissingBlob { .. })));
    }
}

#[test]
fn no_blob_goes_while_a_run_cannot_be_read() {
    let store = MemoryStore::new();
    let (journal, run) = begun(&store);
    let blob = wait(journal.put_blob(b"blob".to_vec())).unwrap();
    let (old, _) = wait(journal.begin("pivot", vec![])).unwrap();
    drop(journal);
    store.damage_entry(run, 2, |_| None);
    let journal = Journal::with_store(store).unwrap();
    assert_eq!(wait(journal.remove(vec![old])).unwrap(), 0);
    assert_eq!(journal.blob(&blob).unwrap(), b"blob");
}
