//! What can be verified of a journal, what cannot and why, and what is wrong. Nothing is called verified that
//! was not looked at.

use crate::error::EvidenceError;
use crate::key::{PublicKey, SigningKey};
use crate::leaves::{Leaves, Prune, evidence_dir};
use crate::merkle::Tree;
use crate::note::Note;
use crate::seal::{KEY, read_keys, read_note, rotation, sizes};
use fulcrum_state::{Damage, Head, Reader, RunHeader, RunId};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// How something stands. The last is the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It was looked at, and is as it was.
    Verified,
    /// It could not be looked at.
    NotChecked,
    /// It is not as it was.
    Wrong,
}

/// One thing that was looked at, or could not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it stands.
    pub standing: Standing,
    /// The run, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// What was looked at, and what was seen, or why not.
    pub text: String,
}

/// Everything that was looked at, or could not be.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// In the order in which it was looked at.
    pub findings: Vec<Finding>,
}

/// What a place outside of this directory knows of the journal.
#[derive(Debug, Clone)]
pub struct Elsewhere {
    /// The place, for people.
    pub place: String,
    /// A checkpoint that was signed earlier; or why it could not be had.
    pub note: Result<Note, String>,
}

impl Report {
    /// The worst standing. An empty report has verified nothing.
    pub fn worst(&self) -> Standing {
        self.findings.iter().map(|finding| finding.standing).max().unwrap_or(Standing::NotChecked)
    }

    /// The findings that stand so.
    pub fn of(&self, standing: Standing) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.standing == standing)
    }

    /// The report without findings about other runs.
    #[must_use]
    pub fn about(mut self, run: RunId) -> Self {
        self.findings.retain(|finding| finding.run.is_none_or(|about| about == run));
        self
    }

    pub(crate) fn say(&mut self, standing: Standing, run: Option<RunId>, text: impl Into<String>) {
        self.findings.push(Finding { standing, run, text: text.into() });
    }
}

/// Looks at everything: chains and blobs, the order of the runs, what was pruned, the checkpoints and their
/// keys, and what is known `elsewhere`.
///
/// # Errors
/// When the journal cannot be read at all. Damage is a finding.
pub fn verify(journal: &Reader, state_dir: &Path, elsewhere: &[Elsewhere]) -> Result<Report, EvidenceError> {
    let mut report = Report::default();
    let headers = journal.runs()?;
    for header in &headers {
        match journal.verify(header.run) {
            Ok(head) => {
                let text = format!("{} entries, their chain and their blobs; head {}", head.seq, head.hash);
                report.say(Standing::Verified, Some(header.run), text);
            }
            Err(error) => report.say(Standing::Wrong, Some(header.run), error.to_string()),
        }
    }
    // Damage that hits no entry of a run that is there.
    let runs: HashSet<RunId> = headers.iter().map(|header| header.run).collect();
    let is_told = |damage: &Damage| damage.seq.is_some() && damage.run.is_some_and(|run| runs.contains(&run));
    for damage in journal.damage()?.iter().filter(|damage| !is_told(damage)) {
        let text = format!("{} at byte {}: {}", damage.path.display(), damage.offset, damage.detail);
        report.say(Standing::Wrong, damage.run, text);
    }
    let leaves = match Leaves::read(journal, state_dir, |_, _| {}) {
        Ok(leaves) => leaves,
        Err(error) => {
            report.say(Standing::Wrong, None, error.to_string());
            return Ok(report);
        }
    };
    links(&headers, &leaves, &mut report);
    pruned(&leaves.prunes, &mut report);
    signed(&evidence_dir(state_dir), Tree::new(leaves.hashes), elsewhere, &mut report);
    Ok(report)
}

