//! A plan as a graph, for Mermaid or Graphviz.

use crate::args::Graph;
use fulcrum_engine::Plan;
use fulcrum_steps::step_name::shown;
use std::fmt::Write;

/// The plan's steps and what each comes after, in the language of `kind`.
pub(crate) fn graph(plan: &Plan, kind: Graph) -> String {
    let mut text = match kind {
        Graph::Mermaid => "flowchart TD\n".to_owned(),
        Graph::Dot => {
            "digraph plan {\n  rankdir=TB;\n  node [shape=box, fontname=\"monospace\"];\n".to_owned()
        }
    };
    let place = |id| plan.steps().iter().position(|step| step.id == id).unwrap_or_default();
    for (at, step) in plan.steps().iter().enumerate() {
        let name = shown(&step.id);
        // Writing to a string cannot fail.
        let _ = match kind {
            Graph::Mermaid => writeln!(text, "  s{at}[\"{name}\"]"),
            Graph::Dot => writeln!(text, "  s{at} [label=\"{name}\"];"),
        };
    }
    for (at, step) in plan.steps().iter().enumerate() {
        for before in &step.after {
            let before = place(before.clone());
            let _ = match kind {
                Graph::Mermaid => writeln!(text, "  s{before} --> s{at}"),
                Graph::Dot => writeln!(text, "  s{before} -> s{at};"),
            };
        }
    }
    if kind == Graph::Dot {
        text.push_str("}\n");
    }
    text
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
    }
}
