//! The page as a browser, and a person who cannot see it, takes it.

use super::{Checks, PageRun, page};
use crate::story::testing::{STEPS, story};
use std::collections::{BTreeMap, BTreeSet};

/// A tag of the page, with its attributes and the text that follows it.
struct Tag {
    name: String,
    attributes: BTreeMap<String, String>,
    text: String,
}

/// The page's tags, in order. Reads what `maud` writes: attributes are in double quotes.
fn tags(page: &str) -> Vec<Tag> {
    page.split('<').skip(1).map(tag).collect()
}

fn tag(rest: &str) -> Tag {
    let (inside, text) = rest.split_once('>').expect("a tag is closed");
    let (name, mut left) = inside.split_once(' ').unwrap_or((inside, ""));
    let mut attributes = BTreeMap::new();
    while let Some((name, value)) = left.split_once("=\"") {
        let (value, after) = value.split_once('"').expect("an attribute is closed");
        assert!(attributes.insert(name.trim().to_owned(), value.to_owned()).is_none(), "{name} twice");
        left = after;
    }
    assert!(left.trim().is_empty() || name == "!DOCTYPE", "an attribute without a value: {left}");
    Tag { name: name.to_owned(), attributes, text: text.trim().to_owned() }
}

fn page_with(text: &str) -> String {
    let checks =
        Checks { verified: vec![text.into()], not_checked: vec![text.into()], wrong: vec![text.into()] };
    let runs = [story(text), story("second")].map(|story| PageRun {
        story,
        changes: vec![],
        checks: checks.clone(),
    });
    page(&runs)
}

const HOSTILE: &str =
    "</style></title><script>alert(1)</script>\" onload=\"x' <img src=//h/i><!-- url(//h/j) &amp;";

#[test]
fn hostile_text_stays_text() {
    let shape = |page: &str| -> Vec<String> {
        let one = |tag: &Tag| format!("{} {:?}", tag.name, tag.attributes.keys().collect::<Vec<_>>());
        tags(page).iter().map(one).collect()
    };
    let hostile = page_with(HOSTILE);
    assert_eq!(shape(&hostile), shape(&page_with("harmless")), "a text has made a tag or an attribute");
    assert!(hostile.contains("&lt;/style&gt;&lt;/title&gt;&lt;script&gt;"), "it is shown as it is");
    assert!(hostile.contains("&amp;amp;"), "and not read as HTML");
}

#[test]
fn no_request_leaves_the_page() {
    let page = page_with("harmless");
    for tag in tags(&page) {
        let fetches = ["script", "link", "img", "iframe", "object", "embed", "base", "form", "image", "use"];
        assert!(!fetches.contains(&tag.name.as_str()), "<{}>", tag.name);
        for (name, value) in &tag.attributes {
            assert!(
                !name.starts_with("on") && !["src", "srcset", "xlink:href", "action"].contains(&&**name),
                "{name}"
            );
            assert!(name != "href" || value.starts_with('#'), "{value}");
        }
    }
    for word in ["url(", "@import", "@font-face", "://"] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline';"), "the browser is told");
}

#[test]
fn every_step_and_every_attempt_is_told() {
    let page = page_with("harmless");
    let tags = tags(&page);
    for step in STEPS.iter().copied().chain(["step-harmless"]) {
        let summary = |tag: &&Tag| tag.name == "summary" && tag.text == step;
        assert_eq!(
            tags.iter().filter(summary).count(),
            if step == "step-harmless" { 1 } else { 2 },
            "{step}"
        );
    }
    let bars: Vec<&str> = tags
        .iter()
        .filter(|tag| tag.attributes.get("class").is_some_and(|class| class == "bars"))
        .map(|tag| &*tag.attributes["aria-label"])
        .collect();
    assert_eq!(
        bars[..5],
        [
            "done after 0.7 s; undo: done after 0.7 s",
            "failed after 1.4 s; attempt 2: done after 0.7 s; undo: done after 0.7 s",
            "cut; undo: done after 0.7 s",
            "not begun",
            "not begun"
        ]
    );
}

#[test]
fn everything_has_a_label_and_a_place() {
    let page = page_with("harmless");
    let tags = tags(&page);
    let of = |name: &str| tags.iter().filter_map(|tag| tag.attributes.get(name)).collect::<Vec<_>>();
    let ids: BTreeSet<&String> = of("id").into_iter().collect();
    assert_eq!(ids.len(), of("id").len(), "an id is there twice");
    for link in of("href") {
        assert!(ids.contains(&link[1..].to_owned()), "{link} leads nowhere");
    }
    assert!(of("aria-labelledby").iter().all(|id| ids.contains(*id)));
    let mut level = 0;
    for (tag, next) in tags.iter().zip(&tags[1..]) {
        let hidden = tag.attributes.get("aria-hidden").is_some_and(|hidden| hidden == "true");
        let labelled = tag.attributes.get("aria-label").is_some_and(|label| !label.is_empty());
        assert!(tag.name != "svg" || hidden || labelled, "a picture without words");
        assert!(!tag.attributes.contains_key("role") || labelled, "a role without a name");
        assert!(tag.name != "details" || next.name == "summary", "a fold without a summary");
        assert!(
            !["summary", "title", "h1", "dt"].contains(&&*tag.name) || !tag.text.is_empty(),
            "{}",
            tag.name
        );
        if let Some(heading) = tag.name.strip_prefix('h').and_then(|level| level.parse::<u32>().ok()) {
            assert!(heading <= level + 1, "h{heading} after h{level}");
            level = heading;
        }
    }
    let html = tags.iter().find(|tag| tag.name == "html").unwrap();
    assert_eq!(html.attributes["lang"], "en");
    assert!(of("name").contains(&&"viewport".to_owned()), "a phone shows it in its own width");
}
