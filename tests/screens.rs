//! What an operator's terminal shows, at 80 and at 120 columns: every line, at every moment, fits the screen.

use crate::beside::terminal;
use crate::history::golden;
use crate::rehearse::redacted_line;
use rustix::termios::{Winsize, tcsetwinsize};
use std::io::Read;
use std::num::NonZeroU16;
use std::process::{Command, Stdio};

const ROWS: u16 = 50;

/// A terminal, as its user sees it. It is so high that nothing scrolls away; the command is told [`ROWS`].
struct Seen {
    screen: vt100::Parser,
    columns: u16,
    /// Lines that went over the edge of the screen, as they were when they did.
    too_long: Vec<String>,
    /// A line of a step in flight, with the line below it that says what the step waits for.
    waits: Vec<String>,
}

impl Seen {
    fn new(columns: u16) -> Self {
        let (rows, width) = (NonZeroU16::new(1000).unwrap(), NonZeroU16::new(columns).unwrap());
        let screen = vt100::Parser::new(rows, width, 0);
        Self { screen, columns, too_long: Vec::new(), waits: Vec::new() }
    }

    /// Takes what was written, and looks at the last lines.
    fn take(&mut self, bytes: &[u8]) {
        self.screen.process(bytes);
        let screen = self.screen.screen();
        let last = screen.cursor_position().0;
        let first = last.saturating_sub(ROWS);
        let width = usize::from(self.columns);
        let rows: Vec<String> = screen
            .rows(0, self.columns)
            .skip(first.into())
            .take(usize::from(ROWS) + 1)
            .map(|row| row.trim_end().to_owned())
            .collect();
        for (number, row) in (first..).zip(&rows) {
            // A row of spinners is padded up to the edge, so that the next line begins below.
            if screen.row_wrapped(number) && row.chars().count() == width {
                self.too_long.push(row.clone());
            }
        }
        let waits =
            rows.windows(2).filter(|pair| pair[1].starts_with("          ") && pair[0].contains(" ("));
        self.waits.extend(waits.map(|pair| format!("{}|{}", pair[0].trim(), pair[1].trim())));
    }

    /// Everything that has stayed on the screen.
    fn all(&self) -> String {
        let lines: Vec<String> =
            self.screen.screen().rows(0, self.columns).map(|row| row.trim_end().to_owned()).collect();
        format!("{}\n", lines.join("\n").trim_end())
    }
}

/// Runs the command on a terminal of its own, to its end.
fn on_terminal(columns: u16, args: &[&str]) -> Seen {
    let (mut master, slave) = terminal();
    tcsetwinsize(&master, Winsize { ws_row: ROWS, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
    command.env_clear().env("TMPDIR", dir.path()).env("TERM", "xterm-256color").args(args);
    command.stdin(Stdio::null()).stdout(slave.try_clone().unwrap()).stderr(slave);
    let mut child = command.spawn().unwrap();
    // The command's are the only ends of the terminal from here on: its end ends the reading.
    drop(command);
    let (mut seen, mut some) = (Seen::new(columns), [0; 4096]);
    while let Ok(read @ 1..) = master.read(&mut some) {
        seen.take(&some[..read]);
    }
    assert!(child.wait().unwrap().success(), "{args:?}: {}", seen.all());
    seen
}

/// With the figures and random names of the day taken out, and the order of steps that end side by side.
fn settled(text: &str) -> String {
    let settled = |line: &str| {
        let indent = line.len() - line.trim_start().len();
        format!("{}{}", " ".repeat(indent), redacted_line(line))
    };
    let mut lines: Vec<String> = text.lines().map(settled).collect();
    let turn = |line: &String| ["  done ", "  undone "].into_iter().position(|mark| line.starts_with(mark));
    for lines in lines.chunk_by_mut(|one, other| turn(one).is_some() && turn(one) == turn(other)) {
        lines.sort();
    }
    lines.join("\n") + "\n"
}

#[test]
fn a_rehearsal_fits_a_terminal_of_80_and_of_120_columns() {
    for columns in [80, 120] {
        let seen = on_terminal(columns, &["rehearse", "--kubernetes", "1.35"]);
        assert_eq!(seen.too_long, [""; 0], "{columns} columns");
        let waits = seen.waits.iter().any(|pair| pair.contains("|waiting for") || pair.contains("|looking"));
        assert!(waits, "{columns} columns: what a step waits for is read below it: {:?}", seen.waits);
        golden(&format!("screens/rehearse-{columns}.txt"), &settled(&seen.all()));
    }
}

/// What else people read fits 80 columns on any terminal.
#[test]
fn other_rehearsals_fit_80_columns() {
    for args in [
        &["rehearse", "--kubernetes", "1.35", "--crash", "switch@done:kill:resume"][..],
        &["rehearse", "--story", "upgrade"],
        &["rehearse", "--story", "certs"],
    ] {
        assert_eq!(on_terminal(80, args).too_long, [""; 0], "{args:?}");
    }
}
