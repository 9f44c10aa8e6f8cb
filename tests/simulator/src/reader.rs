//! Reads the manifests directory for the kubelet, at every move of the world. It looks at an unchanged file,
//! and does not read it again. Once all stands still, the kernel says when to look (inotify), where it can.

use rustix::fs::inotify;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A file's times move in steps of up to 10 ms. A file that changed more recently than this when it was read
/// may have changed again without showing it.
const SETTLED: Duration = Duration::from_millis(20);

/// Content of the manifests directory by file name, dot-files left out.
pub(super) type Files = BTreeMap<String, Arc<[u8]>>;

/// The files that the kubelet reads, as of the last read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The names in the directory, without dot-files, and each one's path.
    names: Vec<(String, PathBuf)>,
    listed: Option<Stamp>,
    files: Files,
    stamps: BTreeMap<String, Stamp>,
    /// Watches the directory, while nothing was heard of it.
    watch: Option<OwnedFd>,
    /// Whether all stood still at a look after the watch was made. Then silence is enough.
    hears_all: bool,
}

/// The mark by which a changed file or directory is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Whether the change was long enough ago at the read.
    settled: bool,
}

impl Reader {
    /// The files of the last read.
    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// Reads the directory. A missing directory counts as empty. If it cannot be read, everything stays as it
    /// was.
    pub(super) fn read(&mut self, dir: &Path) -> io::Result<()> {
        if !self.watch.as_ref().is_some_and(is_silent) {
            (self.watch, self.hears_all) = (None, false);
        }
        if self.hears_all {
            return Ok(());
        }
        self.list(dir)?;
        if self.stands_still() {
            self.hears_all = self.watch.is_some();
            // Without a directory, or where the system has no more watches, it is looked at each time.
            self.watch = self.watch.take().or_else(|| watch(dir).ok());
            return Ok(());
        }
        let (mut files, mut stamps) = (Files::new(), BTreeMap::new());
        for (name, path) in &self.names {
            let Some(seen) = there(std::fs::metadata(path))?.filter(Metadata::is_file) else { continue };
            let stamp = Stamp::of(&seen);
            let known =
                self.files.get(name).filter(|_| stamp.settled && self.stamps.get(name) == Some(&stamp));
            let content = match known {
                Some(content) => Some(content.clone()),
                None => there(std::fs::read(path))?.map(Into::into),
            };
            if let Some(content) = content {
                files.insert(name.clone(), content);
                stamps.insert(name.clone(), stamp);
            }
        }
        (self.files, self.stamps) = (files, stamps);
        Ok(())
    }

    /// Whether every file is the one that was read.
    fn stands_still(&self) -> bool {
        let same = |(name, path): &(String, PathBuf)| {
            let known = self.stamps.get(name).filter(|stamp| stamp.settled);
            let seen = known.and_then(|_| std::fs::metadata(path).ok()).filter(Metadata::is_file);
            known.is_some_and(|known| seen.is_some_and(|seen| Stamp::of(&seen) == *known))
        };
        let listed = self.listed.is_some_and(|stamp| stamp.settled);
        listed && self.names.len() == self.files.len() && self.names.iter().all(same)
    }

    /// Lists the names.
    fn list(&mut self, dir: &Path) -> io::Result<()> {
        let stamp = there(std::fs::metadata(dir))?.as_ref().map(Stamp::of);
        if stamp.is_some_and(|stamp| stamp.settled) && self.listed == stamp {
            return Ok(());
        }
        self.names.clear();
        self.listed = None;
        for entry in there(std::fs::read_dir(dir))?.into_iter().flatten() {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            if !name.starts_with('.') {
                let path = dir.join(&name);
                self.names.push((name, path));
            }
        }
        self.listed = stamp;
        Ok(())
    }
}

/// Watches for whatever changes what a read finds.
fn watch(dir: &Path) -> rustix::io::Result<OwnedFd> {
    let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let flags = inotify::WatchFlags::MODIFY
        | inotify::WatchFlags::CREATE
        | inotify::WatchFlags::DELETE
        | inotify::WatchFlags::MOVED_FROM
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::DELETE_SELF
        | inotify::WatchFlags::MOVE_SELF;
    inotify::add_watch(&inotify, dir, flags).map(|_| inotify)
}

/// Whether nothing was heard since the watch was made.
fn is_silent(watch: &OwnedFd) -> bool {
    let mut buffer = [MaybeUninit::uninit(); 512];
    matches!(inotify::Reader::new(watch, &mut buffer).next(), Err(Errno::AGAIN))
}

/// A file that was renamed or removed meanwhile counts as missing: the next round sees its new state.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

impl Stamp {
    fn of(seen: &Metadata) -> Self {
        let changed = (seen.ctime(), seen.ctime_nsec());
        Self {
            inode: seen.ino(),
            size: seen.size(),
            modified: (seen.mtime(), seen.mtime_nsec()),
            changed,
            settled: is_settled(changed),
        }
    }
}

fn is_settled((seconds, nanos): (i64, i64)) -> bool {
    let since = u64::try_from(seconds).ok().zip(u32::try_from(nanos).ok());
    let since = since.map(|(seconds, nanos)| SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos));
    // After the clock was set back, the age says nothing.
    since.and_then(|since| since.elapsed().ok()).is_some_and(|age| age >= SETTLED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_seen_however_soon() {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut reader) = (dir.path().join("a.yaml"), Reader::default());
        reader.read(&dir.path().join("nowhere")).unwrap();
        assert!(reader.files().is_empty());
        for round in 0..200_u32 {
            // Same length, same inode: only the times tell.
            let content = format!("{round:08}").into_bytes();
            std::fs::write(&path, &content).unwrap();
            for _ in 0..2 {
                reader.read(dir.path()).unwrap();
                assert_eq!(reader.files().get("a.yaml").map(|read| &**read), Some(content.as_slice()));
            }
        }
        for content in ["long since", "once more, "] {
            std::thread::sleep(SETTLED * 2);
            // In the third round it is only listened to.
            for _ in 0..3 {
                reader.read(dir.path()).unwrap();
                assert_eq!(reader.files().len(), 1, "it is still there when it is not read again");
            }
            std::fs::write(&path, content).unwrap();
            reader.read(dir.path()).unwrap();
            assert_eq!(reader.files().get("a.yaml").map(|read| &**read), Some(content.as_bytes()));
        }
        std::fs::write(dir.path().join(".b.yaml"), "").unwrap();
        std::fs::remove_file(&path).unwrap();
        reader.read(dir.path()).unwrap();
        assert!(reader.files().is_empty());
    }
}
