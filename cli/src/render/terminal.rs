//! The terminal for spinners. It may go away at any time. What cannot be written then is dropped.

use indicatif::{ProgressDrawTarget, TermLike};
use rustix::termios::tcgetwinsize;
use std::io::{self, IsTerminal, Write};

/// The width of a terminal that does not tell its own.
const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

/// Where spinners are drawn: on stderr if that is a terminal that can move its cursor, else nowhere.
pub(super) fn target() -> ProgressDrawTarget {
    let can_move = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    match can_move && io::stderr().is_terminal() {
        true => ProgressDrawTarget::term_like_with_hz(Box::new(Terminal), REDRAWS_PER_SECOND),
        false => ProgressDrawTarget::hidden(),
    }
}

/// How wide stderr is.
pub(super) fn columns() -> u16 {
    tcgetwinsize(io::stderr()).map_or(COLUMNS, |size| if size.ws_col == 0 { COLUMNS } else { size.ws_col })
}

const REDRAWS_PER_SECOND: u8 = 20;

/// stderr. indicatif panics where a write fails, and once more when it is dropped. Writes to this never fail.
#[derive(Debug)]
struct Terminal;

impl Terminal {
    fn put(&self, text: std::fmt::Arguments<'_>) {
        let _ = io::stderr().lock().write_fmt(text);
    }

    /// A sequence that moves the cursor by `n`. For 0 the sequence would move it by 1.
    fn go(&self, n: usize, which: char) {
        if n > 0 {
            self.put(format_args!("\x1b[{n}{which}"));
        }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        columns()
    }

    fn height(&self) -> u16 {
        tcgetwinsize(io::stderr()).map_or(ROWS, |size| if size.ws_row == 0 { ROWS } else { size.ws_row })
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.go(n, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.go(n, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.go(n, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.go(n, 'D');
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.put(format_args!("{text}\n"));
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(format_args!("{text}"));
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put(format_args!("\r\x1b[2K"));
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let _ = io::stderr().lock().flush();
        Ok(())
    }
}

/// The text in the colour of this code, or as it is.
pub(super) fn paint(code: &str, text: &str, coloured: bool) -> String {
    if coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
