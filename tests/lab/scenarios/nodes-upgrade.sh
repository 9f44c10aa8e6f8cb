# three nodes, upgraded to the next release by one command and taken back, under load at each of them (by hand)
# shellcheck shell=bash

next=${LAB_NEXT_VERSION:?tests/lab/run makes the next release for scenarios whose names have upgrade in them}
from=$LAB_VERSION
# Nine pods start one after the other, each is watched for 20 s, and twice the guards take a minute for their standby.
export RUN_DEADLINE=1800

# every_release_pods VERSION: of each DaemonSet one pod on each node is left, Ready, with that image.
every_release_pods() {
  local seen
  seen=$(kubectl -n kube-system get pods -l k8s-app -o json | jq -c --arg v ":$1" --argjson nodes "$NODES" '
    [.items[] | select(.metadata.labels["k8s-app"] | startswith("self-hosted-")) |
      {set: .metadata.labels["k8s-app"], node: .spec.nodeName, new: (.spec.containers[0].image | endswith($v)),
       ready: any(.status.conditions[]; .type == "Ready" and .status == "True")}] |
    {good: (length == 3 * $nodes and all(.[]; .new and .ready) and (map([.set, .node]) | unique | length) == 3 * $nodes),
     pods: map([.set, .node, .new, .ready])}')
  [ "$(jq .good <<<"$seen")" = true ] || { jq -c .pods <<<"$seen"; return 1; }
}
# server_is VERSION: this node's own API server, asked at its address.
server_is() {
  local seen
  seen=$(kubectl --server "https://$NODE_IP:6443" get --raw /version | jq -r .gitVersion)
  [ "$seen" = "$1" ] || { echo "$NODE: $seen"; return 1; }
}
# standby_is VERSION: what would come back on this node after a power cut.
standby_is() {
  local manifests
  manifests=$(find "$DISK$STATE_DIR/standby" -name 'kube-*.yaml')
  [ "$(wc -l <<<"$manifests")" = 3 ] || { echo "$NODE: $manifests"; return 1; }
  local file
  while IFS= read -r file; do
    grep -qE "kube-[a-z-]+:$1(\"|\$)" "$file" || { echo "$NODE: $file: $(grep -oE 'kube-[a-z-]+:v[0-9.]+' "$file")"; return 1; }
  done <<<"$manifests"
}
standbys_are() { on_each_node standby_is "$1"; }
# servers_end: connections that were made to servers that have gone are missed by now.
servers_end() { sleep 15; }

on_each_node nodes_remember
pivot_each_node
on_each_node check "the images and the kubeadm of $next are on the node" bring "$next"
to=(--kubeadm "/opt/$next/kubeadm")

need wait_until 'the pods are available' 120 available "$NODES"

# A guard says within a minute what its standby is. Until each has, an upgrade is refused.
planned() { fulcrum upgrade plan "${to[@]}"; [ "$CODE" = 9 ] || { tail -n 2 "$ERR"; return 1; }; }
need wait_until 'every node can follow' 180 planned

loads_start
began=$SECONDS
need fulcrum_ends 0 upgrade apply "${to[@]}" --yes
note "three nodes: upgraded after $((SECONDS - began)) s"
check 'with the command the standbys of all nodes are of the new release' standbys_are "$next"
check "$next runs and emulates the release before" runs "$next" "1.${from:3:2}"
need wait_until 'only pods of the new release are left, on each node' 120 every_release_pods "$next"
on_each_node check 'the API server of the node is the new one' server_is "$next"
servers_end
loads_stop apply
loads_unharmed apply

# With everything as it shall be on the others, one loses its power.
node_is 2
hand_overs_from_now
power_cut
need wait_until 'the API answers after a power cut' 240 says_ready
check 'an API server of the new release serves' server_is "$next"
need wait_until 'self-hosted again, without help' 420 last_run_is hand-over completed "$RUNS_SINCE"
node_is 1
need wait_until 'all nodes are self-hosted' 120 nodes_self_hosted "$NODES"
need wait_until 'the new release is what came back' 120 every_release_pods "$next"

loads_start
began=$SECONDS
need fulcrum_ends 0 upgrade rollback --yes
note "three nodes: taken back after $((SECONDS - began)) s"
check "$from runs again" runs "$from"
need wait_until 'only pods of the old release are left, on each node' 120 every_release_pods "$from"
on_each_node check 'the API server of the node is the old one' server_is "$from"
servers_end
loads_stop 'the way back'
loads_unharmed 'the way back'
wait_until 'the standbys of all nodes are of the old release' 180 standbys_are "$from"
