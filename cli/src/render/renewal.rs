//! What a renewal of certificates would do.

use super::certs::reload;
use crate::shell::Shell;
use fulcrum_steps::certificates::{Inventory, Renewal};
use serde_json::json;
use std::fmt::Write;

/// The first version of what programs read.
const FORMAT_VERSION: u32 = 1;

pub(crate) fn show_renewal(renewal: &Renewal, found: &Inventory, kubeadm: &str, shell: &Shell) {
    if shell.json() {
        let rolled: Vec<&str> = renewal.rolled.keys().map(|component| component.name()).collect();
        let by_hand = renewal.by_hand.iter().map(|(program, name, command)| {
            json!({ "program": program.name(), "certificate": name, "command": command })
        });
        shell.data_json(&json!({
            "event": "renewal",
            "format_version": FORMAT_VERSION,
            "kubeadm": kubeadm,
            "certificates": renewal.names,
            "rolled_out": rolled,
            "by_hand": by_hand.collect::<Vec<_>>(),
        }));
        return;
    }
    shell.talk(text(renewal, found, kubeadm).trim_end());
}

fn text(renewal: &Renewal, found: &Inventory, kubeadm: &str) -> String {
    let mut text = format!("{:<26} {:<10}  WHO READS IT (kubeadm {kubeadm} renews)\n", "CERTIFICATE", "ENDS");
    for name in &renewal.names {
        let entry = found.entries.iter().find(|entry| entry.name == name.name());
        let ends = entry.map(|entry| entry.certificate.not_after.strftime("%Y-%m-%d").to_string());
        let mut users: Vec<String> = Vec::new();
        for user in entry.iter().flat_map(|entry| &entry.users) {
            let line = format!("{}: {}", user.program, reload(user.reload));
            if !users.contains(&line) {
                users.push(line);
            }
        }
        let (ends, users) = (ends.unwrap_or_default(), users.join(", "));
        text += format!("{name:<26} {ends:<10}  {users}").trim_end();
        text.push('\n');
    }
    for component in renewal.rolled.keys() {
        let _ = writeln!(text, "rolled out, beside the old pod: {}", component.daemonset_name());
    }
    for (program, name, command) in &renewal.by_hand {
        let _ =
            writeln!(text, "not restarted here: {program} goes on with the old {name} until\n  {command}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_steps::certificates::{Program, Renewable};
    use fulcrum_steps::component::Component;

    #[test]
    fn a_renewal_is_shown_with_who_is_rolled_out_and_who_is_not() {
        let renewal = Renewal {
            names: vec![Renewable::Apiserver, Renewable::SchedulerConf],
            rolled: [(Component::Scheduler, vec![Renewable::SchedulerConf])].into(),
            by_hand: vec![(Program::Kubelet, Renewable::Apiserver, "systemctl restart kubelet".to_owned())],
        };
        let shown = text(&renewal, &Inventory::default(), "v1.36.3");
        assert!(shown.contains("\nrolled out, beside the old pod: self-hosted-kube-scheduler\n"), "{shown}");
        assert!(shown.contains("kubelet goes on with the old apiserver until\n  systemctl"), "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    }
}
