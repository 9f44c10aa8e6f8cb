//! A plan as a graph: for Mermaid, for Graphviz, or drawn.

use super::page::{LANES, lane, lines};
use crate::args::Graph;
use fulcrum_engine::Plan;
use fulcrum_steps::step_name::shown;
use maud::html;

/// The plan's steps and what each comes after, in the language of `kind`.
pub(crate) fn graph(plan: &Plan, kind: Graph) -> String {
    match kind {
        Graph::Mermaid => written(plan, &MERMAID),
        Graph::Dot => written(plan, &DOT),
        Graph::Svg => drawn(plan),
    }
}

/// How a graph is written.
struct Language {
    head: &'static str,
    tail: &'static str,
    /// A step at this place, with its name.
    step: fn(usize, &str) -> String,
    /// A step that comes before another one.
    edge: fn(usize, usize) -> String,
}

const MERMAID: Language = Language {
    head: "flowchart TD\n",
    tail: "",
    step: |at, name| format!("  s{at}[\"{name}\"]\n"),
    edge: |before, at| format!("  s{before} --> s{at}\n"),
};

const DOT: Language = Language {
    head: "digraph plan {\n  rankdir=TB;\n  node [shape=box, fontname=\"monospace\"];\n",
    tail: "}\n",
    step: |at, name| format!("  s{at} [label=\"{name}\"];\n"),
    edge: |before, at| format!("  s{before} -> s{at};\n"),
};

fn written(plan: &Plan, language: &Language) -> String {
    let place = |id| plan.steps().iter().position(|step| step.id == id).unwrap_or_default();
    let mut text = language.head.to_owned();
    for (at, step) in plan.steps().iter().enumerate() {
        text += &(language.step)(at, &shown(&step.id));
    }
    for (at, step) in plan.steps().iter().enumerate() {
        text.extend(step.after.iter().map(|before| (language.edge)(place(before.clone()), at)));
    }
    text + language.tail
}

/// How high a step's row is, and how wide a lane, in pixels.
const ROW: usize = 24;
/// The width of a letter of the names.
const LETTER: usize = 8;

/// A row for each step, in the order of the plan: a lane for each component, and the step's name.
fn drawn(plan: &Plan) -> String {
    let names: Vec<String> = plan.steps().iter().map(|step| shown(&step.id)).collect();
    let longest = names.iter().map(String::len).max().unwrap_or_default();
    let (width, height) = ((LANES + 1) * ROW + longest * LETTER, names.len() * ROW);
    let middle = |place: usize| place * ROW + ROW / 2;
    let picture = html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(width) height=(height)
            viewBox=(format!("0 0 {width} {height}")) font-family="monospace" font-size="13" role="img" {
            title { "The steps of " (plan.workflow()) ", and what each comes after" }
            rect width="100%" height="100%" fill="#fff" {}
            path d=(lines(plan)) transform=(format!("scale({ROW})")) fill="none" stroke="#888"
                stroke-width="1.5" vector-effect="non-scaling-stroke" {}
            @for (row, (step, name)) in plan.steps().iter().zip(&names).enumerate() {
                circle cx=(middle(lane(step))) cy=(middle(row)) r="5" fill="#1a5fb4" {}
                text x=(LANES * ROW + ROW / 2) y=(middle(row) + ROW / 5) { (name) }
            }
        }
    };
    format!("{}\n", picture.into_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_engine::StepSpec;
    use serde_json::Value;

    #[test]
    fn every_step_and_every_edge_is_drawn() {
        let steps = vec![
            StepSpec::new("lock", Value::Null),
            StepSpec::new("line-up", Value::Null).after(["lock"]),
            StepSpec::new("seal", Value::Null).after(["lock", "line-up"]),
        ];
        let plan = Plan::new("pivot", steps).unwrap();
        assert_eq!(
            graph(&plan, Graph::Mermaid),
            "flowchart TD\n  s0[\"lock\"]\n  s1[\"prefer-static\"]\n  s2[\"record-head\"]\n  s0 --> s1\n  s0 --> s2\n  \
             s1 --> s2\n"
        );
        let dot = graph(&plan, Graph::Dot);
        assert!(dot.starts_with("digraph plan {") && dot.ends_with("  s1 -> s2;\n}\n"), "{dot}");
        let svg = graph(&plan, Graph::Svg);
        assert_eq!((svg.matches("<circle").count(), svg.matches("<text").count()), (3, 3), "{svg}");
        // A line for each edge that no other implies.
        assert_eq!(svg.matches('M').count(), 2, "{svg}");
        assert!(
            svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n") && svg.contains(">prefer-static<")
        );
    }
}
