//! Makes the step that a spec describes.

use super::announce::Announce;
use super::archive::Archive;
use super::arm_guard::ArmGuard;
use super::await_ready::AwaitReady;
use super::await_roll_out::AwaitRollOut;
use super::await_standbys::AwaitStandbys;
use super::bridge::Bridge;
use super::change_etcd::ChangeEtcd;
use super::create_daemonset::CreateDaemonset;
use super::create_secrets::CreateSecrets;
use super::edit_daemonset::EditDaemonset;
use super::fall_back::FallBack;
use super::forget_certs::ForgetCerts;
use super::job::Job;
use super::kubeadm_phase::RunPhase;
use super::label_node::LabelNode;
use super::lock::TakeLock;
use super::prefer_serving::PreferServing;
use super::prefer_static::PreferStatic;
use super::preflight::Preflight;
use super::prove_certs::ProveCerts;
use super::record_head::RecordHead;
use super::recorded::Recorded;
use super::redirect::RedirectStep;
use super::remove_daemonset::RemoveDaemonset;
use super::renew_certs::RenewCerts;
use super::renew_standby::RenewStandby;
use super::restore_static::RestoreStatic;
use super::retire_static::RetireStatic;
use super::roll_certs::{PrepareRollCerts, RollCerts};
use super::share_live::ShareLive;
use super::share_port::SharePort;
use super::snapshot_etcd::SnapshotEtcd;
use super::start_static::StartStatic;
use super::switch::Switch;
use super::update_secrets::{PrepareUpdateSecrets, UpdateSecrets};
use super::upload_config::UploadConfig;
use super::vacate_port::VacatePort;
use super::verify::Verify;
use super::verify_static::VerifyStatic;
use crate::component::Component;
use crate::manifest::TemplateChange::{self, Fields, Words};
use crate::site::Site;
use fulcrum_engine::{Step, StepRegistry, StepSpec};
use std::sync::Arc;

fn edit(site: Arc<Site>, component: Component, change: TemplateChange) -> Arc<dyn Step> {
    Arc::new(EditDaemonset { site, component, change })
}

/// The steps of a pivot, on `site`.
pub fn library(site: Arc<Site>) -> impl StepRegistry + 'static {
    move |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
        let job = serde_json::from_value(spec.args.clone()).map_err(|error| error.to_string())?;
        let site = Arc::clone(&site);
        let step: Arc<dyn Step> = match job {
            Job::Preflight => Arc::new(Preflight { site }),
            Job::Lock => Arc::new(TakeLock { site, checks: true }),
            Job::LockFound => Arc::new(TakeLock { site, checks: false }),
            Job::Archive => Arc::new(Archive { site }),
            Job::LabelNode => Arc::new(LabelNode { site }),
            Job::SharePort { component } => Arc::new(SharePort { site, component }),
            Job::ShareLive { component } => Arc::new(ShareLive { site, component }),
            Job::PreferStatic => Arc::new(PreferStatic { site }),
            Job::Switch => Arc::new(Switch { site }),
            Job::Bridge { forward, back } => Arc::new(Bridge { site, forward, back }),
            Job::Redirect { forward, back } => Arc::new(RedirectStep { site, forward, back }),
            Job::RestoreStatic { component } => Arc::new(RestoreStatic { site, component }),
            Job::VacatePort { component } => Arc::new(VacatePort { site, component }),
            Job::PreferServing => Arc::new(PreferServing { site }),
            Job::CreateSecrets => Arc::new(CreateSecrets { site }),
            Job::CreateDaemonset { component } => Arc::new(CreateDaemonset { site, component }),
            Job::AwaitReady { component } => Arc::new(AwaitReady { site, component }),
            Job::RetireStatic { component } => Arc::new(RetireStatic { site, component, standby: false }),
            Job::RetireStandby { component } => Arc::new(RetireStatic { site, component, standby: true }),
            Job::ArmGuard => Arc::new(ArmGuard { site }),
            Job::FallBack { component } => Arc::new(FallBack { site, component }),
            Job::Announce { why } => Arc::new(Announce { site, why }),
            Job::RenewStandby { component } => Arc::new(RenewStandby { site, component }),
            Job::EditDaemonset { component, was, words } => edit(site, component, Words { was, words }),
            Job::ChangeDaemonset { component, fields } => edit(site, component, Fields(fields)),
            Job::AwaitRollOut { component, shadow } => Arc::new(AwaitRollOut { site, component, shadow }),
            Job::AwaitStandbys { component } => Arc::new(AwaitStandbys { site, component }),
            Job::UploadConfig { from, to } => Arc::new(UploadConfig { site, from, to }),
            Job::KubeadmPhase(call) => Arc::new(RunPhase { site, call }),
            Job::SnapshotEtcd(change) => Arc::new(SnapshotEtcd { site, change }),
            Job::ChangeEtcd(change) => Arc::new(ChangeEtcd { site, change }),
            Job::PrepareRollCerts { component } => Arc::new(PrepareRollCerts { site, component }),
            Job::RenewCerts { name } => Arc::new(RenewCerts { site, name }),
            Job::PrepareUpdateSecrets => Arc::new(PrepareUpdateSecrets { site }),
            Job::UpdateSecrets => Arc::new(UpdateSecrets { site }),
            Job::RollCerts { component, names } => Arc::new(RollCerts { site, component, names }),
            Job::ProveCerts { names } => Arc::new(ProveCerts { site, names }),
            Job::ForgetCerts => Arc::new(ForgetCerts { site }),
            Job::Verify { only } => Arc::new(Verify { site, only }),
            Job::RecordHead => Arc::new(RecordHead { site, annotates: true }),
            Job::StartStatic { component, manifest, shares } => {
                Arc::new(StartStatic { site, component, manifest, shares })
            }
            Job::RemoveDaemonset { component, uid, shares, labelled } => {
                Arc::new(RemoveDaemonset { site, component, uid, shares, labelled })
            }
            Job::VerifyStatic => Arc::new(VerifyStatic { site }),
            Job::LetGo => Arc::new(RecordHead { site, annotates: false }),
        };
        Ok(Arc::new(Recorded(step)))
    }
}
