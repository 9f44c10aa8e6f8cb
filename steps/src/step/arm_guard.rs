//! `arm-guard`: installs the guard, which restores the control plane after a reboot, before anything is
//! changed. Undo: removes the guard, unless it was there before.

use crate::site::Site;
use crate::unit::{HOLD_OFF, Orders, PATIENCE, arm, disarm, installed};
use async_trait::async_trait;
use fulcrum_engine::{Context, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct ArmGuard {
    pub(super) site: Arc<Site>,
}

impl ArmGuard {
    fn orders(&self) -> Orders {
        Orders {
            state_dir: self.site.state_dir.clone(),
            manifests_dir: self.site.settings.manifests_dir.clone(),
            patience: PATIENCE,
            hold_off: HOLD_OFF,
        }
    }
}

#[async_trait]
impl Step for ArmGuard {
    fn saves(&self) -> bool {
        true
    }

    /// Whether a guard was there before, from `fulcrum guard install`.
    async fn save(&self, _cx: &Context) -> Result<Vec<u8>, StepError> {
        let before = installed(self.site.node.units.as_ref(), &self.orders()).await?;
        Ok(serde_json::to_vec(&before.unit_file.is_some())?)
    }

    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        let seen = installed(self.site.node.units.as_ref(), &self.orders()).await?;
        Ok(match (&seen.unit_file, seen.current && seen.state.enabled && seen.state.active) {
            (None, _) => ProbeResult::Absent,
            (Some(_), true) => ProbeResult::Done,
            (Some(_), false) => {
                ProbeResult::Partial("the guard is not installed, enabled and started".to_owned())
            }
        })
    }

    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        arm(self.site.node.units.as_ref(), &self.orders()).await?;
        Ok(json!({ "unit": crate::unit::UNIT }))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        match cx.pre_image().map(serde_json::from_slice::<bool>).transpose()? {
            Some(false) => Ok(disarm(self.site.node.units.as_ref()).await?),
            _ => Ok(()), // Never begun, or another owner's.
        }
    }
}
