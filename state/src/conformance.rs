//! The kit for stores: what [`Store`] says, as a test that every implementation runs. It fails by a panic,
//! as tests do.
//!
//! Not for durability: that takes a kill or a power cut, and is tested where there is a disk.

use crate::Batch;
use crate::Digest;
use crate::Head;
use crate::RunHeader;
use crate::RunId;
use crate::Store;
use crate::Timestamp;

/// Runs every test on a store of its own; `make` gives an empty one each time.
///
/// # Panics
///
/// The store does not do what [`Store`] says.
pub fn run(make: impl Fn() -> Box<dyn Store>) {
    an_empty_store_has_nothing(make().as_ref());
    a_batch_is_read_back(make().as_ref());
    entries_are_found_from_a_number_on(make().as_ref());
    runs_do_not_mix(make().as_ref());
    headers_are_replaced_and_ordered(make().as_ref());
    the_largest_entries_are_kept(make().as_ref());
    a_header_comes_after_its_entries(make().as_ref());
    entries_beyond_the_header_are_replaced(make().as_ref());
    blobs_are_kept_and_put_again(make().as_ref());
    runs_and_blobs_are_removed(make().as_ref());
}

const OK: &str = "the store works";

fn an_empty_store_has_nothing(store: &dyn Store) {
    let run = RunId::new();
    assert_eq!(store.entry_from(run, 1).expect(OK), None);
    assert_eq!(store.header(run).expect(OK), None);
    assert_eq!(store.headers().expect(OK), []);
    assert_eq!(store.witnessed().expect(OK), []);
    assert_eq!(store.blob(&Digest::of(b"none")).expect(OK), None);
    store.commit(&Batch::default()).expect("an empty batch is a batch");
}

fn a_batch_is_read_back(store: &dyn Store) {
    let run = RunId::new();
    commit(store, run, 1..=3);
    for seq in 1..=3 {
        assert_eq!(store.entry_from(run, seq).expect(OK), Some((seq, body(run, seq))));
    }
    assert_eq!(store.header(run).expect(OK), Some(header(run, 3)));
}

fn entries_are_found_from_a_number_on(store: &dyn Store) {
    let run = RunId::new();
    let entries = [1, 2, 255, 256, 65_536].map(|seq| (run, seq, body(run, seq))).to_vec();
    store.commit(&Batch { entries, headers: vec![] }).expect(OK);
    for (from, found) in [(0, 1), (1, 1), (2, 2), (3, 255), (255, 255), (256, 256), (257, 65_536)] {
        assert_eq!(store.entry_from(run, from).expect(OK), Some((found, body(run, found))), "from {from}");
    }
    let three = [2, 255, 256].map(|seq| (seq, body(run, seq))).to_vec();
    assert_eq!(store.entries_from(run, 2, 3).expect(OK), three);
    assert_eq!(store.entries_from(run, 256, 9).expect(OK).len(), 2, "as many as there are");
    assert_eq!(store.entry_from(run, 65_537).expect(OK), None);
    assert_eq!(store.entry_from(run, u64::MAX).expect(OK), None);
}

fn runs_do_not_mix(store: &dyn Store) {
    let (first, second, third) = (RunId::new(), RunId::new(), RunId::new());
    commit(store, first, 1..=2);
    commit(store, third, 1..=2);
    assert_eq!(store.entry_from(first, 3).expect(OK), None);
    assert_eq!(store.entry_from(second, 0).expect(OK), None);
    commit(store, second, 1..=1);
    assert_eq!(store.entry_from(second, 1).expect(OK), Some((1, body(second, 1))));
    assert_eq!(store.entry_from(second, 2).expect(OK), None);
}

fn headers_are_replaced_and_ordered(store: &dyn Store) {
    let mut runs: Vec<RunId> = (0..40).map(|_| RunId::new()).collect();
    for run in runs.iter().rev() {
        commit(store, *run, 1..=1);
    }
    commit(store, runs[7], 2..=5);
    runs.sort();
    let wanted: Vec<_> =
        runs.iter().map(|run| (*run, header(*run, if *run == runs[7] { 5 } else { 1 }))).collect();
    assert_eq!(store.headers().expect(OK), wanted);
}

