//! Shows a control plane that was found self-hosted, and the static pods that come out of it.

use crate::exit::{Exit, Failure};
use crate::shell::Shell;
use fulcrum_steps::component::Component;
use fulcrum_steps::preflight::{CheckResult, Found, Level};
use serde_json::Value;

/// What was found, what a person should know, and what will be done.
pub(crate) fn show_found(found: &Found, results: &[CheckResult], shell: &Shell) {
    for (component, one) in &found.daemonsets {
        shell.talk(line(*component, one.made_by.as_deref(), one.shares));
    }
    for warning in results.iter().filter(|result| result.level == Level::Warn) {
        shell.talk(format_args!("warning: {warning}"));
    }
    shell.talk(
        "first run: start-static (beside the DaemonSets' pods), remove-daemonset, verify-static; undone by making the \
         DaemonSets again",
    );
    if found.daemonsets.values().any(|one| !one.shares) {
        shell.talk(
            "warning: once such a DaemonSet is removed, the way back leaves the API away for some seconds: its process \
             cannot listen beside the static one",
        );
    }
}

fn line(component: Component, made_by: Option<&str>, shares: bool) -> String {
    let name = component.daemonset_name();
    let whose = made_by.map_or("not made by fulcrum".to_owned(), |run| format!("made by run {run}"));
    let port = if shares { "shares its port" } else { "does not share its port" };
    format!("DaemonSet {name}: {whose}, {port}")
}

/// The static manifests as YAML. The files have the same as JSON.
pub(crate) fn adopted_manifests(found: &Found) -> Result<String, Failure> {
    let mut text = String::new();
    for one in found.daemonsets.values() {
        let pod: Value =
            serde_json::from_str(&one.manifest).map_err(|error| Failure::new(Exit::Other, error))?;
        let yaml = serde_saphyr::to_string(&pod).map_err(|error| Failure::new(Exit::Other, error))?;
        text += &format!("---\n{}\n", yaml.trim_end());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_steps::preflight::FoundDaemonset;

    #[test]
    fn what_is_found_is_said_on_lines_of_their_own() {
        assert_eq!(
            line(Component::Scheduler, Some("0192"), true),
            "DaemonSet self-hosted-kube-scheduler: made by run 0192, shares its port"
        );
        assert_eq!(
            line(Component::Scheduler, None, false),
            "DaemonSet self-hosted-kube-scheduler: not made by fulcrum, does not share its port"
        );
        let one = FoundDaemonset {
            uid: "u".to_owned(),
            manifest: r#"{"apiVersion":"v1","kind":"Pod"}"#.to_owned(),
            shares: true,
            made_by: None,
        };
        let found = Found { daemonsets: [(Component::Scheduler, one)].into(), labelled: false };
        assert_eq!(adopted_manifests(&found).unwrap(), "---\napiVersion: v1\nkind: Pod\n");
    }
}
