# the power is cut in the middle of an upgrade to the next release, and right after it (by hand)
# shellcheck shell=bash

next=$LAB_NEXT_VERSION
need fulcrum_ends 0 pivot --yes
need wait_until 'the pod is available' 60 available
need check "the images and the kubeadm of $next are on the node" bring "$next"

# The guard ends what was begun: when the new API server is asked for, and when the standby is the new one's.
for step in await-roll-out/kube-apiserver await-roll-out/kube-controller-manager; do
  hand_overs_from_now
  need cut_at "$step" upgrade apply --kubeadm "/opt/$next/kubeadm" --yes
  need wait_until "$step: the upgrade is brought to its end by the guard" 600 last_of upgrade completed
  need wait_until "$step: self-hosted again, without help" 420 self_hosted_again
  need wait_until "$step: only pods of $next are left" 240 only_release_pods "$next"
  need fulcrum_ends 0 upgrade rollback --yes
  need wait_until "only pods of $LAB_VERSION are left" 240 only_release_pods "$LAB_VERSION"
done

load_start
need fulcrum_ends 0 upgrade apply --kubeadm "/opt/$next/kubeadm" --yes
need fulcrum_ends 0 upgrade finalize --yes
need wait_until "only pods of $next are left" 120 only_release_pods "$next"
load_stop 'apply and finalize'
check_unharmed 'apply and finalize'
hand_overs_from_now
power_cut
need wait_until 'the API answers after a power cut' 240 says_ready
expect_eq 'an API server of the new release serves' "$next" "$(server_version)"
load_start
need wait_until 'self-hosted again, without help' 420 self_hosted_again
load_stop 'hand-over after a power cut'
check_unharmed 'hand-over after a power cut'
check 'the new release is what came back' only_release_pods "$next"
