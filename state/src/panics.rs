//! Turns panics of sled into errors. sled 0.34.7 panics on some kinds of damage. A caller that opens or reads
//! a journal gets an error instead.
//!
//! The message of a panic in guarded code is not printed: a hook asks a thread-local flag and hands every
//! other panic to the earlier hook. If another hook is set later, it replaces ours. Then the message is
//! printed, and the error is unchanged.

use std::any::Any;
use std::cell::Cell;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Does `work`. A panic in it becomes an error with its message.
///
/// The caller must not go on using what `work` may have left half-changed. Here that is sled, whose locks are
/// not poisoned by a panic, and which is only read after a panic in a commit.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                before(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    result.map_err(|payload| message(payload.as_ref()))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = match payload.downcast_ref::<String>() {
        Some(text) => text.as_str(),
        None => payload.downcast_ref::<&str>().copied().unwrap_or("no message"),
    };
    // Some of sled's messages print whole pages.
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::caught;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        assert_eq!(caught(|| 7), Ok(7));
        let entry = 3;
        assert_eq!(caught(|| -> u8 { panic!("page {entry} is gone") }), Err("page 3 is gone".into()));
        assert_eq!(caught(|| -> u8 { panic!("gone") }), Err("gone".into()));
    }
}
