//! `arm-guard`: installs the guard, which restores the control plane after a reboot, before anything is
//! changed, and proves that the guard finds what it needs. Undo: removes the guard, or makes its unit what it was
//! before.

use crate::cluster::files_of;
use crate::site::Site;
use crate::unit::{ArmError, Orders, Told, UnitImage, arm, disarm, image, installed, prove, restore};
use async_trait::async_trait;
use fulcrum_engine::{Context, ProbeResult, Step, StepError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

pub(super) struct ArmGuard {
    pub(super) site: Arc<Site>,
}

/// The guard before the run, from `fulcrum guard install`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Before {
    /// Whether there was one. Journals of version 0.1 say no more.
    There(bool),
    Unit(UnitImage),
}

impl ArmGuard {
    /// What it was told is what was told to the guard that is there.
    fn orders(&self) -> Result<Orders, ArmError> {
        let (units, settings) = (self.site.node.units.as_ref(), &self.site.settings);
        Orders::new(units, &self.site.state_dir, &settings.manifests_dir, Told::default())
    }

    /// The kubeconfig and what it names.
    fn reads(&self) -> Vec<PathBuf> {
        files_of(&self.site.settings.kubeconfig)
    }
}

#[async_trait]
impl Step for ArmGuard {
    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, _cx: &Context) -> Result<Vec<u8>, StepError> {
        let before = image(self.site.node.units.as_ref()).await?;
        Ok(serde_json::to_vec(&before.map_or(Before::There(false), Before::Unit))
            .map_err(StepError::fatal)?)
    }

    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        let (units, orders) = (self.site.node.units.as_ref(), self.orders()?);
        let seen = installed(units, &orders).await?;
        if seen.unit_file.is_none() {
            return Ok(ProbeResult::Absent);
        }
        if !(seen.current && seen.state.enabled && seen.state.active) {
            return Ok(ProbeResult::Partial("the guard is not installed, enabled and started".to_owned()));
        }
        Ok(match prove(units, &orders, &self.reads()).await {
            Ok(()) => ProbeResult::Done,
            Err(blind) => ProbeResult::Partial(blind.to_string()),
        })
    }

    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        match arm(self.site.node.units.as_ref(), &self.orders()?, &self.reads()).await {
            Ok(()) => Ok(json!({ "unit": crate::unit::UNIT })),
            // Another attempt would find it so, too.
            Err(blind @ ArmError::Blind(_)) => Err(StepError::fatal(blind.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let units = self.site.node.units.as_ref();
        match cx.pre_image().map(serde_json::from_slice).transpose().map_err(StepError::fatal)? {
            Some(Before::There(false)) => Ok(disarm(units).await?),
            Some(Before::Unit(before)) => Ok(restore(units, &before).await?),
            Some(Before::There(true)) | None => Ok(()), // Another owner's, or never begun.
        }
    }
}
