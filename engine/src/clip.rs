//! Cuts texts to a length. So what the engine writes always fits.

/// The share of an entry that an error text, a probe's finding or a reason may take.
pub(crate) const TEXT_BYTES_MAX: usize = 1400;
/// The share for the reason of a run's end, which quotes another reason.
pub(crate) const REASON_BYTES_MAX: usize = 2 * TEXT_BYTES_MAX;

const GAP: &str = " … ";

/// An error text, a finding or a reason, short enough for an entry that holds two of them.
pub(crate) fn clip(text: &str) -> String {
    clip_to(text, TEXT_BYTES_MAX)
}

/// The text, or its head and its tail if it takes more than this many bytes as JSON. Both tell more than the
/// middle.
pub(crate) fn clip_to(text: &str, bytes_max: usize) -> String {
    if json_len(text) <= bytes_max {
        return text.to_owned();
    }
    let half = bytes_max.saturating_sub(2 + GAP.len()) / 2;
    let head: usize = fitting(text.chars(), half).map(char::len_utf8).sum();
    let tail: usize = fitting(text.chars().rev(), half).map(char::len_utf8).sum();
    format!("{}{GAP}{}", &text[..head], &text[text.len() - tail..])
}

/// The first of these names, as many as fit well into a reason, and the number of the others.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let (mut text, mut more) = (String::new(), 0);
    for name in names {
        if json_len(&text) + json_len(name) > TEXT_BYTES_MAX / 2 {
            more += 1;
        } else {
            text.push_str(if text.is_empty() { "" } else { ", " });
            text.push_str(name);
        }
    }
    match (text.is_empty(), more) {
        (_, 0) => text,
        (true, more) => format!("{more} steps"),
        (false, more) => format!("{text} and {more} more"),
    }
}

/// How many bytes a text takes in the journal, with its quotes.
pub(crate) fn json_len(text: &str) -> usize {
    2 + text.chars().map(json_len_of).sum::<usize>()
}

fn fitting(chars: impl Iterator<Item = char>, bytes_max: usize) -> impl Iterator<Item = char> {
    chars.scan(0, move |used, char| {
        *used += json_len_of(char);
        (*used <= bytes_max).then_some(char)
    })
}

fn json_len_of(char: char) -> usize {
    match char {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        char if char < ' ' => 6,
        char => char.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clipped_text_fits_and_keeps_its_head_and_its_tail() {
        for length in [1399, 1400, 1401, 3000, 1_000_000] {
            for unit in ["x", "\"\\", "\u{1}", "ä→", "\n"] {
                let text = format!("head{}tail", unit.repeat(length / unit.len()));
                let clipped = clip(&text);
                let taken = serde_json::to_string(&clipped).unwrap().len();
                assert!(taken <= TEXT_BYTES_MAX, "{length} of {unit:?}: {taken}");
                assert!(clipped == text || taken > TEXT_BYTES_MAX - 30, "{length} of {unit:?}: {taken}");
                assert!(clipped.starts_with("head") && clipped.ends_with("tail"), "{clipped:?}");
            }
        }
    }

    #[test]
    fn the_length_in_json_is_what_serde_writes() {
        let text: String = (0..0x300).filter_map(char::from_u32).chain(['→', '😀']).collect();
        assert_eq!(json_len(&text), serde_json::to_string(&text).unwrap().len());
    }

    #[test]
    fn a_list_of_many_names_says_how_many_it_leaves_out() {
        assert_eq!(listed(["a", "b"]), "a, b");
        let names: Vec<String> = (0..300).map(|n| format!("a-step-with-a-name-{n}")).collect();
        let text = listed(names.iter().map(String::as_str));
        assert!(text.len() < TEXT_BYTES_MAX && text.ends_with(" more"), "{text}");
        assert_eq!(listed(["x".repeat(2000).as_str()]), "1 steps");
    }
}