fn the_largest_entries_are_kept(store: &dyn Store) {
    let run = RunId::new();
    let large = |seq: u64| vec![seq as u8; crate::MAX_ENTRY_BYTES];
    let entries = (1..=200).map(|seq| (run, seq, large(seq))).collect();
    store.commit(&Batch { entries, headers: vec![(run, header(run, 200))] }).expect(OK);
    for seq in 1..=200 {
        assert_eq!(store.entry_from(run, seq).expect(OK), Some((seq, large(seq))));
    }
}

/// A reader that sees a header sees the entries that it covers.
fn a_header_comes_after_its_entries(store: &dyn Store) {
    let run = RunId::new();
    commit(store, run, 1..=1);
    std::thread::scope(|scope| {
        scope.spawn(|| (1..=50).for_each(|n| commit(store, run, 2 * n..=2 * n + 1)));
        let mut head = 0;
        while head < 101 {
            let bytes = store.header(run).expect(OK).expect("the header is never away");
            head = RunHeader::decode(run, &bytes).expect("the header is what was written").head.seq;
            assert_eq!(store.entry_from(run, head).expect(OK), Some((head, body(run, head))));
        }
    });
}

/// What a crash left of a commit, entries without their header, is written over.
fn entries_beyond_the_header_are_replaced(store: &dyn Store) {
    let run = RunId::new();
    commit(store, run, 1..=1);
    let entries = vec![(run, 2, b"another".to_vec()), (run, 3, b"one more".to_vec())];
    store.commit(&Batch { entries, headers: vec![] }).expect(OK);
    assert_eq!(store.header(run).expect(OK), Some(header(run, 1)));
    commit(store, run, 2..=2);
    assert_eq!(store.entry_from(run, 2).expect(OK), Some((2, body(run, 2))));
    assert_eq!(store.header(run).expect(OK), Some(header(run, 2)));
}

fn blobs_are_kept_and_put_again(store: &dyn Store) {
    let bytes = vec![7; 300_000];
    let digest = Digest::of(&bytes);
    store.put_blob(&digest, &bytes).expect(OK);
    store.put_blob(&digest, &bytes).expect("to put it again is no error");
    assert_eq!(store.blob(&digest).expect(OK), Some(bytes));
    let empty = Digest::of(b"");
    store.put_blob(&empty, b"").expect(OK);
    assert_eq!(store.blob(&empty).expect(OK), Some(vec![]));
}

fn runs_and_blobs_are_removed(store: &dyn Store) {
    let (first, second, third) = (RunId::new(), RunId::new(), RunId::new());
    commit(store, first, 1..=3000);
    commit(store, second, 1..=2);
    commit(store, third, 1..=2);
    store.remove(&[first, third, RunId::new()]).expect(OK);
    assert_eq!(store.headers().expect(OK), [(second, header(second, 2))]);
    assert_eq!(store.entry_from(first, 0).expect(OK), None);
    assert_eq!(store.entry_from(second, 2).expect(OK), Some((2, body(second, 2))));
    assert_eq!(store.entry_from(third, 0).expect(OK), None);

    let digests = [b"one", b"two"].map(|bytes| {
        store.put_blob(&Digest::of(bytes), bytes).expect(OK);
        Digest::of(bytes)
    });
    assert_eq!(store.blobs().expect(OK).len(), 2);
    store.remove_blobs(&digests[..1]).expect(OK);
    assert_eq!(store.blobs().expect(OK), digests[1..]);
    assert_eq!(store.blob(&digests[0]).expect(OK), None);
}

fn commit(store: &dyn Store, run: RunId, seqs: std::ops::RangeInclusive<u64>) {
    let last = *seqs.end();
    let entries = seqs.map(|seq| (run, seq, body(run, seq))).collect();
    store.commit(&Batch { entries, headers: vec![(run, header(run, last))] }).expect(OK);
}

fn body(run: RunId, seq: u64) -> Vec<u8> {
    format!("entry {seq} of {run}").into_bytes()
}

fn header(run: RunId, seq: u64) -> Vec<u8> {
    let head = Head { seq, hash: Digest::of(&body(run, seq)) };
    RunHeader { run, kind: "conformance".into(), created: Timestamp::from_micros(1), head }.encode()
}
