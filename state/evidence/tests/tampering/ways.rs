//! The ways to tamper with a journal, and what verification must say without anything from elsewhere.

use super::log::{self, Line, chain_anew, change_blob};
use super::story::{Story, copy};
use fastrand::Rng;
use fulcrum_evidence::seal::seal;
use fulcrum_state::{Reader, RunId, Told};
use std::path::{Path, PathBuf};

/// What verification says without an earlier checkpoint. With one, each way is wrong.
#[derive(Clone, Copy)]
pub(crate) enum Alone {
    Wrong,
    /// The directory is consistent in itself.
    NotChecked,
}

pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) alone: Alone,
    pub(crate) tamper: fn(&Path, &Story, &mut Rng),
}

const fn way(name: &'static str, alone: Alone, tamper: fn(&Path, &Story, &mut Rng)) -> Way {
    Way { name, alone, tamper }
}

pub(crate) const WAYS: [Way; 16] = [
    way("a byte of the log", Alone::Wrong, |dir, _, rng| {
        flip(&dir.join("log/0000000001.log"), log::used(dir), rng);
        let _ = std::fs::remove_file(dir.join("index"));
    }),
    way("a byte of a large blob", Alone::Wrong, |dir, _, rng| {
        flip(&any_file(&dir.join("blobs"), rng), 0, rng);
    }),
    way("a byte of a checkpoint", Alone::Wrong, |dir, _, rng| {
        flip(&any_file(&dir.join("evidence/checkpoints"), rng), 0, rng);
    }),
    way("a byte of the keys, or of what was pruned", Alone::Wrong, |dir, _, rng| {
        flip(&dir.join("evidence").join(["key", "keys", "pruned"][rng.usize(..3)]), 0, rng);
    }),
    way("an entry is deleted", Alone::Wrong, |dir, _, rng| {
        edit(dir, |lines| _ = lines.remove(an_entry(lines, rng)));
    }),
    way("two entries are swapped", Alone::Wrong, |dir, _, rng| {
        edit(dir, |lines| {
            let one = an_entry(lines, rng);
            let other = std::iter::repeat_with(|| an_entry(lines, rng)).find(|other| *other != one).unwrap();
            lines.swap(one, other);
        });
    }),
    way("an entry is forged, with the chain", Alone::Wrong, |dir, _, rng| {
        edit(dir, |lines| forge(lines, rng));
    }),
    way("an entry is deleted, with the chain", Alone::Wrong, |dir, _, rng| {
        edit(dir, |lines| {
            lines.remove(an_entry(lines, rng));
            chain_anew(lines);
        });
    }),
    way("a run is deleted", Alone::Wrong, |dir, _, rng| edit(dir, |lines| delete_run(lines, rng))),
    way("a run is deleted, with the chain", Alone::Wrong, |dir, _, rng| {
        edit(dir, |lines| {
            delete_run(lines, rng);
            chain_anew(lines);
        });
    }),
    way("two runs change places, with the chain", Alone::Wrong, |dir, _, rng| {
        edit(dir, |lines| {
            let runs = runs(lines);
            let at = rng.usize(1..runs.len() - 1);
            let (one, other): (Vec<Line>, Vec<Line>) = lines
                .iter()
                .filter(|line| [Some(runs[at]), Some(runs[at + 1])].contains(&line.run()))
                .cloned()
                .partition(|line| line.run() == Some(runs[at]));
            let place = lines.iter().position(|line| line.run() == Some(runs[at])).unwrap();
            lines.retain(|line| ![Some(runs[at]), Some(runs[at + 1])].contains(&line.run()));
            lines.splice(place..place, other.into_iter().chain(one));
            chain_anew(lines);
        });
    }),
    way("the tail is cut", Alone::Wrong, |dir, _, rng| edit(dir, |lines| cut(lines, rng))),
    way("the tail is cut, with its checkpoints", Alone::NotChecked, |dir, _, rng| {
        edit(dir, |lines| cut(lines, rng));
        sign_anew(dir, true);
    }),
    way("an older directory", Alone::NotChecked, |dir, story, _| {
        std::fs::remove_dir_all(dir).unwrap();
        copy(story.older.path(), dir);
    }),
    way(
        "a blob is changed, with the chain, and all is signed with the node's key",
        Alone::NotChecked,
        |dir, _, rng| {
            edit(dir, |lines| {
                let blobs = lines.iter().filter_map(|line| match line.told() {
                    Some(Told::Blob { digest, value: Some(value), .. }) => {
                        Some((digest, String::from_utf8(value).unwrap()))
                    }
                    _ => None,
                });
                let (digest, old) = rng.choice(blobs.collect::<Vec<_>>()).unwrap();
                change_blob(lines, digest, &old, "another plan");
                chain_anew(lines);
            });
            sign_anew(dir, true);
        },
    ),
    way("an entry is forged, and all is signed with another key", Alone::NotChecked, |dir, _, rng| {
        edit(dir, |lines| forge(lines, rng));
        sign_anew(dir, false);
    }),
];

fn flip(path: &Path, within: usize, rng: &mut Rng) {
    let mut bytes = std::fs::read(path).unwrap();
    let within = if within == 0 { bytes.len() } else { within };
    bytes[rng.usize(..within)] ^= 1 << rng.u8(..8);
    std::fs::write(path, bytes).unwrap();
}

fn any_file(dir: &Path, rng: &mut Rng) -> PathBuf {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    rng.choice(files).unwrap()
}

fn edit(dir: &Path, change: impl FnOnce(&mut Vec<Line>)) {
    let mut lines = log::read(dir);
    change(&mut lines);
    log::write(dir, &lines);
}

fn an_entry(lines: &[Line], rng: &mut Rng) -> usize {
    rng.choice((0..lines.len()).filter(|at| lines[*at].kind == b'e').collect::<Vec<_>>()).unwrap()
}

fn runs(lines: &[Line]) -> Vec<RunId> {
    lines.iter().filter(|line| line.kind == b'r').filter_map(Line::run).collect()
}

fn forge(lines: &mut [Line], rng: &mut Rng) {
    let at = an_entry(lines, rng);
    let content = &mut lines[at].content;
    *content = content.replace("\"number\":", "\"number\":4");
    chain_anew(lines);
}

/// Any run but the first: what follows that one names the run that was pruned after it.
fn delete_run(lines: &mut Vec<Line>, rng: &mut Rng) {
    let runs = runs(lines);
    let gone = Some(runs[rng.usize(1..runs.len())]);
    lines.retain(|line| line.run() != gone);
}

/// The last records, up to two runs of them.
fn cut(lines: &mut Vec<Line>, rng: &mut Rng) {
    lines.truncate(lines.len() - rng.usize(1..18));
}

/// Signs the journal as it is, as if nothing had been signed before: with the node's own key, or with another.
fn sign_anew(dir: &Path, own: bool) {
    std::fs::remove_dir_all(dir.join("evidence/checkpoints")).unwrap();
    std::fs::create_dir(dir.join("evidence/checkpoints")).unwrap();
    if !own {
        std::fs::remove_file(dir.join("evidence/key")).unwrap();
        std::fs::remove_file(dir.join("evidence/keys")).unwrap();
    }
    seal(&Reader::open(dir).unwrap(), dir).unwrap();
}
