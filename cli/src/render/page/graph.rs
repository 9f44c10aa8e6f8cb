//! The graph of a plan as lanes: a lane for each component, a row for each step, lines from each step to what
//! comes after it.

use fulcrum_engine::{Plan, StepSpec};
use fulcrum_steps::component::Component;
use fulcrum_steps::step_name::StepName;
use maud::{Markup, html};
use std::fmt::Write;

/// How many lanes there are: one for what belongs to no component.
pub(in crate::render) const LANES: usize = 1 + Component::ALL.len();

/// The lane of a step.
pub(in crate::render) fn lane(step: &StepSpec) -> usize {
    let component = StepName::parse(step.id.as_str()).and_then(StepName::component);
    let place = component.and_then(|of| Component::ALL.into_iter().position(|other| other == of));
    place.map_or(0, |place| place + 1)
}

/// The lines, behind the rows. What they say is said in words in each step's details.
pub(super) fn edges(plan: &Plan) -> Markup {
    let view = format!("0 0 {LANES} {}", plan.steps().len());
    html! {
        svg.edges viewBox=(view) preserveAspectRatio="none" aria-hidden="true" { path d=(lines(plan)) {} }
    }
}

/// The path of the lines, where a lane and a row are 1 wide and 1 high.
pub(in crate::render) fn lines(plan: &Plan) -> String {
    let steps = plan.steps();
    let mut path = String::new();
    for (from, to) in reduced(plan) {
        let (x1, x2) = (lane(&steps[from]) as f64 + 0.5, lane(&steps[to]) as f64 + 0.5);
        let (y1, y2) = (from as f64 + 0.5, to as f64 + 0.5);
        let passes = steps[from + 1..to].iter().any(|between| lane(between) == lane(&steps[to]));
        // A line within a lane goes around the steps that are not its own.
        let bow = if x1 == x2 && passes { 0.42 } else { 0.0 };
        let half = (y1 + y2) / 2.0;
        let _ = write!(path, "M{x1} {y1}C{} {half} {} {half} {x2} {y2}", x1 - bow, x2 - bow);
    }
    path
}

/// The edges, by places in the plan, without those that others imply.
fn reduced(plan: &Plan) -> Vec<(usize, usize)> {
    let steps = plan.steps();
    let place = |id| steps.iter().position(|step| step.id == id);
    // For each step, what it comes after, directly or not. Steps are in an order in which this is known.
    let mut before: Vec<Vec<bool>> = Vec::new();
    let mut edges = Vec::new();
    for (to, step) in steps.iter().enumerate() {
        let direct: Vec<usize> = step.after.iter().filter_map(|id| place(id.clone())).collect();
        let implied = |from: usize| direct.iter().any(|other| before[*other][from]);
        edges.extend(direct.iter().filter(|from| !implied(**from)).map(|from| (*from, to)));
        let mut all = vec![false; steps.len()];
        for from in direct {
            all[from] = true;
            all.iter_mut().zip(&before[from]).for_each(|(all, earlier)| *all |= earlier);
        }
        before.push(all);
    }
    edges.sort_unstable();
    edges.dedup();
    edges
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn an_edge_that_others_imply_is_not_drawn() {
        let step = |id: &str, after: &[&str]| StepSpec::new(id, Value::Null).after(after.iter().copied());
        let plan = Plan::new(
            "p",
            vec![step("a", &[]), step("b", &["a"]), step("c", &["a", "b"]), step("d", &["a", "c", "c"])],
        );
        assert_eq!(reduced(&plan.unwrap()), [(0, 1), (1, 2), (2, 3)]);
    }
}
