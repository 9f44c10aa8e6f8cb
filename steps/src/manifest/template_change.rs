//! A change of a component's pod template, there and back. Pure.

use super::fields::{self, FieldChange};
use super::words::Words;
use crate::component::Component;
use serde_json::Value;

/// What changes in a component's pod template. All else stays as it is, whoever has changed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateChange {
    /// The command line.
    Words {
        /// The words before.
        was: Words,
        /// The words after.
        words: Words,
    },
    /// These fields.
    Fields(Vec<FieldChange>),
}

/// Whose change a pod template has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// It is as before the change.
    Former,
    /// It has the change.
    Changed,
    /// It is neither: a third person has changed it.
    Other,
}

impl TemplateChange {
    /// How the template stands to this change.
    pub fn stands(&self, component: Component, template: &Value) -> Stands {
        let (changed, former) = match self {
            Self::Words { was, words } => match Words::of(component, template) {
                Ok(live) => (live == *words, live == *was),
                Err(_) => (false, false),
            },
            Self::Fields(changes) => {
                let all = |wanted: fn(&FieldChange) -> Option<&Value>| {
                    changes.iter().all(|change| fields::get(template, &change.path) == wanted(change))
                };
                (all(|change| change.now.as_ref()), all(|change| change.was.as_ref()))
            }
        };
        match (changed, former) {
            (true, _) => Stands::Changed,
            (false, true) => Stands::Former,
            (false, false) => Stands::Other,
        }
    }

    /// Makes the change in a template that stands as before it. Returns `false` if there is no such place.
    pub fn make(&self, component: Component, template: &mut Value) -> bool {
        match self {
            Self::Words { words, .. } => words.put(component, template),
            Self::Fields(changes) => {
                changes.iter().all(|change| fields::put(template, &change.path, change.now.as_ref()))
            }
        }
    }

    /// Takes the change back in a template that has it. Returns `false` if there is no such place.
    pub fn unmake(&self, component: Component, template: &mut Value) -> bool {
        match self {
            Self::Words { was, .. } => was.put(component, template),
            Self::Fields(changes) => {
                changes.iter().all(|change| fields::put(template, &change.path, change.was.as_ref()))
            }
        }
    }

    /// What it changes, for a person.
    pub(crate) fn subject(&self) -> &'static str {
        match self {
            Self::Words { .. } => "command line",
            Self::Fields(_) => "pod template",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_of_fields_goes_there_and_back_and_leaves_the_rest_alone() {
        let mut live =
            json!({ "spec": { "containers": [{ "name": "kube-scheduler", "image": "1", "tty": true }] } });
        let field = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        let image = FieldChange {
            path: field("spec.containers.kube-scheduler.image"),
            was: Some(json!("1")),
            now: Some(json!("2")),
        };
        let probe = FieldChange {
            path: field("spec.containers.kube-scheduler.startupProbe"),
            was: None,
            now: Some(json!({ "failureThreshold": 3 })),
        };
        let change = TemplateChange::Fields(vec![image, probe]);
        assert_eq!(change.stands(Component::Scheduler, &live), Stands::Former);
        assert!(change.make(Component::Scheduler, &mut live));
        assert_eq!(change.stands(Component::Scheduler, &live), Stands::Changed);
        live["spec"]["containers"][0]["tty"] = json!(false);
        assert!(change.unmake(Component::Scheduler, &mut live));
        assert_eq!(change.stands(Component::Scheduler, &live), Stands::Former);
        assert_eq!(
            live["spec"]["containers"][0],
            json!({ "name": "kube-scheduler", "image": "1", "tty": false })
        );
        live["spec"]["containers"][0]["image"] = json!("3");
        assert_eq!(change.stands(Component::Scheduler, &live), Stands::Other);
    }
}