/// Each run names the one that was begun before it, and that run's head at that time.
fn links(headers: &[RunHeader], leaves: &Leaves, report: &mut Report) {
    let runs = leaves.prunes.iter().flat_map(|prune| &prune.runs);
    let gone: HashMap<RunId, Head> = runs.map(|pruned| (pruned.run, pruned.head)).collect();
    let mut before: Option<&RunHeader> = None;
    for header in headers {
        let wrong = match (&header.after, before) {
            (None, None) => None,
            (None, Some(before)) if before.after.is_none() => {
                let text = "which run was begun before it: journals of format 1 do not say";
                report.say(Standing::NotChecked, Some(header.run), text);
                None
            }
            (None, Some(_)) => Some("it does not say which run was begun before it".to_owned()),
            (Some(after), _) => match gone.get(&after.run) {
                Some(head) if after.head.seq > head.seq => {
                    Some(format!("run {} was pruned with fewer entries than it had", after.run))
                }
                Some(_) => None,
                None => follows(after.run, after.head, before, leaves),
            },
        };
        if let Some(text) = wrong {
            report.say(Standing::Wrong, Some(header.run), text);
        }
        before = Some(header);
    }
    if !headers.is_empty() {
        report.say(Standing::Verified, None, format!("the order of {} runs", headers.len()));
    }
}

/// What is wrong about a run that names another as the one before it.
fn follows(run: RunId, head: Head, before: Option<&RunHeader>, leaves: &Leaves) -> Option<String> {
    let Some(hashes) = leaves.entries.get(&run) else {
        return Some(format!("run {run} was begun before it, and is missing without a record of a prune"));
    };
    if before.is_none_or(|before| before.run != run) {
        return Some(format!("run {run} was begun before it, and stands at another place"));
    }
    let there = usize::try_from(head.seq).ok().and_then(|seq| hashes.get(seq.checked_sub(1)?));
    (there != Some(&head.hash)).then(|| format!("run {run} no longer has the entry {} that it had", head.seq))
}

fn pruned(prunes: &[Prune], report: &mut Report) {
    for prune in prunes {
        for run in &prune.runs {
            let text = format!(
                "it was pruned at {} ({}) with {} entries, head {}: what they said is gone",
                prune.time.as_micros(),
                prune.reason,
                run.head.seq,
                run.head.hash
            );
            report.say(Standing::NotChecked, Some(run.run), text);
        }
    }
}

/// The checkpoints beside the journal, their keys, and what is known elsewhere.
fn signed(dir: &Path, tree: Tree, elsewhere: &[Elsewhere], report: &mut Report) {
    let keys = match read_keys(dir) {
        Ok(keys) => keys,
        Err(error) => {
            report.say(Standing::Wrong, None, error.to_string());
            Vec::new()
        }
    };
    let notes = checkpoints(dir, &tree, &keys, report);
    key_chain(dir, &keys, &tree, report);
    match notes.last().map(|note| note.checkpoint.size) {
        Some(size) if size < tree.size() => {
            let text = format!(
                "{} records after the last checkpoint are not signed: a run is at work, or was cut short",
                tree.size() - size
            );
            report.say(Standing::NotChecked, None, text);
        }
        Some(_) => {}
        None if tree.size() == 0 => {}
        None => report.say(Standing::NotChecked, None, "who wrote this journal: it was never signed"),
    }
    let mut known = false;
    for Elsewhere { place, note } in elsewhere {
        match note {
            Ok(note) => {
                known = true;
                compare(place, note, &tree, &keys, report);
            }
            Err(why) => report.say(Standing::NotChecked, None, format!("{place}: {why}")),
        }
    }
    if !known && tree.size() > 0 {
        let text = "whether this is the whole journal, and whether the key is the node's: no earlier checkpoint \
                    from elsewhere was given (--checkpoint FILE), and only one can tell an older copy, a tail cut \
                    off with its checkpoints, or everything signed anew";
        report.say(Standing::NotChecked, None, text);
    }
}

