# an upgrade to a release that does not take what this one runs with, under load: refused, or taken back by the roll-out (by hand)
# shellcheck shell=bash

from=$LAB_VERSION next=$LAB_NEXT_VERSION
to=(--kubeadm "/opt/$next/kubeadm")
# A feature gate that may be set in this release, and is gone in the next.
declare -A gone=([v1.35]=HonorPVReclaimPolicy [v1.36]=SidecarContainers)
gate=${gone[${from%.*}]:-}
# Gates that both releases know, and that the next one does not take together: the first depends on one that is off, and no table
# of fulcrum's has that.
declare -A apart=([v1.35]=UserNamespacesHostNetworkSupport=true [v1.36]='EventedPLEG=true,PLEGOnDemandRelist=false')
gates=${apart[${from%.*}]:-}
need check "a feature gate is known that goes after $from" test -n "$gate"
need check "and gates that the release after $from does not take together" test -n "$gates"

need fulcrum_ends 0 pivot --yes
need wait_until 'the pod is available' 60 available
need check "the images and the kubeadm of $next are on the node" bring "$next"

# A gate that is gone: nothing changes.
need fulcrum_ends 0 edit kube-apiserver --set "feature-gates=$gate=true" --yes
need wait_until 'only the new pod is left, and is Ready' 60 only_pod_runs "--feature-gates=$gate=true"
serving=$(api_pods .metadata.uid)
for command in plan 'apply --yes'; do
  # shellcheck disable=SC2086
  fulcrum_ends 3 upgrade $command "${to[@]}"
  check 'the message names the gate' grep -q "kube-apiserver would not start .* do not know $gate; .*edit kube-apiserver --unset feature-gates" "$ERR"
done
expect_eq 'no upgrade was begun' 0 "$(history_of '.runs | map(select(.kind == "upgrade")) | length')"
expect_eq 'the pod that served is the one that serves' "$serving" "$(api_pods .metadata.uid)"

# What no table has: the new pod ends at its start, and the old server goes on.
need fulcrum_ends 0 edit kube-apiserver --set "feature-gates=$gates" --yes
need wait_until 'only the new pod is left, and is Ready' 60 only_pod_runs "--feature-gates=$gates"
serving=$(api_pods .metadata.uid)
load_start
fulcrum_ends 4 upgrade apply "${to[@]}" --yes
check 'the message names the gate' grep -q "its log ends: .*${gates%%=*}" "$ERR"
check "$from runs" runs "$from"
expect_eq 'the pod that served is the one that serves' "$serving" "$(api_pods .metadata.uid)"
need wait_until "only pods of $from are left" 120 only_release_pods "$from"
sleep 15 # connections that were made to another one are missed by then
load_stop 'gates that are not taken together'
check_unharmed 'gates that are not taken together'
check "kubeadm's configuration says $from" kubeadm_says "$from"

# Once they are taken out, the upgrade goes through.
load_start
need fulcrum_ends 0 edit kube-apiserver --unset feature-gates --yes
need fulcrum_ends 0 upgrade apply "${to[@]}" --yes
need wait_until "only pods of $next are left" 120 only_release_pods "$next"
sleep 15
load_stop 'without them'
check_unharmed 'without them'
