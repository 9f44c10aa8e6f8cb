# `fulcrum upgrade` to the next release under load: plan, there, back, a missing image, SIGKILL, finalize (by hand)
# shellcheck shell=bash

next=$LAB_NEXT_VERSION
from=$LAB_VERSION
# says TEXT: the message of the last call has it.
says() { grep -qF -- "$1" "$ERR" || { tail -n 4 "$ERR"; return 1; }; }
# ended_for TEXT: the last call's last word on its run has it. The changes that it has shown before do not count.
ended_for() { grep '^run .*: rolled-back: ' "$ERR" | grep -F -- "$1" || { tail -n 4 "$ERR"; return 1; }; }
# phases_done: the phases of kubeadm that the last upgrade has gone through.
phases_done() {
  history_of '.runs | map(select(.kind == "upgrade")) | last | [.attempts[] | select(.direction == "run" and .outcome == "done") |
    .step | select(startswith("kubeadm-phase/")) | sub("kubeadm-phase/"; "")] | unique | join(" ")'
}

remember_static
# Their images are not on the node: they are not available, and nobody waits for them.
need check 'CoreDNS and kube-proxy are asked for' node_exec kubeadm init phase addon all --config /etc/kubernetes/kubeadm.yaml
addons_before=$(addons)
need fulcrum_ends 0 pivot --yes
check_pivoted
need wait_until 'the pod is available' 60 available
need check "the images and the kubeadm of $next are on the node" bring "$next"
to=(--kubeadm "/opt/$next/kubeadm")

fulcrum_ends 9 upgrade plan "${to[@]}"
note "$(grep -cE '^[-+] ' "$ERR") lines differ"
skipping=v1.$((${next:3:2} + 1)).0
fulcrum_ends 3 upgrade plan "${to[@]}" --to "$skipping"
check 'the message says which release is skipped' says "$skipping skips a minor release after $from: upgrade to 1.${next:3:2} first"
check 'the plan has changed nothing' runs "$from"

load_start
need fulcrum_ends 0 upgrade apply "${to[@]}" --yes
check "$next runs and emulates the release before" runs "$next" "1.${from:3:2}"
need wait_until 'only pods of the new release are left' 120 only_release_pods "$next"
expect_eq 'the API server is the new one' "$next" "$(server_version)"
check 'the new API server was asked in the shadow of the old' at_least 15 "$(compared_lists)"
check "kubeadm's configuration says $next" kubeadm_says "$next"
check "kube-proxy is to be $next" grep -qx "registry.k8s.io/kube-proxy:$next" <(addons)
note "CoreDNS: $(grep coredns: <<<"$addons_before"), then $(addons | grep coredns:)"
expect_eq 'kubeadm went through three phases' 'coredns kube-proxy kubelet-config' "$(phases_done)"
check 'no copy of kubeadm is left' test ! -e "$DISK$STATE_DIR/kubeadm"
sleep 15 # connections that were made to the old one are missed by then
load_stop apply
check_unharmed apply
check_endpoints_held apply "$(or_p99 100)"

load_start
need fulcrum_ends 0 upgrade rollback --yes
check "$from runs again" runs "$from"
check "kubeadm's configuration says $from again" kubeadm_says "$from"
expect_same 'CoreDNS, kube-proxy and the configurations are as before' "$addons_before" "$(addons)"
need wait_until 'only pods of the old release are left' 120 only_release_pods "$from"
sleep 15
load_stop 'the way back'
check_unharmed 'the way back'

load_start
fulcrum_ends 4 upgrade apply "${to[@]}" --to "${next%.*}.99" --yes
check 'the message names the image that is missing' ended_for "kube-apiserver:${next%.*}.99"
check 'an image that is missing changes nothing' runs "$from"
load_stop 'a missing image'
check_unharmed 'a missing image'

# The guard goes on with an upgrade whose command died.
load_start
fulcrum_killed_at step-done edit-daemonset/kube-controller-manager upgrade apply "${to[@]}" --yes
need wait_until 'the guard has brought it to its end' 300 last_run_is upgrade completed
need wait_until 'only pods of the new release are left' 120 only_release_pods "$next"
sleep 15
load_stop 'an upgrade that was killed'
check_unharmed 'an upgrade that was killed'

load_start
need fulcrum_ends 0 upgrade finalize --yes
check "$next runs as itself" runs "$next"
sleep 15
load_stop finalize
check_unharmed finalize
fulcrum_ends 3 upgrade rollback --yes
check 'the message says that it is finalized' says 'the last one is finalized'
fulcrum_ends 3 rollback --yes
check 'the message says why, and what a person can do' says '--allow-downgrade'
fulcrum_ends 0 history
