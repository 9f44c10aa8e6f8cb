//! Tampers with a journal in every way that one who may write everything has, and sees what verification says.
//! `FULCRUM_TAMPERINGS=1000 cargo test -p fulcrum-evidence --test tampering` makes a thousand.

#![allow(clippy::print_stdout, reason = "a test that skips says why")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod cost;
mod exports;
mod log;
mod story;
mod ways;

use fulcrum_evidence::note::Note;
use fulcrum_evidence::seal::seal;
use fulcrum_evidence::verify::{Elsewhere, Report, Standing, verify};
use fulcrum_state::{Commit, Journal, Reader};
use std::path::Path;
use story::{Story, copy};
use ways::{Alone, WAYS};

/// How many tamperings are made.
pub(crate) fn count(usual: usize) -> usize {
    std::env::var("FULCRUM_TAMPERINGS").ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

pub(crate) fn known(note: &Note) -> Vec<Elsewhere> {
    vec![Elsewhere { place: "a mail".into(), note: Ok(note.clone()) }]
}

/// What verification says. A journal that cannot be opened at all says itself that it is wrong.
fn worst(dir: &Path, elsewhere: &[Elsewhere]) -> (Standing, Option<Report>) {
    match Reader::open(dir) {
        Err(_) => (Standing::Wrong, None),
        Ok(journal) => match verify(&journal, dir, elsewhere) {
            Err(_) => (Standing::Wrong, None),
            Ok(report) => (report.worst(), Some(report)),
        },
    }
}

#[tokio::test]
async fn no_tampering_is_verified() {
    let story = Story::tell().await;
    let (mut verified, mut missed) = (0, Vec::new());
    for number in 0..count(WAYS.len()) {
        let way = &WAYS[number % WAYS.len()];
        let dir = tempfile::tempdir().unwrap();
        copy(&story.dir(), dir.path());
        (way.tamper)(dir.path(), &story, &mut fastrand::Rng::with_seed(number as u64));
        let (alone, _) = worst(dir.path(), &[]);
        let (compared, report) = worst(dir.path(), &known(&story.note));
        let as_it_must = match way.alone {
            Alone::Wrong => alone == Standing::Wrong,
            Alone::NotChecked => alone == Standing::NotChecked,
        };
        verified += usize::from(compared != Standing::Wrong);
        if !as_it_must || compared != Standing::Wrong {
            missed.push(format!(
                "{} ({number}): alone {alone:?}, compared {compared:?}: {report:#?}",
                way.name
            ));
        }
    }
    assert!(missed.is_empty() && verified == 0, "{} missed, for example {}", missed.len(), missed[0]);
}

#[tokio::test]
async fn what_was_not_touched_is_verified_but_for_what_was_pruned() {
    let story = Story::tell().await;
    let (alone, report) = worst(&story.dir(), &[]);
    assert_eq!(alone, Standing::NotChecked, "{report:#?}");
    let (_, report) = worst(&story.dir(), &known(&story.note));
    let report = report.unwrap();
    assert_eq!(report.of(Standing::Wrong).count(), 0, "{report:#?}");
    let open: Vec<_> = report.of(Standing::NotChecked).collect();
    assert_eq!(open.len(), 1, "{open:#?}");
    assert_eq!(open[0].run, Some(story.pruned));
    for note in &story.notes {
        let (_, report) = worst(&story.dir(), &known(note));
        assert_eq!(report.unwrap().of(Standing::Wrong).count(), 0, "every earlier checkpoint still fits");
    }
}

/// The first signing writes the key, its public half and the checkpoint, in this order. A crash leaves the first of
/// them.
#[tokio::test]
async fn a_signing_that_was_cut_short_is_done_by_the_next() {
    let first = tempfile::tempdir().unwrap();
    let journal = Journal::open(first.path(), "test").unwrap();
    let body = "{\"event\":\"ended\"}".to_owned();
    drop(
        journal.begin("pivot", Commit { bodies: vec![body], over: true, ..Commit::default() }).await.unwrap(),
    );
    drop(journal);
    let signed = tempfile::tempdir().unwrap();
    copy(first.path(), signed.path());
    seal(&Reader::open(signed.path()).unwrap(), signed.path()).unwrap();
    for left in [&[][..], &["key"], &["key", "keys"]] {
        let dir = tempfile::tempdir().unwrap();
        copy(first.path(), dir.path());
        std::fs::create_dir_all(dir.path().join("evidence/checkpoints")).unwrap();
        for name in left {
            let file = Path::new("evidence").join(name);
            std::fs::copy(signed.path().join(&file), dir.path().join(&file)).unwrap();
        }
        assert_eq!(worst(dir.path(), &[]).0, Standing::NotChecked, "{left:?}");
        let note = seal(&Reader::open(dir.path()).unwrap(), dir.path()).unwrap();
        let (standing, report) = worst(dir.path(), &known(&note));
        assert_eq!(standing, Standing::Verified, "{left:?}: {report:#?}");
    }
}

#[tokio::test]
async fn a_new_key_has_the_word_of_the_old_one() {
    let story = Story::tell().await;
    let dir = tempfile::tempdir().unwrap();
    copy(&story.dir(), dir.path());
    let journal = Reader::open(dir.path()).unwrap();
    let (note, old) = fulcrum_evidence::seal::rotate(&journal, dir.path()).unwrap();
    assert!(!note.is_signed_by(&old.unwrap()), "the new key signs");
    let (_, report) = worst(dir.path(), &known(&story.note));
    let report = report.unwrap();
    assert_eq!(
        (report.of(Standing::Wrong).count(), report.of(Standing::NotChecked).count()),
        (0, 1),
        "{report:#?}"
    );

    // The earlier key's word is what it is: no byte of it may differ.
    let (rotations, elsewhere) = (dir.path().join("evidence/rotations"), known(&note));
    let word = std::fs::read_dir(rotations).unwrap().next().unwrap().unwrap().path();
    let said = std::fs::read(&word).unwrap();
    for at in (0..said.len()).step_by(31) {
        let mut other = said.clone();
        other[at] ^= 1;
        std::fs::write(&word, other).unwrap();
        assert_eq!(worst(dir.path(), &elsewhere).0, Standing::Wrong, "byte {at}");
    }
    std::fs::write(&word, said).unwrap();

    // The key is lost: the journal stays unsigned until a person makes another, and that is told.
    std::fs::remove_file(dir.path().join("evidence/key")).unwrap();
    assert!(fulcrum_evidence::seal::seal(&journal, dir.path()).is_err());
    let (_, old) = fulcrum_evidence::seal::rotate(&journal, dir.path()).unwrap();
    assert!(old.is_none());
    let (worst, report) = worst(dir.path(), &known(&story.note));
    assert_eq!(worst, Standing::NotChecked);
    let told = |finding: &&fulcrum_evidence::verify::Finding| finding.text.contains("took the place");
    assert_eq!(report.unwrap().of(Standing::NotChecked).filter(told).count(), 1);
}
