//! Shows what an examination has found.

use crate::shell::Shell;
use fulcrum_steps::doctor::{Finding, Health};
use serde::Serialize;

/// The version of what `doctor -o json` prints. A new field leaves the version as it is.
const FORMAT_VERSION: u32 = 1;

#[derive(Debug, Serialize)]
struct DoctorView<'a> {
    format_version: u32,
    healthy: bool,
    findings: &'a [Finding],
}

/// Every finding, in the order in which things depend on each other.
pub(crate) fn show_findings(findings: &[Finding], shell: &Shell) {
    match shell.json() {
        true => shell.data_json(&view(findings)),
        false => shell.words(text(findings).trim_end()),
    }
}

fn view(findings: &[Finding]) -> DoctorView<'_> {
    let healthy = findings.iter().all(|finding| finding.health != Health::Bad);
    DoctorView { format_version: FORMAT_VERSION, healthy, findings }
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.health {
            Health::Good => "ok",
            Health::Unknown => "?",
            Health::Warning => "warning",
            Health::Bad => "BAD",
        };
        text += &format!("{mark:8}{:13} {}\n", finding.area.name(), finding.seen);
        if !finding.remedy.is_empty() {
            text += &format!("{:8}{:13} -> {}\n", "", "", finding.remedy);
        }
    }
    let count = |health: Health| findings.iter().filter(|finding| finding.health == health).count();
    let (bad, warnings, unknown) = (count(Health::Bad), count(Health::Warning), count(Health::Unknown));
    let verdict = if bad == 0 { "nothing is broken" } else { "something is broken" };
    let warned = if warnings == 1 { "1 warning" } else { &format!("{warnings} warnings") };
    text + &format!("\n{verdict}: {bad} bad, {warned}, {unknown} could not be seen\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_steps::doctor::Area;

    fn findings() -> Vec<Finding> {
        let one = |area, health, seen: &str, remedy: &str| Finding {
            area,
            health,
            seen: seen.to_owned(),
            remedy: remedy.to_owned(),
        };
        vec![
            one(Area::Journal, Health::Good, "2 runs, all as they were written", ""),
            one(Area::Guard, Health::Bad, "the guard does not run", "systemctl start fulcrum-guard"),
            one(
                Area::Certificates,
                Health::Warning,
                "apiserver.crt ends in 3 days",
                "kubeadm certs renew all",
            ),
            one(Area::Lock, Health::Unknown, "the API does not answer", ""),
        ]
    }

    /// What a script reads never changes, but for new fields.
    #[test]
    fn the_json_of_an_examination_is_golden() {
        let written = serde_json::to_string_pretty(&view(&findings())).unwrap();
        assert_eq!(written.trim(), include_str!("../../tests/golden/doctor.json").trim(), "{written}");
    }

    #[test]
    fn the_screen_of_an_examination_is_golden() {
        let shown = text(&findings());
        assert_eq!(shown.trim(), include_str!("../../tests/golden/doctor.txt").trim(), "{shown}");
    }
}
