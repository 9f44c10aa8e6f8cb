//! The log as one who may write everything sees it: records are lines, and every hash in them can be made anew.

use fulcrum_state::{Digest, Head, RunId, Told};
use std::collections::BTreeMap;
use std::path::Path;

/// A record: its kind in lower case, whether it is the first and the last of its commit, and its content.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) kind: u8,
    first: bool,
    last: bool,
    pub(crate) content: String,
}

impl Line {
    pub(crate) fn told(&self) -> Option<Told> {
        Told::read(self.content.as_bytes())
    }

    /// The run of the record.
    pub(crate) fn run(&self) -> Option<RunId> {
        match self.told()? {
            Told::Run(header) => Some(header.run),
            Told::Entry(entry) => Some(entry.run),
            Told::Blob { run, .. } | Told::Lost { run, .. } => Some(run),
            Told::Prune { .. } => None,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let kind = char::from(if self.first { self.kind.to_ascii_uppercase() } else { self.kind });
        let len = 18 + self.content.len() + 1;
        let start = format!("{kind}{}{len:06x} ", if self.last { '.' } else { ' ' });
        let rest = format!("{}\n", self.content);
        let mut crc = crc32fast::Hasher::new();
        crc.update(start.as_bytes());
        crc.update(rest.as_bytes());
        format!("{start}{:08x} {rest}", crc.finalize()).into_bytes()
    }
}

fn segment(dir: &Path) -> std::path::PathBuf {
    dir.join("log/0000000001.log")
}

/// The number of bytes that records take.
pub(crate) fn used(dir: &Path) -> usize {
    let bytes = std::fs::read(segment(dir)).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

/// Reads the log, which has one segment.
pub(crate) fn read(dir: &Path) -> Vec<Line> {
    let bytes = std::fs::read(segment(dir)).unwrap();
    let text = std::str::from_utf8(&bytes[..used(dir)]).unwrap();
    let line = |line: &str| Line {
        kind: line.as_bytes()[0].to_ascii_lowercase(),
        first: line.as_bytes()[0].is_ascii_uppercase(),
        last: line.as_bytes()[1] == b'.',
        content: line[18..].to_owned(),
    };
    text.lines().map(line).collect()
}

/// Writes the log, each record a commit of its own, and removes what was made from it.
pub(crate) fn write(dir: &Path, lines: &[Line]) {
    let size = std::fs::metadata(segment(dir)).unwrap().len();
    let whole = lines.iter().map(|line| Line { first: true, last: true, ..line.clone() });
    let mut bytes: Vec<u8> = whole.flat_map(|line| line.bytes()).collect();
    bytes.resize(usize::try_from(size).unwrap(), 0);
    std::fs::write(segment(dir), bytes).unwrap();
    let _ = std::fs::remove_file(dir.join("index"));
}

/// Numbers the entries of each run anew, and makes every hash anew: nothing in the log is wrong afterwards.
pub(crate) fn chain_anew(lines: &mut [Line]) {
    let mut heads: BTreeMap<RunId, Head> = BTreeMap::new();
    let mut begun: Option<RunId> = None;
    for line in lines {
        match line.told() {
            Some(Told::Run(header)) => {
                if let Some(after) = header.after {
                    let before = begun.filter(|run| *run != header.run).unwrap_or(after.run);
                    let head = heads.get(&before).copied().unwrap_or(after.head);
                    let old = format!(
                        "\"after\":{{\"run\":\"{}\",\"seq\":{},\"hash\":\"{}\"}}",
                        after.run, after.head.seq, after.head.hash
                    );
                    assert!(line.content.contains(&old), "{old}: {}", line.content);
                    let new = format!(
                        "\"after\":{{\"run\":\"{before}\",\"seq\":{},\"hash\":\"{}\"}}",
                        head.seq, head.hash
                    );
                    line.content = line.content.replace(&old, &new);
                }
                let Some(Told::Run(header)) = line.told() else { unreachable!() };
                heads.insert(header.run, header.head);
                begun = Some(header.run);
            }
            Some(Told::Entry(entry)) => {
                let head = heads[&entry.run];
                set(line, "seq", &format!("{}", entry.seq), &format!("{}", head.seq + 1), "");
                set(line, "prev", &entry.prev.to_string(), &head.hash.to_string(), "\"");
                let Some(Told::Entry(moved)) = line.told() else { unreachable!() };
                set(line, "hash", &entry.hash.to_string(), &moved.link().to_string(), "\"");
                let Some(Told::Entry(moved)) = line.told() else { unreachable!() };
                heads.insert(moved.run, moved.head());
            }
            _ => {}
        }
    }
}

fn set(line: &mut Line, field: &str, old: &str, new: &str, quote: &str) {
    let (old, new) = (format!("\"{field}\":{quote}{old}{quote}"), format!("\"{field}\":{quote}{new}{quote}"));
    assert!(line.content.contains(&old), "{old}: {}", line.content);
    line.content = line.content.replacen(&old, &new, 1);
}

/// Changes the content of a blob in the log, and its digest wherever it is named.
pub(crate) fn change_blob(lines: &mut [Line], digest: Digest, old: &str, new: &str) {
    let (was, is) = (digest.to_string(), Digest::of(new.as_bytes()).to_string());
    for line in lines {
        line.content = line.content.replace(&format!("\"text\":\"{old}\""), &format!("\"text\":\"{new}\""));
        line.content = line.content.replace(&was, &is);
    }
}
