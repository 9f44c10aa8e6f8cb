//! The work of a child: the run, with the real steps and engine, until it is at its point.

use super::child::{AT_ITS_POINT, Change, GO_ON, Orders, PAUSE, Verb};
use super::error::RehearsalError;
use super::point::{Point, When};
use super::simulated_site::{last_pivot, last_run, sealed_engine, sealer, settings_of, site};
use crate::Simulator;
use async_trait::async_trait;
use fulcrum_engine::Control;
use fulcrum_engine::state::{Journal, RunId, Timestamp};
use fulcrum_engine::{
    Context, Event, Observer, Outcome, PauseCause, ProbeResult, Step, StepError, StepId, StepRegistry,
    StepSpec,
};
use fulcrum_evidence::seal::Stage;
use fulcrum_steps::cluster::{Cluster, EtcdDoor};
use fulcrum_steps::plan;
use fulcrum_steps::run_info::{LockPurpose, RollbackMode, SessionRole};
use fulcrum_steps::settings::Settings;
use fulcrum_steps::step::library;
use kube::Client;
use serde_json::Value;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Carries out orders, for the hidden command that [`super::SimulatedSite::inject_fault`] starts.
///
/// # Errors
/// When the orders cannot be carried out, or the run ends as one that needs a person.
pub async fn run_child(orders: &str) -> Result<(), RehearsalError> {
    let orders: Orders = serde_json::from_str(orders)?;
    let (client, host) = Simulator::connect(orders.api)?;
    let journal = Journal::open(&orders.state_dir, LockPurpose::RehearsalChild.text())?;
    // A change follows the pivot. What is taken up is the last run that a person has begun.
    let run = match orders.verb {
        Verb::Change => last_pivot(&journal)?,
        _ => last_run(&journal)?,
    };
    let none = || RehearsalError::Child("there is no run to take up".to_owned());
    let settings = match (orders.settings, &orders.change) {
        (Some(settings), _) => settings,
        (None, Some(Change::Adopt(settings, _))) => Settings::clone(settings),
        (None, _) => settings_of(&journal, run.ok_or_else(none)?)?,
    };
    // What changes a pivoted control plane names its pivot.
    let of_pivot = if orders.verb == Verb::Change { run } else { settings.of_pivot };
    let settings = Settings { of_pivot, ..settings };
    let cluster = Cluster::new(client).with_etcd(to_etcd(orders.api));
    let site = site(settings.clone(), cluster, Arc::clone(&host), &orders.state_dir)?;
    site.mend_redirect().await?;
    let gate = Arc::new(Gate::new(orders.point, told()));
    let site = Arc::new(site);
    let steps = gated(library(Arc::clone(&site)), &gate);
    let signing = Arc::clone(&gate);
    let sealer = sealer(&site).watched(Arc::new(move |stage| signing.signing(stage)));
    let engine = sealed_engine(&journal, &site, steps, SessionRole::Command, sealer).await?;
    let engine = engine.observer(Arc::clone(&gate) as _);
    // Set once, before any step runs.
    let _ = gate.control.set(engine.control());
    let ending = match (orders.verb, run) {
        (Verb::Change, None) => match orders.change {
            Some(Change::Adopt(_, found)) => {
                engine.start(plan::adopt(&settings, &found, super::SOON)?).await?
            }
            _ => return Err(none()),
        },
        (Verb::Change, Some(pivot)) => {
            let change =
                orders.change.ok_or_else(|| RehearsalError::Child("there is no change".to_owned()))?;
            engine.start(change.plan(&settings, pivot)?).await?
        }
        (Verb::Pivot, _) => engine.start(plan::pivot(&settings, super::SOON)?).await?,
        (Verb::Resume, Some(run)) => engine.resume(run).await?,
        (Verb::Rollback, Some(run)) => engine.roll_back(run, RollbackMode::Exact.asked_for()).await?,
        (_, None) => return Err(none()),
    };
    match super::tour::outcome(&ending) {
        Some(Outcome::NeedsOperator) => Err(RehearsalError::Ended(super::tour::reason(&ending))),
        _ => Ok(()),
    }
}

/// What makes clients of etcd's members, as the parent's machine reaches them.
fn to_etcd(api: SocketAddr) -> impl Fn(&EtcdDoor, &str) -> Result<Client, String> {
    move |_, url| {
        let address = url.split_once("://").and_then(|(_, address)| address.parse().ok());
        let address = address.ok_or_else(|| format!("{url} is no address"))?;
        Simulator::connect_to(api, address).map_err(|error| error.to_string())
    }
}

/// The parent's words, line by line. When its words end, the parent has gone, and its cluster with it. Then
/// this process ends.
fn told() -> Receiver<String> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                break;
            }
        }
        std::process::exit(1);
    });
    told
}

/// Stops this process at its point, once, until it is told to go on.
struct Gate {
    point: Option<Point>,
    passed: AtomicBool,
    told: Mutex<Receiver<String>>,
    control: OnceLock<Control>,
}

impl Gate {
    fn new(point: Option<Point>, told: Receiver<String>) -> Self {
        let (passed, told, control) = (AtomicBool::new(false), Mutex::new(told), OnceLock::new());
        Self { point, passed, told, control }
    }

    fn effect(&self, step: &StepId, when: When) {
        if self.point.as_ref().is_some_and(|point| point.step == *step && point.when == when) {
            self.stop();
        }
    }

    fn signing(&self, stage: Stage) {
        if self.point.as_ref().is_some_and(|point| point.is_stage(stage)) {
            self.stop();
        }
    }

    /// Blocks, like a process that stands still and will be killed. Its other threads may go on meanwhile.
    fn stop(&self) {
        if self.passed.swap(true, Ordering::SeqCst) {
            return;
        }
        tokio::task::block_in_place(|| {
            let mut stdout = std::io::stdout().lock();
            let said = writeln!(stdout, "{AT_ITS_POINT}").and_then(|()| stdout.flush());
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            match (said, told.recv().as_deref(), self.control.get()) {
                (Ok(()), Ok(GO_ON), _) => {}
                (Ok(()), Ok(PAUSE), Some(control)) => {
                    control.pause("asked to, while the API is away", PauseCause::Person);
                }
                _ => std::process::exit(1),
            }
        });
    }
}

impl Observer for Gate {
    fn event(&self, _run: RunId, _time: Timestamp, event: &Event) {
        if self.point.as_ref().is_some_and(|point| point.is(event)) {
            self.stop();
        }
    }
}

/// These steps, each with the gate behind its effect.
fn gated(steps: impl StepRegistry + 'static, gate: &Arc<Gate>) -> Arc<dyn StepRegistry> {
    let gate = Arc::clone(gate);
    Arc::new(move |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
        Ok(Arc::new(Gated { step: steps.step(spec)?, gate: Arc::clone(&gate) }))
    })
}

struct Gated {
    step: Arc<dyn Step>,
    gate: Arc<Gate>,
}

#[async_trait]
impl Step for Gated {
    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        self.step.probe(cx).await
    }

    async fn output(&self, cx: &Context) -> Result<Value, StepError> {
        self.step.output(cx).await
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let value = self.step.run(cx).await?;
        self.gate.effect(cx.step(), When::Effect);
        Ok(value)
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        self.step.undo(cx).await?;
        self.gate.effect(cx.step(), When::UndoEffect);
        Ok(())
    }

    fn saves(&self) -> bool {
        self.step.saves()
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        self.step.save(cx).await
    }
}
