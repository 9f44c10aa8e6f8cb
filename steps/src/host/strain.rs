//! How busy the machine is: what `/proc` says of the last seconds, and how long the disk takes to sync.

use super::edge::{HostError, Strain};
use rustix::fs::{Mode, OFlags, fdatasync, open};
use rustix::io::{Errno, write};
use std::path::Path;
use std::time::{Duration, Instant};

/// What this `/proc` says.
pub(super) fn strain(root: &Path) -> Result<Strain, HostError> {
    let read = |name: &str| std::fs::read_to_string(root.join(name));
    let needed = |name: &str| read(name).map_err(|error| HostError::new(format!("read /proc/{name}"), error));
    // Without CONFIG_PSI, or with psi=0, these files are not there or cannot be read.
    let pressure =
        |name: &str, who: &str| read(&format!("pressure/{name}")).ok().and_then(|text| pressure(&text, who));
    let load = needed("loadavg")?;
    let load = load.split_ascii_whitespace().next().and_then(|first| first.parse().ok());
    Ok(Strain {
        cpu: pressure("cpu", "some"),
        memory: pressure("memory", "full"),
        io: pressure("io", "full"),
        load: load.ok_or_else(|| HostError::new("read /proc/loadavg", "no number in it"))?,
        processors: processors(&needed("stat")?),
    })
}

/// The share of the last 10 s, of the line that begins with `who`: `some avg10=1.53 avg60=…`.
fn pressure(text: &str, who: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(who)?.strip_prefix(' '))?;
    line.split_ascii_whitespace().find_map(|word| word.strip_prefix("avg10=")?.parse().ok())
}

/// How many processors `/proc/stat` lists; at least one.
fn processors(stat: &str) -> u32 {
    let is_one = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    u32::try_from(stat.lines().filter(is_one).count()).unwrap_or(u32::MAX).max(1)
}

/// What is written for a look at the disk: a block.
const BLOCK: [u8; 4096] = [0; 4096];

/// How long a block of a nameless file in this directory takes to be on the disk. The file never has a name,
/// so nothing is left.
pub(super) fn sync_time(dir: &Path) -> Result<Duration, HostError> {
    let failed = |errno: Errno| match errno {
        Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT => {
            HostError::of(format!("make a nameless file in {}", dir.display()), Errno::OPNOTSUPP)
        }
        other => HostError::of(format!("sync a nameless file in {}", dir.display()), other),
    };
    let file = open(dir, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
        .map_err(failed)?;
    write(&file, &BLOCK).map_err(failed)?;
    let began = Instant::now();
    fdatasync(&file).map_err(failed)?;
    Ok(began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        put("loadavg", "4.67 3.02 1.65 3/412 9021\n");
        put("stat", "cpu  1 2 3\ncpu0 1 2 3\ncpu1 1 2 3\nintr 5\n");
        let alone = strain(dir.path()).unwrap();
        assert_eq!(alone, Strain { load: 4.67, processors: 2, ..Strain::default() }, "a kernel without PSI");
        std::fs::create_dir(dir.path().join("pressure")).unwrap();
        put("pressure/cpu", "some avg10=91.20 avg60=3.00 avg300=1.00 total=5\nfull avg10=0.00 avg60=0.00\n");
        put("pressure/io", "some avg10=9.00 avg60=3.00\nfull avg10=7.50 avg60=0.00 avg300=0.00 total=1\n");
        let seen = strain(dir.path()).unwrap();
        assert_eq!((seen.cpu, seen.io, seen.memory), (Some(91.2), Some(7.5), None));
    }

    /// The directory is as it was, also where the disk cannot be asked.
    #[test]
    fn a_sync_is_timed_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        if let Err(error) = sync_time(dir.path()) {
            assert_eq!(error.hindrance, super::super::Hindrance::Unsupported, "{error}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(sync_time(&dir.path().join("none")).is_err());
    }
}
