//! The colours of a page, on a light and on a dark ground.

/// A colour by its name in the style sheet.
pub(super) struct Colour {
    pub(super) name: &'static str,
    pub(super) light: &'static str,
    pub(super) dark: &'static str,
}

/// The palette. What stands on what, and how well it can be told apart, is in the tests.
pub(super) const COLOURS: [Colour; 18] = [
    colour("ground", "#ffffff", "#0d1117"),
    colour("surface", "#f4f6f8", "#161b22"),
    colour("text", "#1b1f24", "#e6edf3"),
    colour("muted", "#545d68", "#9ea7b3"),
    colour("rule", "#d0d7de", "#30363d"),
    colour("link", "#0550ae", "#6cb6ff"),
    colour("done", "#1a7037", "#46c35a"),
    colour("undone", "#6639ba", "#b794f6"),
    colour("failed", "#b31d28", "#ff7b72"),
    colour("cut", "#855a00", "#e0aa3e"),
    colour("lane1", "#0969da", "#58a6ff"),
    colour("lane2", "#b02a7a", "#f778ba"),
    colour("lane3", "#0f7078", "#39c5cf"),
    colour("edge", "#7d8793", "#76808c"),
    colour("added", "#0b4a1c", "#8ee79a"),
    colour("added-ground", "#dcf7e3", "#10271a"),
    colour("removed", "#7a0916", "#ffb3ad"),
    colour("removed-ground", "#ffe9e7", "#331517"),
];

const fn colour(name: &'static str, light: &'static str, dark: &'static str) -> Colour {
    Colour { name, light, dark }
}

/// The style sheet: the colours, then the layout.
pub(super) fn style() -> String {
    let set = |of: fn(&Colour) -> &'static str| -> String {
        COLOURS.iter().map(|colour| format!("--{}:{};", colour.name, of(colour))).collect()
    };
    let (light, dark) = (set(|colour| colour.light), set(|colour| colour.dark));
    format!(
        ":root{{color-scheme:light dark;{light}}}\n@media(prefers-color-scheme:dark){{:root{{{dark}}}}}\n{}",
        include_str!("page.css")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How far a colour must stand out from what is behind it (WCAG 2.2, AA).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Need {
        /// Text: 4.5 to 1.
        Text,
        /// A bar, a dot, a line that means something: 3 to 1.
        Shape,
    }

    /// What stands on what.
    const PAIRS: [(&str, &str, Need); 26] = [
        ("text", "ground", Need::Text),
        ("text", "surface", Need::Text),
        ("muted", "ground", Need::Text),
        ("muted", "surface", Need::Text),
        ("link", "ground", Need::Text),
        ("link", "surface", Need::Text),
        ("done", "ground", Need::Text),
        ("done", "surface", Need::Text),
        ("undone", "ground", Need::Text),
        ("undone", "surface", Need::Text),
        ("failed", "ground", Need::Text),
        ("failed", "surface", Need::Text),
        ("cut", "ground", Need::Text),
        ("cut", "surface", Need::Text),
        ("added", "added-ground", Need::Text),
        ("removed", "removed-ground", Need::Text),
        ("lane1", "surface", Need::Shape),
        ("lane2", "surface", Need::Shape),
        ("lane3", "surface", Need::Shape),
        ("edge", "surface", Need::Shape),
        ("done", "surface", Need::Shape),
        ("undone", "surface", Need::Shape),
        ("failed", "surface", Need::Shape),
        ("cut", "surface", Need::Shape),
        ("muted", "surface", Need::Shape),
        ("text", "surface", Need::Shape),
    ];

    /// The relative luminance of `#rrggbb` (WCAG 2.2).
    fn luminance(colour: &str) -> f64 {
        let part = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    }

    fn contrast(one: &str, other: &str) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn everything_stands_out_from_what_is_behind_it() {
        assert!((contrast("#000000", "#ffffff") - 21.0).abs() < 0.01, "the formula is WCAG's");
        let find = |name: &str| COLOURS.iter().find(|colour| colour.name == name).unwrap();
        for (front, behind, need) in PAIRS {
            let (front, behind) = (find(front), find(behind));
            let least = if need == Need::Text { 4.5 } else { 3.0 };
            for (ground, seen) in
                [("light", contrast(front.light, behind.light)), ("dark", contrast(front.dark, behind.dark))]
            {
                assert!(seen >= least, "{} on {}, {ground}: {seen:.2}", front.name, behind.name);
            }
        }
    }

    /// Every colour of the style sheet is one of the palette.
    #[test]
    fn the_style_has_no_colour_of_its_own() {
        let css = include_str!("page.css").replace("in srgb", "");
        assert!(!css.contains('#') && !css.contains("rgb"), "a colour beside the palette");
        let used = css.split("var(--").skip(1).filter_map(|rest| rest.split([')', ',']).next());
        let own = ["row", "lane", "lanes", "left", "colour", "pre"];
        for name in used.filter(|name| !own.contains(name)) {
            assert!(COLOURS.iter().any(|colour| colour.name == name), "--{name} is not in the palette");
        }
    }
}
