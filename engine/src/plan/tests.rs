//! What is a plan, and what is refused.

use super::*;
use serde_json::json;

fn spec(id: &str, after: &[&str]) -> StepSpec {
    StepSpec::new(id, Value::Null).after(after.iter().copied())
}

#[test]
fn steps_come_after_what_they_depend_on() {
    let plan = Plan::new("p", vec![spec("c", &["a", "b"]), spec("b", &["a"]), spec("a", &[])]).unwrap();
    let names: Vec<&str> = plan.steps().iter().map(|step| step.id.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(plan.dependents(0), [1, 2]);
}

#[test]
fn a_plan_that_is_read_back_has_its_steps_in_the_same_order() {
    let wide = (0..40).map(|n| spec(&format!("w{}", n * 7 % 40), &[]));
    let mut steps: Vec<StepSpec> = wide.collect();
    steps.insert(0, spec("late", &["w3", "w9", "early"]));
    steps.push(spec("early", &["w1"]));
    let plan = Plan::new("p", steps).unwrap();
    let back: Plan = serde_json::from_value(serde_json::to_value(&plan).unwrap()).unwrap();
    let names = |plan: &Plan| plan.steps().iter().map(|step| step.id.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&back), names(&plan));
    assert_eq!(names(&plan)[..3], ["w0", "w7", "w14"], "what may stay where it is stays");
}

#[test]
fn a_cycle_is_named_by_a_step_on_it() {
    let steps = vec![spec("x", &["b"]), spec("a", &["b"]), spec("b", &["c"]), spec("c", &["a"])];
    let error = Plan::new("p", steps).unwrap_err();
    assert!(matches!(error, PlanError::Cycle { step, .. } if step.as_str() != "x"));
}

#[test]
fn names_and_arguments_that_cannot_be_kept_are_refused() {
    let named = |workflow: &str, step: &str| Plan::new(workflow, vec![spec(step, &[])]).map(drop);
    assert_eq!(named("w", &"x".repeat(256)), Ok(()));
    for (workflow, step) in
        [("w", "x".repeat(257)), ("w", "\u{1}".repeat(43)), (&*"w".repeat(65), "x".into())]
    {
        assert!(matches!(named(workflow, &step), Err(PlanError::Limit(_))), "{workflow} {step}");
    }
    let nested = |depth| (0..depth).fold(Value::Null, |inner, _| json!([inner]));
    let with = |depth| Plan::new("w", vec![StepSpec::new("a", nested(depth))]);
    let text = serde_json::to_string(&with(100).unwrap()).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), with(100).unwrap(), "it can be read back");
    let error = with(101).unwrap_err().to_string();
    assert!(error.contains("the arguments of step a: 101 levels of nesting"), "{error}");
}

#[test]
fn what_is_not_a_dag_is_refused() {
    let twice = Plan::new("p", vec![spec("a", &[]), spec("a", &[])]);
    assert!(matches!(twice, Err(PlanError::Twice { .. })));
    let missing = Plan::new("p", vec![spec("a", &["b"])]);
    assert!(matches!(missing, Err(PlanError::Missing { .. })));
    let cycle = Plan::new("p", vec![spec("a", &["b"]), spec("b", &["a"])]);
    assert!(matches!(cycle, Err(PlanError::Cycle { .. })));
}

#[test]
fn a_stored_plan_is_checked_when_it_is_read() {
    let plan = Plan::new("p", vec![spec("a", &[])]).unwrap().with_deadline(Duration::from_secs(9));
    let text = serde_json::to_value(&plan).unwrap();
    assert_eq!(serde_json::from_value::<Plan>(text.clone()).unwrap(), plan);
    let mut broken = text;
    broken["steps"][0]["after"] = json!(["ghost"]);
    assert!(serde_json::from_value::<Plan>(broken).unwrap_err().to_string().contains("ghost"));
}
