# an upgrade to the next release, finalized, and the power cut right after it (by hand)
# shellcheck shell=bash

next=$LAB_NEXT_VERSION
need fulcrum_ends 0 pivot --yes
need wait_until 'the pod is available' 60 available
need check "the images and the kubeadm of $next are on the node" bring "$next"
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
