# a node of three that died with the lock: it comes back, it is deleted from the cluster, or another machine has its name (by hand)
# shellcheck shell=bash

# holder: who has the lock, as node/run.
holder() { rows '.lock.holder // "nobody"'; }
# died STEP COMMAND ARGS...: cp2 loses its power there, and its run has the lock. The run is $dead, as cp2/RUN.
died() {
  node_is 2
  need off_at "$1" "$2" --yes "${@:3}"
  dead=cp2/$(grep -om 1 '"run":"[^"]*"' "$OUT" | cut -d '"' -f 4)
  node_is 1
  need wait_until 'the balancer leaves cp2 out' 30 balancer_says cp2 DOWN
  need expect_eq "cp2 is dead at $1 of its $2: its run has the lock" "$dead" "$(holder)"
}
# etcd_asked PATH JSON: what etcd of this node answers.
etcd_asked() {
  local pki=$DISK/etc/kubernetes/pki
  curl -fsS --http1.1 --max-time 5 --cacert "$pki/etcd/ca.crt" --cert "$pki/apiserver-etcd-client.crt" --key "$pki/apiserver-etcd-client.key" \
    --header 'Content-Type: application/json' --data "$2" "https://$NODE_IP:2379$1"
}
etcd_forgets() {
  local id
  id=$(etcd_asked /v3/cluster/member/list '{}' | jq -er --arg name "$1" '.members[] | select(.name == $name).ID') &&
    etcd_asked /v3/cluster/member/remove "{\"ID\":\"$id\"}"
}
nothing_on() { local left; left=$(kubectl get pods -A --field-selector "spec.nodeName=$1" -o name) || return; echo "$left"; [ -z "$left" ]; }
said_unseen() { rows '.unseen[]' | grep -F "$1"; }
# forgotten: as an operator does with a machine that will not come back.
forgotten() {
  node_is 1
  need check 'node cp2 is deleted from the cluster' kubectl delete node cp2
  need check 'etcd forgets its member' etcd_forgets cp2
}
# replaced: another machine joins as cp2, which has no journal. Not in a check: the node would end with the subshell.
replaced() {
  need wait_until 'the pods of the machine that has gone are deleted' 240 nothing_on cp2
  node_is 2
  if node_join >>"$LOGS/node.log" 2>&1; then pass 'another machine has joined as cp2'
  else need fail 'another machine has joined as cp2' "$(tail -n 3 "$LOGS/node.log")"; fi
  manifests >"$LOGS/$NODE.manifests"
  need wait_until 'every server is ready' 120 on_each_node says_ready
  need wait_until 'the balancer has all of them' 60 balancer_says cp2 UP
}

on_each_node nodes_remember
need fulcrum_ends 0 pivot --yes
need wait_until '1 of 3 nodes is self-hosted' 60 nodes_self_hosted 1

# --- down, and still in the cluster -------------------------------------------------------------------------------------

# With two of three static pods cut, and the last one about to be. Its time is not to end while it is dead.
died retire-static/kube-apiserver pivot --timeout 30m
node_is 3
before=$(as_it_is)
for option in '' --take-lock; do
  need fulcrum_ends 3 pivot --yes ${option:+"$option"}
  expect_eq "cp3, pivot $option: the checks that refuse" 'api-servers etcd' "$(reasons)"
done
need fulcrum_ends 3 pivot --yes --take-lock --ignore-preflight-errors=api-servers
expect_eq 'the check that cannot be ignored' etcd "$(reasons)"
expect_same 'nothing has changed' "$before" "$(as_it_is)"
expect_eq 'the lock is as it was' "$dead" "$(holder)"

# A way back needs no quorum to spare.
node_is 1
before=$(control_plane_processes)
need fulcrum_ends 6 rollback --yes -v --timeout 20s
check 'it has waited, and says for whose run' grep -F "waiting for the lock; last seen: another run holds the lock on this cluster's control plane: $dead " "$ERR"
expect_same 'cp1 is as it was' "$before" "$(control_plane_processes)"
need fulcrum_ends 0 rollback --yes --take-lock
check 'it says from whose run the lock was taken' grep -F "the lock was taken from $dead" "$ERR"
manifests_as_before
expect_eq 'nobody has the lock' nobody "$(holder)"
check 'the DaemonSets that cp2 runs on are there' kubectl -n kube-system get daemonsets self-hosted-{kube-apiserver,kube-controller-manager,kube-scheduler}

# cp2 comes back. The run that took its lock has ended: its own goes on.
node_is 2
power_on
need wait_until 'cp2 ends what it had begun' 420 last_of pivot completed
need wait_until 'cp2 answers' 120 says_ready
node_is 1
need wait_until 'cp2 alone is self-hosted' 120 nodes_self_hosted 1
check 'status says so' each_is 'static self-hosted static'
expect_eq 'nobody has the lock then' nobody "$(holder)"

# --- deleted from the cluster -------------------------------------------------------------------------------------------

need fulcrum_ends 0 pivot --yes
need wait_until '2 of 3 nodes are self-hosted' 60 nodes_self_hosted 2
died prepare-rollback/restore-static/kube-apiserver rollback
forgotten
node_is 3
need fulcrum_ends 0 pivot --yes -v
check 'it says why the lock was taken' grep -F "taking the lock from $dead, whose node has gone from the cluster" "$ERR"
need wait_until 'both nodes are self-hosted, and nothing of the third is left' 240 nodes_self_hosted 2 2
expect_eq 'nobody has the lock after it' nobody "$(holder)"
check 'status says that cp2 was a node' said_unseen 'node cp2: '
replaced

# --- another machine has its name, and no journal -----------------------------------------------------------------------

died await-ready/kube-apiserver pivot --timeout 30m
forgotten
replaced
node_is 2
before=$(as_it_is)
need fulcrum_ends 3 pivot --yes
expect_eq 'the check that refuses' lock "$(reasons)"
check 'it names the run, and what to say' reason_says lock "$dead"
check 'and says so' reason_says lock --take-lock
expect_same 'nothing has changed on it' "$before" "$(as_it_is)"
need fulcrum_ends 0 pivot --yes --take-lock
node_is 1
need wait_until '3 of 3 nodes are self-hosted' 120 nodes_self_hosted 3
check 'a Deployment made now runs' deployment_runs after-the-dead

for number in $(seq "$NODES"); do
  node_is "$number"
  need fulcrum_ends 0 rollback --yes
  manifests_as_before
done
node_is 1
expect_eq 'no DaemonSet is left' '' "$(daemonsets)"
expect_same 'no label and no lease is left' "$(cat "$LOGS/traces")" "$(nodes_traces)"
