//! On which thread a commit takes place.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread::ThreadId;

use fulcrum_state::Commit;
use fulcrum_state::CommitOn;
use fulcrum_state::Disk;
use fulcrum_state::DiskFile;
use fulcrum_state::Journal;
use fulcrum_state::MemoryDisk;
use fulcrum_state::Options;

/// A disk that notes which thread syncs a file.
struct Noting {
    disk: MemoryDisk,
    syncs: Syncs,
}

type Syncs = Arc<Mutex<Vec<ThreadId>>>;

struct NotingFile(Box<dyn DiskFile>, Syncs);

impl Noting {
    fn noting(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(NotingFile(file, self.syncs.clone()))
    }
}

impl Disk for Noting {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn make_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.make_dir(dir)
    }
    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(name, write).map(|file| self.noting(file))
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.disk.create(name).map(|file| self.noting(file))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn path(&self, name: &str) -> PathBuf {
        self.disk.path(name)
    }
}

impl DiskFile for NotingFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(bytes, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.lock().unwrap().push(std::thread::current().id());
        self.0.sync()
    }
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
}

/// The threads that synced `appends` of one run, beside which `others` runs are being written.
fn threads(commit_on: CommitOn, appends: usize, others: usize) -> Vec<ThreadId> {
    let (disk, syncs) = (MemoryDisk::new(), Syncs::default());
    let disk = Noting { disk, syncs: syncs.clone() };
    let journal = Journal::on(Arc::new(disk), Options { commit_on, ..Options::default() }).unwrap();
    wait(async {
        let mut writers = Vec::new();
        for _ in 0..=others {
            writers.push(journal.begin("test", Commit::of(["0"])).await.unwrap());
        }
        syncs.lock().unwrap().clear();
        for n in 0..appends {
            writers[0].append(Commit::of([n.to_string()])).await.unwrap();
        }
        assert_eq!(writers[0].head().seq, appends as u64 + 1);
    });
    let threads = syncs.lock().unwrap().clone();
    assert_eq!(threads.len(), appends, "a commit is a sync");
    threads
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn a_run_alone_commits_on_the_thread_that_was_chosen_and_several_on_the_journals() {
    let me = std::thread::current().id();
    assert_eq!(threads(CommitOn::CallersThread, 20, 0), vec![me; 20]);
    assert!(!threads(CommitOn::CallersThread, 20, 1).contains(&me), "others could not share a sync");
    assert!(!threads(CommitOn::JournalThread, 20, 0).contains(&me));
}
