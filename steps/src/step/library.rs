//! From a step's spec to the step.

use super::announce::Announce;
use super::archive::Archive;
use super::arm_guard::ArmGuard;
use super::await_ready::AwaitReady;
use super::bridge::Bridge;
use super::create_daemonset::CreateDaemonset;
use super::keep_line_up::KeepLineUp;
use super::label_node::LabelNode;
use super::line_up::LineUp;
use super::lock::TakeLock;
use super::preflight::Preflight;
use super::redirect::RedirectStep;
use super::renew_standby::RenewStandby;
use super::restore_static::RestoreStatic;
use super::retire_static::RetireStatic;
use super::seal::Seal;
use super::share_live::ShareLive;
use super::share_port::SharePort;
use super::stand_in::StandIn;
use super::switch::Switch;
use super::vacate_port::VacatePort;
use super::verify::Verify;
use crate::component::Component;
use crate::site::Site;
use fulcrum_engine::{Step, StepRegistry, StepSpec};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a step does: the `args` of its spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each job is described where its step is")]
pub enum Job {
    Preflight,
    Lock,
    Archive,
    LabelNode,
    SharePort { component: Component },
    ShareLive { component: Component },
    LineUp,
    CreateDaemonset { component: Component },
    AwaitReady { component: Component },
    Switch,
    Bridge { forward: Option<BridgeAct>, back: Option<BridgeAct> },
    Redirect { forward: Option<RedirectAct>, back: Option<RedirectAct> },
    RestoreStatic { component: Component },
    VacatePort { component: Component },
    RetireStatic { component: Component },
    ArmGuard,
    RetireStandby { component: Component },
    StandIn { component: Component },
    Announce { why: String },
    RenewStandby { component: Component },
    KeepLineUp,
    Verify,
    Seal,
}

/// What a step does with the bridge, the API server on a second port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BridgeAct {
    /// Starts it and waits until it serves.
    Raise,
    /// Ends it, when it has nothing left to do.
    Lower,
}

/// What a step does with new connections to the API server's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RedirectAct {
    /// Sends them to the bridge.
    Begin,
    /// Lets them arrive where they were sent to.
    End,
}

/// The steps of a pivot, on `site`.
pub fn library(site: Arc<Site>) -> impl StepRegistry + 'static {
    move |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
        let job = serde_json::from_value(spec.args.clone()).map_err(|error| error.to_string())?;
        let site = Arc::clone(&site);
        Ok(match job {
            Job::Preflight => Arc::new(Preflight { site }),
            Job::Lock => Arc::new(TakeLock { site }),
            Job::Archive => Arc::new(Archive { site }),
            Job::LabelNode => Arc::new(LabelNode { site }),
            Job::SharePort { component } => Arc::new(SharePort { site, component }),
            Job::ShareLive { component } => Arc::new(ShareLive { site, component }),
            Job::LineUp => Arc::new(LineUp { site }),
            Job::Switch => Arc::new(Switch { site }),
            Job::Bridge { forward, back } => Arc::new(Bridge { site, forward, back }),
            Job::Redirect { forward, back } => Arc::new(RedirectStep { site, forward, back }),
            Job::RestoreStatic { component } => Arc::new(RestoreStatic { site, component }),
            Job::VacatePort { component } => Arc::new(VacatePort { site, component }),
            Job::KeepLineUp => Arc::new(KeepLineUp { site }),
            Job::CreateDaemonset { component } => Arc::new(CreateDaemonset { site, component }),
            Job::AwaitReady { component } => Arc::new(AwaitReady { site, component }),
            Job::RetireStatic { component } => Arc::new(RetireStatic { site, component, standby: false }),
            Job::RetireStandby { component } => Arc::new(RetireStatic { site, component, standby: true }),
            Job::ArmGuard => Arc::new(ArmGuard { site }),
            Job::StandIn { component } => Arc::new(StandIn { site, component }),
            Job::Announce { why } => Arc::new(Announce { site, why }),
            Job::RenewStandby { component } => Arc::new(RenewStandby { site, component }),
            Job::Verify => Arc::new(Verify { site }),
            Job::Seal => Arc::new(Seal { site }),
        })
    }
}
