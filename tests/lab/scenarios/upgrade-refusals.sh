# an upgrade to a release that does not know what this one runs with, under load: the old server goes on, and the message has the name (by hand)
# shellcheck shell=bash

from=$LAB_VERSION next=$LAB_NEXT_VERSION
to=(--kubeadm "/opt/$next/kubeadm")
# A feature gate that may be set in this release, and is gone in the next.
declare -A gone=([v1.35]=HonorPVReclaimPolicy [v1.36]=SidecarContainers)
gate=${gone[${from%.*}]:-}
need check "a feature gate is known that goes after $from" test -n "$gate"

need fulcrum_ends 0 pivot --yes
need wait_until 'the pod is available' 60 available
need check "the images and the kubeadm of $next are on the node" bring "$next"
need fulcrum_ends 0 edit kube-apiserver --set "feature-gates=$gate=true" --yes
need wait_until 'only the new pod is left, and is Ready' 60 only_pod_runs "--feature-gates=$gate=true"

serving=$(api_pods .metadata.uid)
load_start
fulcrum_ends 4 upgrade apply "${to[@]}" --yes
check 'the message names the gate' grep -q "its log ends: .*$gate" "$ERR"
check "$from runs" runs "$from"
expect_eq 'the pod that served is the one that serves' "$serving" "$(api_pods .metadata.uid)"
need wait_until "only pods of $from are left" 120 only_release_pods "$from"
sleep 15 # connections that were made to another one are missed by then
load_stop 'a gate that is gone'
check_unharmed 'a gate that is gone'
check "kubeadm's configuration says $from" kubeadm_says "$from"

# Once it is taken out, the upgrade goes through.
load_start
need fulcrum_ends 0 edit kube-apiserver --unset feature-gates --yes
need fulcrum_ends 0 upgrade apply "${to[@]}" --yes
need wait_until "only pods of $next are left" 120 only_release_pods "$next"
sleep 15
load_stop 'without it'
check_unharmed 'without it'