/// Checks every checkpoint beside the journal, and returns those that are right.
fn checkpoints(dir: &Path, tree: &Tree, keys: &[PublicKey], report: &mut Report) -> Vec<Note> {
    let sizes = match sizes(dir) {
        Ok(sizes) => sizes,
        Err(error) => {
            report.say(Standing::Wrong, None, error.to_string());
            return Vec::new();
        }
    };
    let mut right = Vec::new();
    for size in sizes {
        let note = match read_note(dir, size) {
            Ok(note) => note,
            Err(error) => {
                report.say(Standing::Wrong, None, error.to_string());
                continue;
            }
        };
        match note
            .ok_or_else(|| "it is no checkpoint".to_owned())
            .and_then(|note| wrong_with(&note, tree, keys).map_or(Ok(note), Err))
        {
            Ok(note) if note.checkpoint.size == size => right.push(note),
            Ok(note) => {
                let text = format!("checkpoint {size}: it says {}", note.checkpoint.size);
                report.say(Standing::Wrong, None, text);
            }
            Err(text) => report.say(Standing::Wrong, None, format!("checkpoint {size}: {text}")),
        }
    }
    if let Some(last) = right.last() {
        let by = keys.iter().rfind(|key| last.is_signed_by(key)).map(ToString::to_string);
        let text = format!(
            "{} checkpoints; the last has {} records, signed with {}",
            right.len(),
            last.checkpoint.size,
            by.unwrap_or_default()
        );
        report.say(Standing::Verified, None, text);
    }
    right
}

/// What is wrong with a checkpoint of this tree, signed by these keys.
fn wrong_with(note: &Note, tree: &Tree, keys: &[PublicKey]) -> Option<String> {
    if !note.is_signed_only_by(keys) {
        let text = match note.claims(keys) {
            true => "its signature is not right",
            false => "it is signed with a key that is none of this journal's",
        };
        return Some(text.to_owned());
    }
    let (size, root) = (note.checkpoint.size, note.checkpoint.root);
    match tree.root_of(size) {
        None => Some(format!("{size} records were signed, and {} are there", tree.size())),
        Some(found) if found != root => {
            Some(format!("the first {size} records are not those that were signed"))
        }
        Some(_) => None,
    }
}

/// Each key has the word of the one before it, and the key that signs next is one of them.
fn key_chain(dir: &Path, keys: &[PublicKey], tree: &Tree, report: &mut Report) {
    for pair in keys.windows(2) {
        let said = std::fs::read_to_string(rotation(dir, &pair[1])).ok();
        let Some(said) = said else {
            let text =
                format!("whether {} took the place of {}: the earlier key says nothing", pair[1], pair[0]);
            report.say(Standing::NotChecked, None, text);
            continue;
        };
        let right = Note::parse(&said).is_some_and(|note| {
            note.checkpoint.next.as_ref() == Some(&pair[1])
                && pair.iter().all(|key| note.is_signed_by(key))
                && wrong_with(&note, tree, keys).is_none()
        });
        let (standing, word) = if right { (Standing::Verified, "has") } else { (Standing::Wrong, "has not") };
        report.say(standing, None, format!("{} {word} the word of {}", pair[1], pair[0]));
    }
    match SigningKey::read(&dir.join(KEY)) {
        Ok(Some(key)) if keys.contains(key.public()) => {}
        // The first signing was cut short between the key and the list of keys. The next one does the rest.
        Ok(Some(_)) if keys.is_empty() && sizes(dir).is_ok_and(|signed| signed.is_empty()) => {
            let text = "the node's key: it has signed nothing yet";
            report.say(Standing::NotChecked, None, text);
        }
        Ok(Some(key)) => {
            let text = format!("the key that would sign next, {}, is none of this journal's", key.public());
            report.say(Standing::Wrong, None, text);
        }
        Ok(None) if keys.is_empty() => {}
        Ok(None) => {
            let text = "the node's key: it is missing, and the next run will be unsigned";
            report.say(Standing::NotChecked, None, text);
        }
        Err(error) => report.say(Standing::Wrong, None, error.to_string()),
    }
}

/// Compares the journal with what was signed earlier and is kept at another place.
fn compare(place: &str, note: &Note, tree: &Tree, keys: &[PublicKey], report: &mut Report) {
    match wrong_with(note, tree, keys) {
        Some(text) => report.say(Standing::Wrong, None, format!("{place}: {text}")),
        None => {
            let text = format!("{place}: its {} records are the first of this journal", note.checkpoint.size);
            report.say(Standing::Verified, None, text);
        }
    }
}
