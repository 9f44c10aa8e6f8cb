//! A fleet of 200 devices is brought to a version, ten at a time: each device is a run of its own.
//!
//! ```text
//! cargo run -p fulcrum-engine --example fleet -- /tmp/fleet 2        # bring the fleet to version 2
//! kill -9 it halfway, and run the same line again: it goes on where it was
//! cargo run -p fulcrum-engine --example fleet -- /tmp/fleet undo 2   # back to the version before
//! cargo run -p fulcrum-engine --example fleet -- /tmp/fleet 3 137    # device 137 fails: all go back
//! ```
//!
//! A device is a file with its version. Its run has two steps: `install` the version, `verify` that the device
//! works with it.

#![expect(clippy::print_stdout, reason = "it is a program that talks to a person")]

use fulcrum_engine::state::{Journal, RunId, Timestamp, fsync};
use fulcrum_engine::{
    ChildRun, ClosureStep, Engine, Event, Observer, Phase, Plan, ProbeResult, Session, StepError, StepSpec,
    Steps, step,
};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const DEVICES: u32 = 200;
const AT_ONCE: usize = 10;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let usage = "usage: fleet DIRECTORY VERSION [DEVICE THAT FAILS] | fleet DIRECTORY undo VERSION";
    let [root, words @ ..] = args.as_slice() else { return Err(usage.into()) };
    let root = PathBuf::from(root);
    make_fleet(&root)?;
    let journal = Journal::open(root.join("journal"), "fleet")?;
    let session = Session::current("fleet 1")?;
    let devices = Engine::new(journal.clone(), Steps::new().with(install()).with(verify()), session.clone());
    let device = ChildRun::new(devices, |cx| device_plan(&cx.args()?));
    let fleet = Engine::new(journal, Steps::new().with_step("device", device), session)
        .parallelism(AT_ONCE)
        .observer(Arc::new(Printer));
    let ending = match words {
        [undo, version] if undo == "undo" => {
            fleet.roll_back(Engine::run_of(&key(version.parse()?)), "undo was asked for").await?
        }
        [version, broken @ ..] => {
            let broken: Option<u32> = broken.first().map(|device| device.parse()).transpose()?;
            let version = version.parse()?;
            fleet.run_or_resume(&key(version), fleet_plan(&root, version, broken)?).await?
        }
        [] => return Err(usage.into()),
    };
    println!("{}", ending.phase);
    if let Phase::Ended(_, reason) = &ending.phase {
        println!("{reason}");
    }
    Ok(())
}

fn key(version: u32) -> String {
    format!("version {version}")
}

/// What a device is brought to.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Update {
    device: PathBuf,
    version: u32,
    broken: bool,
}

fn fleet_plan(root: &Path, version: u32, broken: Option<u32>) -> Result<Plan, Box<dyn Error>> {
    let device = |n: u32| {
        let update = Update { device: root.join(format!("device-{n}")), version, broken: broken == Some(n) };
        StepSpec::with_args(format!("device/{n}"), &update)
    };
    Ok(Plan::new("fleet", (1..=DEVICES).map(device).collect::<Result<_, _>>()?)?)
}

fn device_plan(update: &Update) -> Result<Plan, StepError> {
    let step = |name: &str| StepSpec::with_args(name, update).map_err(StepError::fatal);
    let steps = vec![step("install")?, step("verify")?.after(["install"])];
    Plan::new("device", steps).map_err(StepError::fatal)
}

fn make_fleet(root: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(root)?;
    for n in 1..=DEVICES {
        let device = root.join(format!("device-{n}"));
        if !device.exists() {
            fs::write(device, "1")?;
        }
    }
    Ok(())
}

fn install() -> ClosureStep {
    step("install")
        .save(|cx| async move { Ok(fs::read(cx.args::<Update>()?.device)?) })
        .run(|cx| async move {
            let update: Update = cx.args()?;
            tokio::time::sleep(Duration::from_millis(20)).await; // Time to kill it.
            fsync::write_atomic(&update.device, update.version.to_string().as_bytes(), None, None)?;
            Ok(())
        })
        .probe(|cx| async move {
            let update: Update = cx.args()?;
            let there = fs::read_to_string(&update.device)? == update.version.to_string();
            Ok(if there { ProbeResult::Done } else { ProbeResult::Absent })
        })
        .undo(|cx| async move {
            if let Some(before) = cx.pre_image() {
                fsync::write_atomic(&cx.args::<Update>()?.device, before, None, None)?;
            }
            Ok(())
        })
}

/// It changes nothing: there is nothing to undo, and verifying again is as good.
fn verify() -> ClosureStep {
    step("verify").run(|cx| async move {
        let update: Update = cx.args()?;
        match update.broken {
            true => Err(StepError::fatal(format!("{} does not answer", update.device.display()))),
            false => Ok(()),
        }
    })
}

struct Printer;

impl Observer for Printer {
    fn event(&self, _run: RunId, _time: Timestamp, event: &Event) {
        match event {
            Event::Resumed { .. } => println!("taken up"),
            Event::AttemptDone { step, .. } => println!("{step} is updated"),
            Event::UndoDone { step, .. } => println!("{step} is as before"),
            _ => {}
        }
    }
}
