//! Waits until another process has written to a journal: the kernel says so (inotify).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;
use rustix::fs::inotify;
use rustix::io::Errno;

use crate::OpenError;
use crate::dir;
use crate::place::LOG;

/// Tells a reader that a journal may have changed, so that it need not look again and again.
///
/// Make it first, then read what is there, then [`wait`](Changes::wait): no change falls in between.
#[derive(Debug)]
pub struct Changes {
    inotify: OwnedFd,
}

impl Changes {
    /// Watches the journal in `dir` from now on. Changes nothing in it.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: there is no journal, or the system refused to watch it.
    pub fn of(dir: impl AsRef<Path>) -> Result<Changes, OpenError> {
        let dir = dir.as_ref();
        dir::check_readable(dir)?;
        let log = dir.join(LOG);
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        // A commit is written into a segment. A new segment, or one without the runs that were pruned, is
        // renamed.
        let events = inotify::WatchFlags::MODIFY | inotify::WatchFlags::MOVED_TO;
        let watch = |inotify: OwnedFd| inotify::add_watch(&inotify, &log, events).map(|_| inotify);
        match inotify::init(flags).and_then(watch) {
            Ok(inotify) => Ok(Changes { inotify }),
            Err(error) => Err(OpenError::Io { doing: "watch", path: log, source: error.into() }),
        }
    }

    /// Returns when the log was written to since the last call, or after `at_most`. True if it was written
    /// to.
    ///
    /// # Errors
    ///
    /// What the system refused.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<bool> {
        let at_most = Timespec::try_from(at_most).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&self.inotify, PollFlags::IN)];
        match poll(&mut fds, Some(&at_most)) {
            Ok(0) | Err(Errno::INTR) => Ok(false),
            Ok(_) => self.drain().map(|()| true),
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets the events up to now.
    fn drain(&mut self) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match events.next() {
                Ok(_) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
