//! The names that fulcrum gives to things in the cluster, and the names of Kubernetes that it relies on.

/// The namespace of the control plane.
pub const NAMESPACE: &str = "kube-system";
/// The label that a node needs, beside its role, to run the self-hosted control plane. Without it a DaemonSet
/// made on the first of three nodes would start crash-looping pods on the other two.
pub(crate) const OPT_IN_LABEL: &str = "fulcrum.dev/self-hosted";
/// On each DaemonSet: the run that made it. A DaemonSet without it is not fulcrum's to delete.
pub(crate) const RUN_ANNOTATION: &str = "fulcrum.dev/run";
/// On each DaemonSet: the head of the run's journal when `record-head` recorded it.
pub const AUDIT_HEAD_ANNOTATION: &str = "fulcrum.dev/audit-head";
/// On a DaemonSet's pod template: the certificates for which its pods were started. A renewal changes it, and
/// nothing else reads it.
pub(crate) const CERTIFICATES_ANNOTATION: &str = "fulcrum.dev/certificates";
/// On a DaemonSet: when its controller was last made to look at it again. Nothing reads it.
pub(crate) const LOOK_AGAIN_ANNOTATION: &str = "fulcrum.dev/look-again";
/// The Lease that lets one run at a time touch the cluster's control plane.
pub const LOCK_LEASE: &str = "fulcrum";
/// The ConfigMap with the roll call: what each node is and has signed, one key for each.
pub const ROLL_CALL_CONFIG_MAP: &str = "fulcrum";
/// The role label of control-plane nodes, which kubeadm sets since 1.20 and relies on since 1.24.
pub const ROLE_LABEL: &str = "node-role.kubernetes.io/control-plane";
/// The role label of earlier releases.
pub const ROLE_LABEL_BEFORE_1_24: &str = "node-role.kubernetes.io/master";
