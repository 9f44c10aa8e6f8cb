//! The quick start of the crate's page, word for word.
//!
//! ```text
//! cargo run -p fulcrum-engine --example quick_start          # again: nothing is done twice
//! cargo run -p fulcrum-engine --example quick_start -- undo
//! ```

#![expect(clippy::print_stdout, reason = "it is a program that talks to a person")]

use fulcrum_engine::state::Journal;
use fulcrum_engine::{ClosureStep, Engine, Plan, ProbeResult, Session, StepSpec, Steps, step};
use std::{error::Error, fs, path::PathBuf};

fn make_dir() -> ClosureStep {
    step("make-dir")
        .run(|cx| async move {
            let dir: PathBuf = cx.args()?;
            fs::create_dir_all(&dir)?; // An I/O error is tried again.
            Ok(dir) // The journal keeps it for later steps.
        })
        .probe(|cx| async move {
            let there = cx.args::<PathBuf>()?.is_dir();
            Ok(if there { ProbeResult::Done } else { ProbeResult::Absent })
        })
        .undo(|cx| async move {
            let dir: PathBuf = cx.args()?;
            if dir.exists() {
                fs::remove_dir(dir)?;
            }
            Ok(())
        })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let site = StepSpec::with_args("make-dir/site", &"target/quick-start/site")?;
    let images = StepSpec::with_args("make-dir/images", &"target/quick-start/site/images")?;
    let plan = Plan::new("set-up", vec![site, images.after(["make-dir/site"])])?;

    let journal = Journal::open("target/quick-start/journal", "quick start")?;
    let steps = Steps::new().with(make_dir());
    let engine = Engine::new(journal, steps, Session::current("quick-start 1")?);
    let ending = match std::env::args().nth(1).as_deref() {
        Some("undo") => engine.roll_back(Engine::run_of("site 1"), "asked for").await?,
        _ => engine.run_or_resume("site 1", plan).await?,
    };
    println!("{}", ending.phase);
    Ok(())
}
