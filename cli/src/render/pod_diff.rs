//! Shows a static pod against its DaemonSet's pod, field by field.

use super::terminal::paint;
use fulcrum_steps::manifest::{Change, StaticPod, Target};
use serde_json::Value;

/// Each static pod's changes, under a heading that names both.
pub(crate) fn diff(static_pods: &[StaticPod], target: &Target, coloured: bool) -> String {
    let mut text = String::new();
    for pod in static_pods {
        let component = pod.component();
        let heading = format!("static pod {component} -> pod of DaemonSet {}", component.daemonset_name());
        text += &paint("1", &heading, coloured);
        text.push('\n');
        for change in pod.changes(target) {
            text += &lines(&change, coloured);
        }
        text.push('\n');
    }
    text
}

fn lines(change: &Change, coloured: bool) -> String {
    let line = |sign: char, colour: &str, value: &Option<Value>| {
        let Some(value) = value else { return String::new() };
        format!("{}\n", paint(colour, &format!("  {sign} {}: {}", change.path, short(value)), coloured))
    };
    line('-', "31", &change.before) + &line('+', "32", &change.after)
}

/// A value on one line. Text that needs no quotes has none.
fn short(value: &Value) -> String {
    match value {
        Value::String(text) if !text.contains(['\n', '"']) && !text.is_empty() => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_steps::component::Component;
    use std::collections::BTreeMap;

    fn shown(coloured: bool) -> String {
        let text = include_bytes!("../../../steps/src/manifest/fixtures/v1.35/kube-scheduler.yaml");
        let pod = StaticPod::parse(Component::Scheduler, text).unwrap();
        let target = Target {
            role_label: "node-role.kubernetes.io/control-plane".into(),
            opt_in_label: "fulcrum.dev/self-hosted".into(),
            kubernetes_minor: 35,
            node_addresses: Vec::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            in_secrets: None,
        };
        diff(&[pod], &target, coloured)
    }

    #[test]
    fn the_screen_of_a_diff_is_golden() {
        let plain = shown(false);
        assert_eq!(plain.trim(), include_str!("../../tests/golden/diff.txt").trim(), "{plain}");
        let bare = shown(true).replace("\x1b[0m", "");
        let bare = bare.replace("\x1b[1m", "").replace("\x1b[31m", "").replace("\x1b[32m", "");
        assert_eq!(bare, plain, "colours add nothing else");
    }
}
