//! Data to stdout, talk to stderr.

use crate::args::Output;
use crate::{FORMAT_VERSION, Trouble};
use fulcrum_engine::state::{Digest, Entry, RunId, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::error::Error;
use std::fmt::Display;
use std::io::Write;

pub(crate) struct Printer {
    output: Output,
}

impl Printer {
    pub(crate) fn new(output: Output) -> Self {
        Self { output }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Data, as a line of text.
    pub(crate) fn line(&self, line: impl Display) -> Result<(), Trouble> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Trouble::Write)
    }

    /// Data, as a line of JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Trouble> {
        self.line(serde_json::to_string(value)?)
    }

    /// Talk. There is nobody to tell if stderr is gone.
    pub(crate) fn talk(&self, line: impl Display) {
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }

    /// An error with its causes: on stderr, and as the last line of JSON.
    pub(crate) fn trouble(&self, trouble: &Trouble) {
        let text = with_causes(trouble);
        self.talk(format_args!("fulcrum-journal: {text}"));
        if self.is_json() {
            // If stdout is gone, stderr has it.
            let _ = self.json(&serde_json::json!({ "format_version": FORMAT_VERSION, "error": text }));
        }
    }
}

/// An error and its causes, as one text.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// RFC 3339, UTC, to the microsecond: all that the journal has.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |time| format!("{time:.6}"))
}

/// An entry as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct EntryData<'a> {
    run: RunId,
    seq: u64,
    time: String,
    prev: Digest,
    hash: Digest,
    over: bool,
    blobs: &'a [Digest],
    /// As it was written, byte for byte.
    body: Cow<'a, RawValue>,
}

impl<'a> EntryData<'a> {
    /// # Errors
    /// Never: what is no JSON can be written as a string.
    pub(crate) fn of(entry: &'a Entry) -> Result<Self, Trouble> {
        let body = match serde_json::from_str::<&RawValue>(&entry.body) {
            Ok(body) => Cow::Borrowed(body),
            // Format 1 kept any text.
            Err(_) => Cow::Owned(serde_json::value::to_raw_value(&entry.body)?),
        };
        Ok(Self {
            run: entry.run,
            seq: entry.seq,
            time: rfc3339(entry.time),
            prev: entry.prev,
            hash: entry.hash,
            over: entry.over,
            blobs: &entry.blobs,
            body,
        })
    }
}
