//! `fulcrum`: pivots a Kubernetes control plane from static pods to self-hosted DaemonSets, and back.
//!
//! Arguments in, words and exit codes out. `fulcrum-steps` does the work, `fulcrum-engine` makes it survive a
//! crash. stdout is data, stderr is talk.

mod api_watch;
mod args;
mod command;
mod editor;
mod env;
mod exit;
mod journal;
mod kubeadm;
mod pace;
mod plan_file;
mod render;
mod shell;
mod story;

use args::{Args, Command};
use clap::Parser;
use exit::{Exit, Failure};
use fulcrum_steps::host::enter_host;
use shell::Shell;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    args.refuse_what_does_not_fit();
    let shell = Shell::new(&args.global);
    match run(args, &shell) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            shell.failure(&failure);
            failure.exit.into()
        }
    }
}

fn run(mut args: Args, shell: &Shell) -> Result<Exit, Failure> {
    if let Command::OnHost(_) = &args.command {
        // Before any thread: the kernel moves a process that has one only.
        enter_host().map_err(|error| Failure::new(Exit::Refused, error))?;
    }
    // The guard, and a later command, take the journal up from another directory.
    args.global.state_dir = std::path::absolute(&args.global.state_dir)?;
    shell::start_log(&args.global, matches!(args.command, Command::Guard(_)));
    let runtime = match &args.command {
        // The guard rests nearly all the time, and should cost nearly nothing.
        Command::Guard(_) => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        // Many clusters at once. Their steps wait for the disk.
        Command::Rehearse(_) => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?
        }
        _ => tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?,
    };
    let exit = runtime.block_on(async {
        match args.command {
            Command::Pivot(pivot) => command::pivot(&args.global, &pivot, shell).await,
            Command::Completions { for_shell } => command::completions(for_shell, shell),
            Command::ManPages { dir } => command::man_pages(&dir, shell),
            Command::Doctor(doctor) => command::doctor(&args.global, &doctor, shell).await,
            Command::Certs(certs) => command::certs(&args.global, &certs, shell).await,
            Command::Adopt(adopt) => command::adopt(&args.global, &adopt, shell).await,
            Command::Edit(edit) => command::edit(&args.global, &edit, shell).await,
            Command::Upgrade(upgrade) => command::upgrade(&args.global, &upgrade, shell).await,
            Command::Plan(plan) => command::plan(&args.global, &plan, shell).await,
            Command::Preflight(preflight) => command::preflight(&args.global, &preflight, shell).await,
            Command::Resume(resume) => command::resume(&args.global, &resume, shell).await,
            Command::Rollback(rollback) => command::rollback(&args.global, &rollback, shell).await,
            Command::Guard(guard) => command::guard(&args.global, &guard, shell).await,
            Command::Status(status) => command::status(&args.global, &status, shell).await,
            Command::History(history) => command::history(&args.global, &history, shell).await,
            Command::Rehearse(rehearse) => command::rehearse(&rehearse, shell).await,
            Command::OnHost(on_host) => command::on_host(&on_host, shell).await,
            Command::RehearsalChild { orders } => command::rehearsal_child(&orders).await,
        }
    });
    // Work in flight must not hold up the exit: all that counts is in the journal.
    runtime.shutdown_background();
    exit
}
