//! The checks for stores hold for the journal itself.

#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use fulcrum_state::Journal;
use fulcrum_state::testing;

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_holds_what_a_store_must() {
    let journal = Journal::in_memory();
    testing::conforms(|| journal.clone()).await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn the_journal_in_a_directory_holds_what_a_store_must() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path().join("journal"), "a test").unwrap();
    testing::conforms(|| journal.clone()).await.unwrap();
}
