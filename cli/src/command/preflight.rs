//! `fulcrum preflight`: every check that a pivot begins with, and what each has found.

use super::refused::refuse;
use crate::args::{Global, Preflight, Wishes};
use crate::env::access;
use crate::exit::{Exit, Failure};
use crate::journal::{read_journal, refuse_unfinished};
use crate::render::show_preflight;
use crate::shell::Shell;
use fulcrum_steps::check::{Check, Ignored};
use fulcrum_steps::cluster::Cluster;
use fulcrum_steps::host::{Host, ManifestsDir, Node, Systemd};
use fulcrum_steps::preflight::{
    CheckResult, Known, Level, PreflightInput, Report, complete, find_manifests, preflight as make_checks,
    preflight_disk,
};
use fulcrum_steps::run_info::LockPurpose;
use std::sync::Arc;

/// The page of all checks, as it is in the documentation.
const PAGE: &str = include_str!("../../../docs/checks.md");

pub(crate) async fn preflight(global: &Global, args: &Preflight, shell: &Shell) -> Result<Exit, Failure> {
    if let Some(check) = args.explain {
        shell.data(section(PAGE, check));
        return Ok(Exit::Done);
    }
    ignored(&args.wishes)?;
    let mut results = vec![root_check(), journal_check(global)];
    let mut node = None;
    match access(&args.wishes.place.kubeconfig).await {
        Ok((access, host)) => {
            let input = input(global, &args.wishes, access.cluster, host)?;
            match make_checks(&input).await {
                Ok(report) => {
                    results.extend(report.results);
                    node = Some(report.settings.node);
                }
                Err(refused) => results.extend(refused.results),
            }
        }
        Err(failure) => results.extend(without_a_cluster(&args.wishes, &failure)?),
    }
    show_preflight(node.as_deref(), &results, shell);
    let refused = results.iter().any(|result| result.level == Level::Refuse);
    Ok(if refused { Exit::Refused } else { Exit::Done })
}

/// Makes the checks for a command that goes on only if none refuses.
pub(super) async fn check(
    global: &Global,
    wishes: &Wishes,
    cluster: Cluster,
    host: Arc<dyn Host>,
    shell: &Shell,
) -> Result<Report, Failure> {
    make_checks(&input(global, wishes, cluster, host)?).await.map_err(|refused| refuse(refused, shell))
}

pub(super) fn input(
    global: &Global,
    wishes: &Wishes,
    cluster: Cluster,
    host: Arc<dyn Host>,
) -> Result<PreflightInput, Failure> {
    // Absolute: a later command may take the run up from another directory.
    let manifests = ManifestsDir::new(std::path::absolute(&wishes.place.manifests_dir)?);
    Ok(PreflightInput {
        node: Node { manifests, host, units: Arc::new(Systemd::default()) },
        cluster,
        state_dir: global.state_dir.clone(),
        kubeconfig: std::path::absolute(&wishes.place.kubeconfig)?,
        node_name: wishes.node_name.clone(),
        handover: wishes.handover.into(),
        soak: wishes.soak,
        max_latency: wishes.max_latency,
        guard: !wishes.no_guard,
        on_reboot: wishes.on_reboot.into(),
        ignored: ignored(wishes)?,
        store_certs_in_secrets: wishes.store_certs_in_secrets,
        take_lock: wishes.lock.take_lock,
    })
}

pub(super) fn ignored(wishes: &Wishes) -> Result<Ignored, Failure> {
    let names = wishes.ignore_preflight_errors.iter().map(String::as_str);
    Ignored::of(names).map_err(|error| Failure::refused(format!("--ignore-preflight-errors: {error}")))
}

/// What can be checked without a client of the API: the files.
fn without_a_cluster(wishes: &Wishes, failure: &Failure) -> Result<Vec<CheckResult>, Failure> {
    let manifests = find_manifests(ManifestsDir::new(std::path::absolute(&wishes.place.manifests_dir)?));
    let disk = preflight_disk(&manifests);
    let known = Known { manifests: disk.is_ok(), cluster: false };
    let mut results = disk.unwrap_or_else(|refused| refused.results);
    let remedy = "name the kubeconfig of a cluster administrator with --kubeconfig";
    results.push(CheckResult::refuse(Check::Api, format!("{:#}", failure.error), remedy));
    complete(&mut results, known);
    Ok(results)
}

fn root_check() -> CheckResult {
    match rustix::process::geteuid().is_root() {
        true => CheckResult::pass(Check::Root, "this is root"),
        false => CheckResult::refuse(Check::Root, "this is not root", "run it as root"),
    }
}

/// Whether a pivot could begin a run. Reading takes no lock.
fn journal_check(global: &Global) -> CheckResult {
    if !global.state_dir.exists() {
        return CheckResult::pass(Check::Journal, format!("{} is not there yet", global.state_dir.display()));
    }
    let looked =
        read_journal(&global.state_dir, LockPurpose::Status).and_then(|journal| refuse_unfinished(&journal));
    match looked {
        Ok(()) => CheckResult::pass(Check::Journal, "no run is unfinished"),
        Err(failure) => {
            let seen = format!("{:#}", failure.error);
            CheckResult::refuse(Check::Journal, seen, "`fulcrum status` says how the last run stands")
        }
    }
}

/// The check's section of the page.
fn section(page: &'static str, check: Check) -> &'static str {
    let heading = format!("## {check}\n");
    let section = page.find(&heading).map_or("", |start| &page[start..]);
    let end = section[1.min(section.len())..].find("\n## ").map_or(section.len(), |end| end + 1);
    section[..end].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page, its table and the code say one thing.
    #[test]
    fn every_check_has_a_section_and_a_row() {
        for check in Check::ALL {
            let text = section(PAGE, check);
            assert!(text.starts_with(&format!("## {check}\n")), "docs/checks.md has no section {check}");
            assert_eq!(text.matches("\n## ").count(), 0, "{text}");
            for part in ["\nWhat is checked: ", "\nWhat to do: "] {
                assert!(text.contains(part), "{check}: {part}");
            }
            let cell = if check.is_ignorable() { "yes" } else { "no" };
            let row = PAGE.lines().find(|line| line.starts_with(&format!("| [{check}](#{check}) |")));
            let row = row.unwrap_or_else(|| panic!("the table has no row {check}"));
            assert!(row.contains(check.why()), "{row}: {}", check.why());
            let refuses = if check.can_refuse() { "refuses" } else { "warns" };
            assert!(row.ends_with(&format!("| {refuses} | {cell} |")), "{row}");
        }
        let sections = PAGE.lines().filter(|line| line.starts_with("## ")).count();
        assert_eq!(sections, Check::ALL.len());
    }
}
