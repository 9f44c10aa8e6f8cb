//! A file system on a loop device whose power can be cut.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use tempfile::TempDir;

const DISK_BYTES: u64 = 64 * 1024 * 1024;
/// Set in the process that has a mount namespace of its own.
const INSIDE: &str = "FULCRUM_POWER_CUT_INSIDE";

/// What this machine lacks for such a disk, if anything.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("to mount a file system and cut its power takes root".into());
    }
    let lacks = |program: &&str| Command::new(program).arg("-V").output().is_err();
    let programs = ["mkfs.ext4", "mount", "umount", "unshare"];
    programs.iter().find(|program| lacks(program)).map(|program| format!("{program} is not installed"))
}

/// Goes on in a child that has a mount namespace of its own. However the child ends, no mount outlives it.
/// `None` in that child.
pub(crate) fn in_own_namespace(args: &[String]) -> Option<ExitCode> {
    if std::env::var_os(INSIDE).is_some() {
        return None;
    }
    let inside = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(args)
        .env(INSIDE, "yes")
        .status()
        .unwrap();
    Some(ExitCode::from(inside.code().or(inside.signal()).map_or(1, |code| u8::from(code != 0))))
}

/// The disk, mounted. Everything goes when it is dropped.
pub(crate) struct Disk {
    dir: TempDir,
    path: PathBuf,
}

impl Disk {
    /// A new one, empty.
    pub(crate) fn make() -> Disk {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (image, path) = (dir.path().join("image"), dir.path().join("mounted"));
        File::create(&image).unwrap().set_len(DISK_BYTES).unwrap();
        fs::create_dir(&path).unwrap();
        let disk = Disk { dir, path };
        done(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        disk.power_on();
        disk
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// From here on nothing reaches the disk, not even earlier writes that were not synced. A process that
    /// tries gets EIO.
    pub(crate) fn cut_power(&self) {
        let root = File::open(&self.path).unwrap();
        shutdown::without_flushing(&root);
    }

    /// Mounts it, again if it was, as after a boot: the file system recovers from its own journal.
    pub(crate) fn power_on(&self) {
        // What the kernel remembers of it goes with the mount. The first time there is none.
        let _ = Command::new("umount").arg(&self.path).output().unwrap();
        done(Command::new("mount").args(["-o", "loop"]).arg(self.dir.path().join("image")).arg(&self.path));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.path).output();
    }
}

fn done(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[expect(unsafe_code, reason = "an ioctl that no safe interface offers")]
mod shutdown {
    use rustix::ioctl::{Setter, ioctl};
    use std::fs::File;

    /// `EXT4_IOC_SHUTDOWN`: `_IOR('X', 125, __u32)`.
    const SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587D;
    /// `EXT4_GOING_FLAGS_NOLOGFLUSH`: the file system's own journal is not flushed either.
    const NO_LOG_FLUSH: u32 = 2;

    pub(super) fn without_flushing(root: &File) {
        // SAFETY: the opcode takes a pointer to a u32 that it reads, and `Setter` passes one.
        unsafe { ioctl(root, Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)) }.unwrap();
    }
}
