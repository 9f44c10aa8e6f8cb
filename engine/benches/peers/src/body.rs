//! The body of every step of every engine: it says when it began.

use std::process::exit;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A workflow that is cut has one step that is done, and one that was begun.
pub(crate) const CUT_IN: u64 = 1;

static MODE: AtomicU8 = AtomicU8::new(Mode::Marks as u8);
static MARKS: Mutex<Vec<Instant>> = Mutex::new(Vec::new());

/// What the bodies of this process do.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Mode {
    /// They note the instant.
    Marks,
    /// The second step ends the process. Nothing is dropped or closed, as with SIGKILL.
    Dies,
    /// The first body that is reached says how much memory it took to come here. It ends the process.
    Arrives,
}

pub(crate) fn set(mode: Mode) {
    MODE.store(mode as u8, Ordering::Relaxed);
}

/// Begins step `step`, counted from 0.
pub(crate) fn run(step: u64) {
    let mode = MODE.load(Ordering::Relaxed);
    if mode == Mode::Arrives as u8 {
        arrive(step);
    }
    if mode == Mode::Dies as u8 && step == CUT_IN {
        exit(0);
    }
    MARKS.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
}

/// When each body began, in order.
pub(crate) fn marks() -> Vec<Instant> {
    std::mem::take(&mut MARKS.lock().unwrap_or_else(PoisonError::into_inner))
}

fn arrive(step: u64) -> ! {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.split_whitespace().next()).unwrap_or("0");
    // A step that was done is not done again: the engine has not gone on, it has begun anew.
    println!("{}{}", crate::child::REPORT, if step == CUT_IN { kib } else { "0" });
    exit(i32::from(step != CUT_IN))
}
