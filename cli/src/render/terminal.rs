//! The terminal for spinners. It may go away at any time. What cannot be written then is dropped.

use indicatif::{ProgressDrawTarget, TermLike};
use rustix::termios::tcgetwinsize;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

/// The width of a terminal that does not tell its own.
const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

/// Where spinners are drawn: on stderr if that is a terminal that can move its cursor, else nowhere.
pub(super) fn target() -> ProgressDrawTarget {
    let can_move = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    match can_move && io::stderr().is_terminal() {
        true => ProgressDrawTarget::term_like_with_hz(Box::new(Terminal(Stderr)), REDRAWS_PER_SECOND),
        false => ProgressDrawTarget::hidden(),
    }
}

/// How wide a terminal is. `None` for what is none.
pub(crate) fn columns_of(stream: impl AsFd) -> Option<usize> {
    tcgetwinsize(stream).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// The text, with each line that is longer than so many columns broken between words: what follows is indented a
/// little more. A line with colours in it stays as it is.
pub(crate) fn on_lines(text: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns else { return text.to_owned() };
    let broken = |line: &str| {
        if line.chars().count() <= columns || line.contains('\x1b') {
            return line.to_owned();
        }
        let indent = line.chars().take_while(|letter| *letter == ' ').count();
        let (first, rest) = (" ".repeat(indent), " ".repeat(indent + 2));
        let options = between_words(columns).initial_indent(&first).subsequent_indent(&rest);
        textwrap::fill(line.trim_start(), options)
    };
    text.split('\n').map(broken).collect::<Vec<_>>().join("\n")
}

/// Lines are broken between words: a path or a command that is longer than a line stays whole.
pub(super) fn between_words<'a>(columns: usize) -> textwrap::Options<'a> {
    let whole = textwrap::WordSplitter::NoHyphenation;
    textwrap::Options::new(columns).break_words(false).word_splitter(whole)
}

/// How wide stderr is.
pub(super) fn columns() -> u16 {
    columns_of(io::stderr()).and_then(|columns| columns.try_into().ok()).unwrap_or(COLUMNS)
}

const REDRAWS_PER_SECOND: u8 = 20;

/// Where what is drawn goes.
pub(super) trait Sink: std::fmt::Debug + Send + Sync {
    /// Takes the text, or drops it.
    fn put(&self, text: std::fmt::Arguments<'_>);
    /// Columns and rows.
    fn size(&self) -> (u16, u16);
}

#[derive(Debug)]
struct Stderr;

impl Sink for Stderr {
    fn put(&self, text: std::fmt::Arguments<'_>) {
        let mut stderr = io::stderr().lock();
        let _ = stderr.write_fmt(text).and_then(|()| stderr.flush());
    }

    fn size(&self) -> (u16, u16) {
        let rows = tcgetwinsize(io::stderr()).map_or(0, |size| size.ws_row);
        (columns(), if rows == 0 { ROWS } else { rows })
    }
}

/// A terminal that is drawn on. indicatif panics where a write fails, and once more when it is dropped. Writes to this
/// never fail.
#[derive(Debug)]
pub(super) struct Terminal<S>(pub(super) S);

impl<S: Sink> Terminal<S> {
    /// A sequence that moves the cursor by `n`. For 0 the sequence would move it by 1.
    fn go(&self, n: usize, which: char) {
        if n > 0 {
            self.0.put(format_args!("\x1b[{n}{which}"));
        }
    }
}

impl<S: Sink> TermLike for Terminal<S> {
    fn width(&self) -> u16 {
        self.0.size().0
    }

    fn height(&self) -> u16 {
        self.0.size().1
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
        self.0.put(format_args!("{text}\n"));
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.put(format_args!("{text}"));
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.put(format_args!("\r\x1b[2K"));
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The text in the colour of this code, or as it is.
pub(super) fn paint(code: &str, text: &str, coloured: bool) -> String {
    if coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_broken_between_words_on_a_terminal_alone() {
        let text = "  run 0192: completed; `fulcrum history 0192` says what was done\nshort";
        assert_eq!(on_lines(text, None), text);
        let expected = "  run 0192: completed;\n    `fulcrum history 0192`\n    says what was done\nshort";
        assert_eq!(on_lines(text, Some(27)), expected);
        let painted = "\x1b[31m a line with colours\x1b[0m";
        assert_eq!(on_lines(painted, Some(5)), painted);
    }
}
