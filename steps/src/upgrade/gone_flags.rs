//! The flags that a minor release does not know any more. Data, and one look into it.
//!
//! A list of what goes, not one of what each release knows: a flag that no list has may be a vendor's, and refuses
//! nothing. What is missing here ends the new pod, and the upgrade is taken back.
//!
//! Sources: what the components register in k8s.io/kubernetes (`cmd/kube-*/app`, `pkg/kubeapiserver/options`,
//! `pkg/controlplane/apiserver/options`), k8s.io/apiserver (`pkg/server/options`), k8s.io/controller-manager,
//! k8s.io/cloud-provider and k8s.io/component-base, from one minor release to the next, 1.20 to 1.37; and the changelogs. The
//! number after a row is the pull request in kubernetes/kubernetes, where its changelog names one.

use crate::component::Component;

/// Components, the minor release that does not know the flags any more, and the flags, separated by spaces.
type Row = (&'static [Component], u32, &'static str);

const API: &[Component] = &[Component::ApiServer];
const MANAGER: &[Component] = &[Component::ControllerManager];
const SCHEDULER: &[Component] = &[Component::Scheduler];

/// By release. 1.21, 1.29, 1.30, 1.32 and 1.34 to 1.36 took none away.
const GONE: [Row; 21] = [
    (API, 22, "kubelet-https ssh-keyfile ssh-user"), // 102297
    (MANAGER, 22, "horizontal-pod-autoscaler-use-rest-clients"), // 90368
    (SCHEDULER, 22, "algorithm-provider hard-pod-affinity-symmetric-weight scheduler-name"), // 102239, 102805
    // 105424
    (
        SCHEDULER,
        23,
        "policy-config-file policy-configmap policy-configmap-namespace use-legacy-policy-config",
    ),
    (API, 24, "address insecure-bind-address insecure-port port"), // 106859
    (API, 24, "deserialization-cache-size enable-swagger-ui target-ram-mb"), // 108448, 108457
    (API, 24, "experimental-encryption-provider-config"),          // 108423
    (MANAGER, 24, "address deployment-controller-sync-period port"), // 106860, 107178
    (SCHEDULER, 24, "address port"),                               // 106865
    (&Component::ALL, 24, "experimental-logging-sanitization"),
    (API, 25, "service-account-api-audiences"), // 108624
    // 108476, 109612
    (
        MANAGER,
        25,
        "deleting-pods-burst deleting-pods-qps experimental-cluster-signing-duration register-retry-count",
    ),
    (API, 26, "identity-lease-duration-seconds identity-lease-renew-interval-seconds"),
    // 112120: of klog's own flags, `v` and `vmodule` are left.
    (
        &Component::ALL,
        26,
        "add-dir-header alsologtostderr log-backtrace-at log-dir log-file log-file-max-size logtostderr one-output \
         skip-headers skip-log-headers stderrthreshold",
    ),
    (API, 27, "master-service-namespace"),                      // 114446
    (MANAGER, 27, "enable-taint-manager pod-eviction-timeout"), // 115840
    (SCHEDULER, 28, "lock-object-name lock-object-namespace"),  // 119130
    // 124017, 124948. Those of Google's load balancers went with the cloud providers in the tree.
    (
        MANAGER,
        31,
        "cloud-provider-gce-lb-src-cidrs horizontal-pod-autoscaler-downscale-delay \
         horizontal-pod-autoscaler-upscale-delay volume-host-allow-local-loopback volume-host-cidr-denylist",
    ),
    (API, 31, "cloud-provider-gce-l7lb-src-cidrs cloud-provider-gce-lb-src-cidrs"),
    (API, 33, "cloud-config cloud-provider"),  // 130162
    (MANAGER, 37, "concurrent-service-syncs"), // 138002
];

/// Whether a component of the minor release `to` does not know the flag any more: the flag as it is written here, and the
/// first release without it.
pub(super) fn gone_since(component: Component, to: u32, name: &str) -> Option<(&'static str, u32)> {
    let rows = GONE.iter().filter(|(of, since, _)| of.contains(&component) && to >= *since);
    let found = rows.flat_map(|(_, since, flags)| flags.split(' ').map(move |flag| (flag, *since)));
    found.into_iter().find(|(flag, _)| *flag == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row by name: of its component, in its release and later, and in no earlier one.
    #[test]
    fn every_flag_goes_in_its_release_and_from_its_component() {
        for (components, since, flags) in GONE {
            for (component, flag) in
                components.iter().flat_map(|one| flags.split(' ').map(move |flag| (*one, flag)))
            {
                assert!(
                    !flag.is_empty()
                        && flag.chars().all(|c| c == '-' || c.is_ascii_lowercase() || c.is_ascii_digit())
                );
                assert_eq!(gone_since(component, since, flag), Some((flag, since)), "{component} --{flag}");
                assert_eq!(gone_since(component, 99, flag), Some((flag, since)), "{component} --{flag}");
                assert_eq!(
                    gone_since(component, since - 1, flag),
                    None,
                    "{component} --{flag} before 1.{since}"
                );
            }
        }
        for (component, flag) in [
            (Component::Scheduler, "cloud-config"),
            (Component::ApiServer, "v"),
            (Component::ApiServer, "mine"),
        ] {
            assert_eq!(gone_since(component, 99, flag), None, "{component} --{flag}");
        }
    }
}
