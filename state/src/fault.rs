//! Fault points: named places in the code at which a test can kill the process, with SIGKILL, for certain.
//!
//! They exist only with the cargo feature `fault-points`. With it, the environment is read once:
//!
//! * `FULCRUM_FAULT=<name>@<n>`: the n-th time (from 1) that this process passes the point of that name, it
//!   kills itself. Nothing of the thread that passed the point runs after that, no destructor, no flush.
//! * `FULCRUM_FAULT_LOG=<file>`: the name of every point that is passed is appended to the file, a line each.
//!   With it, a test can first count the places to die at.
//!
//! Without the feature [`point`] is an empty `const fn`, and this module has the compiler evaluate it. A
//! function that reads the environment, or ends a process, would not compile there. The test
//! `the_command_is_built_without_fault_points` (engine/tests) asks cargo whether the `fulcrum` command is
//! built without the feature. `cargo test --workspace` turns it on in everything that is built for the tests.
//!
//! Fault points are not for errors that a caller sees. For a disk that fails there is
//! [`MemoryDisk::fail`](crate::MemoryDisk::fail).

/// A place to die at.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub const fn point(name: &str) {
    let _ = name;
}

/// A place to die at, named `<place>/<what>`.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub const fn point_of(place: &str, what: &str) {
    let _ = (place, what);
}

/// The proof that the points are nothing: the compiler has run them.
#[cfg(not(feature = "fault-points"))]
const _: () = {
    point("nothing");
    point_of("nothing", "nothing");
};

#[cfg(feature = "fault-points")]
pub use armed::point;
#[cfg(feature = "fault-points")]
pub use armed::point_of;

#[cfg(feature = "fault-points")]
mod armed {
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::io::Write;
    use std::sync::Mutex;
    use std::sync::OnceLock;
    use std::sync::PoisonError;

    use rustix::process::Signal;
    use rustix::process::getpid;
    use rustix::process::kill_process;

    const FAULT: &str = "FULCRUM_FAULT";
    const LOG: &str = "FULCRUM_FAULT_LOG";

    /// A place to die at.
    pub fn point(name: &str) {
        let Some(armed) = armed() else { return };
        // Held to the end: no other thread passes a point while this one dies.
        let mut passed = armed.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let times = passed.entry(name.to_owned()).or_default();
        *times += 1;
        if let Some(mut log) = armed.log.as_ref()
            && let Err(error) = log.write_all(format!("{name}\n").as_bytes())
        {
            give_up(&format!("{LOG} cannot be written: {error}"));
        }
        if armed.fault.as_ref().is_some_and(|(fault, nth)| fault == name && nth == times) {
            die();
        }
    }

    /// A place to die at, named `<place>/<what>`.
    pub fn point_of(place: &str, what: &str) {
        if armed().is_some() {
            point(&format!("{place}/{what}"));
        }
    }

    struct Armed {
        fault: Option<(String, u64)>,
        log: Option<File>,
        passed: Mutex<BTreeMap<String, u64>>,
    }

    /// The orders in the environment. `None` if there are none.
    fn armed() -> Option<&'static Armed> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        ARMED.get_or_init(read).as_ref()
    }

    fn read() -> Option<Armed> {
        let fault = std::env::var(FAULT).ok().map(|text| match parsed(&text) {
            Some(fault) => fault,
            None => give_up(&format!("{FAULT}={text} should be <name>@<n>, n from 1")),
        });
        let log =
            std::env::var_os(LOG).map(|path| match File::options().create(true).append(true).open(path) {
                Ok(file) => file,
                Err(error) => give_up(&format!("{LOG} cannot be opened: {error}")),
            });
        if fault.is_none() && log.is_none() {
            return None;
        }
        Some(Armed { fault, log, passed: Mutex::default() })
    }

    fn parsed(text: &str) -> Option<(String, u64)> {
        let (name, nth) = text.rsplit_once('@')?;
        let nth = nth.parse().ok().filter(|nth| *nth > 0)?;
        Some((name.to_owned(), nth))
    }

    fn die() -> ! {
        let _ = kill_process(getpid(), Signal::KILL);
        loop {
            std::thread::park();
        }
    }

    /// Ends the process: a test that cannot have what it asked for must not pass. This is no panic, as stores
    /// catch panics.
    fn give_up(why: &str) -> ! {
        let _ = writeln!(std::io::stderr(), "fault points: {why}");
        std::process::abort();
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_fault_is_a_name_and_a_number_from_one() {
            assert_eq!(parsed("commit/before-sync@3"), Some(("commit/before-sync".to_owned(), 3)));
            assert_eq!(parsed("a@b@1"), Some(("a@b".to_owned(), 1)));
            for text in ["", "a", "a@", "a@0", "a@x"] {
                assert_eq!(parsed(text), None, "{text}");
            }
        }
    }
}
