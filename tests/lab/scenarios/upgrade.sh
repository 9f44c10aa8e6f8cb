# `fulcrum upgrade` to the next two releases under load: plan, there, back, a missing image, SIGKILL, finalize, a power cut (by hand)
# shellcheck shell=bash

# runs VERSION [EMULATED]: each component's image and, if one is named, the release that it emulates.
runs() {
  local seen
  seen=$(kubectl -n kube-system get daemonsets -o json | jq -r --arg v ":$1" --arg e "--emulated-version=${2:-}" \
    '[.items[].spec.template.spec.containers[0] | select((.image | endswith($v)) and
      ([.command[] | select(startswith("--emulated-version="))] == (if $e == "--emulated-version=" then [] else [$e] end)))] | length')
  [ "$seen" = 3 ] || { echo "$seen of 3"; kubectl -n kube-system get daemonsets -o wide; return 1; }
}
# only_release_pods VERSION: one pod of each DaemonSet is left, Ready, with that image.
only_release_pods() {
  local seen
  seen=$(kubectl -n kube-system get pods -l k8s-app -o json | jq -r --arg v ":$1" \
    '[.items[] | [.metadata.name, (.spec.containers[0].image | endswith($v)), any(.status.conditions[]; .type == "Ready" and .status == "True")]] | tojson')
  [ "$(jq '(length == 3) and all(.[]; .[1] and .[2])' <<<"$seen")" = true ] || { echo "$seen"; return 1; }
}
server_version() { kubectl get --raw /version | jq -r .gitVersion; }
# bring VERSION: its images and its kubeadm onto the node, as an operator would.
bring() {
  mkdir -p "$DISK/opt/$1"
  ln "$LAB_CACHE/$1/images.tar" "$DISK/opt/$1/images.tar"
  cp "$LAB_CACHE/$1/bin/hyperkube" "$DISK/opt/$1/kubeadm"
  node_exec ctr -n k8s.io images import "/opt/$1/images.tar" >/dev/null
}

read -r next last <<<"$LAB_NEXT_VERSIONS"
from=$LAB_VERSION
remember_static
need fulcrum_ends 0 pivot --yes
check_pivoted
need wait_until 'the pod is available' 60 available
need check "the images and the kubeadm of $next are on the node" bring "$next"
to=(--kubeadm "/opt/$next/kubeadm")

fulcrum_ends 9 upgrade plan "${to[@]}"
note "$(grep -cE '^[-+] ' "$ERR") lines differ"
fulcrum_ends 3 upgrade plan "${to[@]}" --to "v1.$((${next:3:2} + 1)).0"
check 'the plan has changed nothing' runs "$from"

load_start
need fulcrum_ends 0 upgrade apply "${to[@]}" --yes
check "$next runs and emulates the release before" runs "$next" "1.${from:3:2}"
need wait_until 'only pods of the new release are left' 120 only_release_pods "$next"
expect_eq 'the API server is the new one' "$next" "$(server_version)"
sleep 15 # connections that were made to the old one are missed by then
load_stop apply
check_unharmed apply
check_endpoints_held apply "$(or_p99 100)"

load_start
need fulcrum_ends 0 upgrade rollback --yes
check "$from runs again" runs "$from"
need wait_until 'only pods of the old release are left' 120 only_release_pods "$from"
sleep 15
load_stop 'the way back'
check_unharmed 'the way back'

load_start
fulcrum_ends 4 upgrade apply "${to[@]}" --to "${next%.*}.99" --yes
note "$(tail -n 1 "$ERR")"
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
fulcrum_ends 3 rollback --yes

if [ -n "$last" ]; then
  need check "the images and the kubeadm of $last are on the node" bring "$last"
  load_start
  need fulcrum_ends 0 upgrade apply --kubeadm "/opt/$last/kubeadm" --yes
  need fulcrum_ends 0 upgrade finalize --yes
  need wait_until "only pods of $last are left" 120 only_release_pods "$last"
  sleep 15
  load_stop "from $next to $last"
  check_unharmed "from $next to $last"
fi

hand_overs_from_now
power_cut
need wait_until 'the API answers after a power cut' 240 says_ready
load_start
need wait_until 'self-hosted again, without help' 420 self_hosted_again
load_stop 'hand-over after a power cut'
check_unharmed 'hand-over after a power cut'
check 'the new release is what came back' only_release_pods "${last:-$next}"
fulcrum_ends 0 history
