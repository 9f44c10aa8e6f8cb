//! Texts that fit into a journal entry, which holds 4 KiB.

/// What an error text, a finding or a reason may take of an entry.
pub(crate) const TEXT_BYTES_MAX: usize = 1400;
/// What the reason of a run's end may take: it quotes another.
pub(crate) const REASON_BYTES_MAX: usize = 2 * TEXT_BYTES_MAX;

/// An error text, a finding, a reason: short enough for an entry that holds two of them.
pub(crate) fn clip(text: &str) -> String {
    clip_to(text, TEXT_BYTES_MAX)
}

/// The beginning and the end of a text that is too long: both tell more than its middle.
pub(crate) fn clip_to(text: &str, bytes_max: usize) -> String {
    // What counts is the length in the journal, where a quote takes two bytes and a control character six.
    let escaped = serde_json::to_string(text).map_or(usize::MAX, |text| text.len());
    if escaped <= bytes_max {
        return text.to_owned();
    }
    let half = text.len().min(bytes_max) * bytes_max / escaped.max(1) / 2;
    let (head, tail) = (text.floor_char_boundary(half), text.ceil_char_boundary(text.len() - half));
    let shorter = format!("{} … {}", &text[..head], &text[tail..]);
    if shorter.len() < text.len() { clip_to(&shorter, bytes_max) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clipped_text_fits_however_it_is_escaped() {
        for text in ["x".repeat(9000), "\"\\".repeat(3000), "\u{1}".repeat(5000), "ä→".repeat(2000)] {
            let clipped = clip_to(&text, 1400);
            assert!(serde_json::to_string(&clipped).unwrap().len() <= 1400, "{}", clipped.len());
            assert!(clipped.contains(" … ") && clipped.starts_with(text.chars().next().unwrap()));
        }
        assert_eq!(clip("short"), "short");
    }
}
