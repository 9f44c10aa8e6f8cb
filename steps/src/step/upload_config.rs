//! `upload-config`: notes the release in kubeadm's configuration of the cluster, ConfigMap `kube-system/kubeadm-config`,
//! as kubeadm's phase of that name does. Nothing else in it changes. Undo: notes the release from before.
//!
//! What somebody else has noted meanwhile stays.

use crate::change;
use crate::cluster::CLUSTER_CONFIGURATION;
use crate::look::{answered, before_a_fallback};
use crate::site::Site;
use crate::upgrade::{noted_version, with_version};
use async_trait::async_trait;
use fulcrum_engine::{Context, Pending, ProbeResult, Step, StepError};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct UploadConfig {
    pub(super) site: Arc<Site>,
    /// What is noted when the run begins.
    pub(super) from: String,
    pub(super) to: String,
}

impl UploadConfig {
    async fn map(&self, cx: &Context) -> Result<Option<ConfigMap>, StepError> {
        let get = async || answered(self.site.cluster.kubeadm_config().await);
        cx.wait("the API, to read kubeadm's configuration", self.site.timeouts.poll, get).await
    }

    /// Writes `to` over `from`. What says something else stays. A conflict looks again.
    async fn note(&self, cx: &Context, from: &str, to: &str) -> Result<bool, StepError> {
        let what = "the API, to note the release in kubeadm's configuration";
        cx.wait(what, self.site.timeouts.poll, async || {
            let Some(map) = answered(self.site.cluster.kubeadm_config().await)? else { return Ok(false) };
            if text(&map).and_then(noted_version) != Some(from) {
                return Ok(false);
            }
            let mut wanted = map.clone();
            let now = text(&map).and_then(|text| with_version(text, to));
            if let (Some(data), Some(now)) = (wanted.data.as_mut(), now) {
                data.insert(CLUSTER_CONFIGURATION.to_owned(), now);
            }
            match self.site.cluster.replace_kubeadm_config(&wanted).await {
                Err(error) if error.is_conflict() => Err(Pending::NotYet(error.to_string())),
                other => {
                    change::record_object("ConfigMap", Some(&map), Some(&answered(other)?));
                    Ok(true)
                }
            }
        })
        .await
    }
}

#[async_trait]
impl Step for UploadConfig {
    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        let map = self.map(cx).await?;
        Ok(match map.as_ref().and_then(text).and_then(noted_version) {
            Some(noted) if noted == self.to => ProbeResult::Done,
            _ => ProbeResult::Absent,
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let noted = self.note(cx, &self.from, &self.to).await?;
        if !noted {
            cx.note("kubeadm's configuration of the cluster has been changed meanwhile, and stays as it is");
        }
        Ok(json!({ "from": self.from, "to": self.to, "noted": noted }))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let purpose = format!("to note {} in kubeadm's configuration", self.from);
        let back = self.note(cx, &self.to, &self.from);
        before_a_fallback(self.site.timeouts.api, &purpose, back).await.map(drop)
    }
}

fn text(map: &ConfigMap) -> Option<&str> {
    map.data.as_ref()?.get(CLUSTER_CONFIGURATION).map(String::as_str)
}
