# two self-hosted nodes and a static one: status of all, roll-outs under load, one run at a time, refusals, and the DaemonSets deleted (by hand)
# shellcheck shell=bash

# rows JQ: what each node is, as the cluster tells it.
rows() { node_exec fulcrum status --cluster -o json | jq -r "$1"; }
each_is() { local seen; seen=$(rows '[.nodes[].is] | join(" ")'); [ "$seen" = "$1" ] || { echo "$seen"; return 1; }; }
api_uids() { api_pods .metadata.uid | sort; }

on_each_node nodes_remember
need check 'status says three static nodes' each_is 'static static static'

# Two that begin at the same moment: one is at work, the other waits and says for whom.
node_is 2
next_call pivot-beside
beside=$OUT
(node_exec fulcrum pivot --yes --state-dir "$STATE_DIR" >"$beside" 2>"${beside%.out}.err"; echo $? >"$LOGS/beside.code") &
node_is 1
need fulcrum_ends 0 pivot --yes
ended() { [ -s "$LOGS/beside.code" ]; }
need wait_until 'the run beside it has ended' 240 ended
expect_eq 'the run beside it ended well' 0 "$(cat "$LOGS/beside.code")"
check 'one of them has waited, and says for whom' grep -hE 'cp[12]' <(grep -hi 'lock\|wait' "$ERR" "${beside%.out}.err")
need wait_until '2 of 3 nodes are self-hosted' 60 nodes_self_hosted 2
check 'status says two self-hosted nodes and a static one' each_is 'self-hosted self-hosted static'
expect_eq 'nobody has the lock' null "$(rows .lock)"

# A hand-edited manifest on the third: refused with the difference, and the pods of the others are as they were.
before=$(api_uids)
node_is 3
cp "$MANIFESTS/kube-apiserver.yaml" "$LOGS/kube-apiserver.yaml"
sed 's/^    - kube-apiserver$/&\n    - --event-ttl=3h0m0s/' "$LOGS/kube-apiserver.yaml" >"$DISK/etc/kubernetes/edited.yaml"
mv "$DISK/etc/kubernetes/edited.yaml" "$MANIFESTS/kube-apiserver.yaml"
edited_runs() { kubectl -n kube-system get pod "kube-apiserver-$NODE" -o json | jq -e '.spec.containers[0].command | index("--event-ttl=3h0m0s")'; }
need wait_until 'the edited server runs' 120 edited_runs
need wait_until 'and serves' 120 node_ready
fulcrum_ends 3 pivot --yes
check 'the difference is named' grep -q -- 'event-ttl' "$ERR" "$OUT"
expect_same 'the pods of the other nodes are untouched' "$before" "$(api_uids)"
cp "$LOGS/kube-apiserver.yaml" "$DISK/etc/kubernetes/edited.yaml"
mv "$DISK/etc/kubernetes/edited.yaml" "$MANIFESTS/kube-apiserver.yaml"
unedited_runs() { ! edited_runs; }
need wait_until 'the server of before runs' 120 unedited_runs
need wait_until 'and serves' 120 node_ready

# A server elsewhere that is not ready, and an etcd without a member to spare.
node_is 2
kill -STOP "$(pod_processes '' etcd)"
node_is 3
fulcrum_ends 3 pivot --yes
check 'the reason is another node' grep -q cp2 "$ERR" "$OUT"
node_is 2
kill -CONT "$(pod_processes '' etcd)"
node_is 1
need wait_until 'every server is ready' 120 on_each_node says_ready
need wait_until 'the pods are available' 240 available 2

# A roll-out reaches two of three.
loads_start
need check 'a changed flag is rolled out' add_flag --event-ttl=2h0m0s
need wait_until 'only new pods are left, and are Ready' 300 only_pods_run --event-ttl=2h0m0s 2
sleep 15 # connections that were made to the old ones are missed by then
loads_stop 'roll-out of a changed flag'
loads_unharmed 'roll-out of a changed flag'
need wait_until 'the pods are available' 120 available 2

before=$(api_uids)
loads_start
need check 'a bad flag is rolled out' add_flag --no-such-flag=yes
need wait_until 'a new pod has ended three times' 180 restarted
loads_stop 'roll-out of a bad flag'
loads_unharmed 'roll-out of a bad flag'
expect_eq 'the pods of before are there' 2 "$(api_uids | grep -cxF "$before")"
loads_start
need check 'it is taken back' kubectl -n kube-system rollout undo "daemonset/$API_DAEMONSET"
need wait_until 'only pods with the good flag are left' 300 only_pods_run --event-ttl=2h0m0s 2
sleep 15
loads_stop 'roll-out of a bad flag, taken back'
loads_unharmed 'roll-out of a bad flag, taken back'

# Without the API's DaemonSet both nodes fall back, each by itself. The third serves all the while.
loads_start
need check 'the DaemonSet of the API server is deleted' kubectl -n kube-system delete daemonset "$API_DAEMONSET" --wait=false
for number in 1 2; do
  node_is "$number"
  need wait_until "$NODE has fallen back" 300 last_run_is fall-back completed
  need wait_until "$NODE: its server answers" 120 says_ready
done
node_is 1
loads_stop 'without a DaemonSet'
third() { case $1 in *cp3) check_unharmed "$1" ;; *) note "$1: $(load_figure '[.kinds[].failed] | add') failed" ;; esac; }
each_load third 'without a DaemonSet'
says_so() { rows '.nodes[] | select(.node == "cp1" or .node == "cp2") | [.is, (.attention | length > 0), (.run.kind // "")] | join(" ")'; }
note "$(says_so | paste -sd ';')"
expect_eq 'status says of both that static pods stand in' 2 "$(says_so | grep -cE '^(mixed|static) true|fall-back')"
for number in 2 1; do
  node_is "$number"
  need fulcrum_ends 0 rollback --yes
  expect_same "$NODE: the manifests directory is byte for byte as before" "$(cat "$LOGS/$NODE.manifests")" "$(manifests)"
done
expect_eq 'no DaemonSet is left' '' "$(daemonsets)"
expect_same 'no label and no lease is left' "$(cat "$LOGS/traces")" "$(nodes_traces)"
