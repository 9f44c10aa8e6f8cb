//! Turns a kubeadm static-pod manifest into a DaemonSet, without any I/O.
//!
//! This module reads what the kubelet reads ([`StaticPod`]). It makes a value ([`StaticPod::daemonset`]) or
//! the bytes of a file ([`StaticPod::with_port_sharing`], [`StaticPod::bridge`]). Other modules read files,
//! write them and ask the cluster.

mod alike;
mod bridge;
mod changes;
mod command_line;
mod companions;
mod compare;
mod daemonset;
mod error;
mod fields;
mod found;
mod glance;
mod handlers;
mod in_secrets;
mod kind;
mod listening;
mod own_address;
mod program;
mod quantity;
mod references;
mod roll_out;
mod standby;
mod started;
mod static_pod;
mod template_change;
mod typed;
mod variables;
mod words;
mod yaml;

#[cfg(test)]
mod tests;

pub use alike::alike;
pub use bridge::BRIDGE;
pub use changes::{Change, changes};
pub use companions::Companion;
pub use compare::{Difference, as_created, same_spec};
pub use daemonset::{CRITICAL, SELECTOR_LABEL, Target};
pub use error::ManifestError;
pub use fields::FieldChange;
pub(crate) use fields::name_of as entry_name;
pub use found::static_of;
pub use glance::{Glance, glance};
pub use handlers::HealthProbe;
pub use in_secrets::{CERTIFICATE, InSecrets, KEY, NotInSecrets, SecretFile};
pub use quantity::nanos;
pub use references::api_reference;
pub(crate) use roll_out::is_some_pods;
pub use roll_out::{NoRollOut, can_roll_out, is_through};
pub use standby::{StandbyError, standby_of};
pub use started::Started;
pub use static_pod::{Advertised, StaticPod};
pub use template_change::{Stands, TemplateChange};
pub use typed::typed_pod;
pub use variables::expanded;
pub(crate) use words::container_of;
pub use words::{FlagChange, Words, WordsError};
pub use yaml::read_as_the_kubelet;
