//! Reads a manifest's bytes as the kubelet reads them.
//!
//! The kubelet takes a file that begins with `{` as JSON and hands any other to sigs.k8s.io/yaml, which knows
//! YAML 1.1 as go-yaml v2 does, and reads the first document only. The comparison (kubectl 1.35.3 against
//! serde-saphyr 2.1.1 with the options below; tests/yaml.rs holds it):
//!
//! * `0644`, `0_10`, `-0644` are octal: `legacy_octal_numbers`, without which they would be read as
//!   decimal. `0o644`, `0x1f`, `0b101`, `1_000` and `089` (decimal, no octal) agree as they are.
//! * Plain `yes`, `no`, `on`, `off`, `y`, `n` are booleans, quoted they are strings: agreed, as long as
//!   `strict_booleans` stays off. The kubelet knows each in lower case, upper case and capitalised; `yEs` is
//!   a string to it and a boolean here.
//! * `~`, an empty value, dates, `12:30:45`, block and folded strings, `!!str`, anchors, aliases and merge
//!   keys agree.
//! * A number with a fraction or an exponent that comes out whole (`1e3`, `5.`, `089`) is an integer in the
//!   kubelet's JSON. An API server takes no `1000.0` for an integer. So [`whole_numbers`] makes it one here.
//! * Integers agree up to 2^64 - 1; beyond, both lose digits. `.inf` and `.nan` are errors to both;
//!   `1e999` is a string to the kubelet and an error here.
//! * `1_0.5`, `1__0` and `5_` are numbers to the kubelet and strings here. A mapping key that is no string
//!   (`yes: …`, `0644: …`) becomes `"true"` and `"420"` there and keeps its spelling here. No field of a pod
//!   has such a name.
//! * A key that is used twice: the kubelet takes the last one without a word. Here it is an error, because
//!   the person's intent cannot be known. The same holds for a second document.

use serde_json::{Number, Value};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error, UserMessageFormatter};

use super::error::ManifestError;

/// The single document in `bytes`.
pub(super) fn read(bytes: &[u8]) -> Result<Value, ManifestError> {
    let not_yaml = |detail: String| ManifestError::NotYaml { detail };
    // In words for the author of the file. The library's own words are for its caller.
    let words = |error: &Error| error.render_with_formatter(&UserMessageFormatter).replace('\n', " ");
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        // The message goes into one line of an error; it has the line and the column.
        with_snippet: false,
    };
    let documents: Result<Vec<Value>, _> = serde_saphyr::from_slice_multiple_with_options(bytes, options);
    let mut document = if bytes.trim_ascii_start().starts_with(b"{") {
        // Not all JSON is valid in YAML (control characters in strings). But only the YAML reader notices a
        // key that is used twice.
        if let Err(error @ Error::DuplicateMappingKey { .. }) = documents {
            return Err(not_yaml(words(&error)));
        }
        serde_json::from_slice(bytes).map_err(|error| {
            not_yaml(format!("{error} (the kubelet takes a file that begins with `{{` as JSON)"))
        })?
    } else {
        let mut documents = documents.map_err(|error| not_yaml(words(&error)))?;
        match documents.len() {
            1 if first_is_empty(bytes, &documents[0]) => return Err(ManifestError::FirstIsEmpty),
            1 => documents.swap_remove(0),
            0 => return Err(ManifestError::Empty),
            count => return Err(ManifestError::SeveralDocuments { count }),
        }
    };
    whole_numbers(&mut document);
    Ok(document)
}

/// Whether the only document that holds something is not the first one. A text without a mark is read once: it is one
/// document.
fn first_is_empty(bytes: &[u8], only: &Value) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.lines().any(ends_a_document) => only.is_null(),
        _ => read_as_the_kubelet(bytes).is_some_and(|document| document.is_null()),
    }
}

/// What the kubelet makes of `bytes`, which is more than `read` accepts: the first document, whatever follows
/// it, and the last of equal keys. `None` if the kubelet cannot read it either.
pub fn read_as_the_kubelet(bytes: &[u8]) -> Option<Value> {
    let mut document = decode_leniently(bytes)?;
    whole_numbers(&mut document);
    Some(document)
}

fn decode_leniently(bytes: &[u8]) -> Option<Value> {
    if bytes.trim_ascii_start().starts_with(b"{")
        && let Ok(document) = serde_json::from_slice(bytes)
    {
        return Some(document);
    }
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        duplicate_keys: DuplicateKeyPolicy::LastWins,
    };
    let text = first_document(std::str::from_utf8(bytes).ok()?);
    serde_saphyr::from_str_with_options(&text, options).ok()
}

/// The text up to the line that ends the first document. Such a line cannot be a part of a document.
fn first_document(text: &str) -> String {
    let mut begun = false;
    let mut document = String::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        if begun && ends_a_document(line) {
            break;
        }
        begun |= marks(line, "---") || !(line.trim().is_empty() || line.starts_with(['#', '%']));
        document.push_str(line);
        document.push('\n');
    }
    document
}

/// Whether this line ends the document before it, if there is one.
fn ends_a_document(line: &str) -> bool {
    marks(line, "---") || marks(line, "...")
}

fn marks(line: &str, mark: &str) -> bool {
    line.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// Turns floating-point numbers that are whole into integers, as Go writes them.
fn whole_numbers(value: &mut Value) {
    /// The largest integer up to which every integer is a floating-point number: 2^53.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= EXACT);
            if let Some(whole) = float.and_then(|float| format!("{float:.0}").parse::<i64>().ok()) {
                *number = Number::from(whole);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        _ => {}
    }
}
