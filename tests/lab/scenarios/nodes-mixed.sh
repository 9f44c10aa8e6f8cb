# two self-hosted nodes and a static one: status of all, roll-outs under load, one run at a time, refusals, and the DaemonSets deleted (by hand)
# shellcheck shell=bash

# watched JQ: what `status --cluster --watch` has shown so far, from line to line, each change once.
watched() { jq -r "select(.nodes) | $1" "$LOGS/watched.json" | uniq | paste -sd ,; }
watched_last() { local seen; seen=$(watched '[.nodes[].is] | join(" ")'); [[ $seen = *"$1" ]] || { echo "$seen"; return 1; }; }

on_each_node nodes_remember
need check 'status says three static nodes' each_is 'static static static'

# Somebody watches on the third node.
node_is 3
node_exec sh -c "echo \$\$ >/run/watch.pid; exec fulcrum status --cluster --watch -o json" >"$LOGS/watched.json" 2>"$LOGS/watched.err" &
watcher=$!
need wait_until 'who watches sees three static nodes' 20 watched_last 'static static static'

# Two that begin at the same moment: one is at work, the other waits and says for whom.
node_is 2
next_call pivot-beside
beside=$OUT
(node_exec fulcrum pivot --yes -v --state-dir "$STATE_DIR" >"$beside" 2>"${beside%.out}.err"; echo $? >"$LOGS/beside.code") &
node_is 1
need fulcrum_ends 0 pivot --yes -v # it says each look of a wait
ended() { [ -s "$LOGS/beside.code" ]; }
need wait_until 'the run beside it has ended' 240 ended
expect_eq 'the run beside it ended well' 0 "$(cat "$LOGS/beside.code")"
# waits_for NODE FILE: a run says in FILE that it waits for one of NODE.
waits_for() { grep -m 1 "lock: waiting for the lock; last seen: another run holds the lock .*: $1/" "$2"; }
one_waits() {
  waits_for cp2 "$ERR" || waits_for cp1 "${beside%.out}.err" ||
    { grep -h ' lock' "$ERR" "${beside%.out}.err" | tail -n 4; return 1; }
}
check 'one of them has waited, and says for the run of which node' one_waits
need wait_until '2 of 3 nodes are self-hosted' 60 nodes_self_hosted 2
on_each_node check 'asked on any node, status says two self-hosted nodes and a static one' each_is 'self-hosted self-hosted static'
expect_eq 'nobody has the lock' null "$(rows .lock)"
wait_until 'who watches sees two self-hosted nodes and a static one' 20 watched_last 'self-hosted self-hosted static'
expect_eq 'who watches has seen the lock with one run, then with the other' 'cp1,cp2|cp2,cp1' \
  "$(watched '.lock.holder // empty | split("/")[0]')"
on_node 3 node_exec kill -TERM "$(on_node 3 node_exec cat /run/watch.pid)"
code=0
wait $watcher || code=$?
expect_eq 'who watches ends when told to' 0 "$code"

# A hand-edited manifest on the third: refused with the difference, and the pods of the others are as they were.
before=$(hosted_uids)
node_is 3
cp "$MANIFESTS/kube-apiserver.yaml" "$LOGS/kube-apiserver.yaml"
sed 's/^    - kube-apiserver$/&\n    - --event-ttl=3h0m0s/' "$LOGS/kube-apiserver.yaml" >"$DISK/etc/kubernetes/edited.yaml"
mv "$DISK/etc/kubernetes/edited.yaml" "$MANIFESTS/kube-apiserver.yaml"
edited_runs() { kubectl -n kube-system get pod "kube-apiserver-$NODE" -o json | jq -e '.spec.containers[0].command | index("--event-ttl=3h0m0s")'; }
need wait_until 'the edited server runs' 120 edited_runs
need wait_until 'and serves' 120 node_ready
fulcrum_ends 3 pivot --yes
check 'the difference is named' grep -q -- 'event-ttl' "$ERR" "$OUT"
expect_same 'the pods of the other nodes are untouched' "$before" "$(hosted_uids)"
cp "$LOGS/kube-apiserver.yaml" "$DISK/etc/kubernetes/edited.yaml"
mv "$DISK/etc/kubernetes/edited.yaml" "$MANIFESTS/kube-apiserver.yaml"
unedited_runs() { ! edited_runs; }
need wait_until 'the server of before runs' 120 unedited_runs
need wait_until 'and serves' 120 node_ready

# An API server elsewhere that is not ready, then an etcd without a member to spare: each is refused by its name, and nothing changes.
others_serve() { on_node 1 says_ready && on_node 3 says_ready; }
# not_spared PROGRAM CHECK TEXT OPTIONS...: while that of cp2 stands still, a pivot of cp3 is refused for CHECK alone, in a message
# with TEXT.
not_spared() {
  local before pid
  node_is 3
  before=$(as_it_is)
  pid=$(on_node 2 pod_processes '' "$1")
  need expect_eq "one $1 runs on cp2" 1 "$(wc -w <<<"$pid")"
  # The guard of cp2 leaves a server alone that listens, and the kubelet restarts it after a minute.
  kill -STOP "$pid"
  # What asks through the balancer is not to meet it.
  need wait_until "$1 of cp2 stands still, and the balancer leaves its server out" 30 balancer_says cp2 DOWN
  need wait_until 'the other two servers are ready' 30 others_serve
  need fulcrum_ends 3 pivot --yes "${@:4}"
  kill -CONT "$pid"
  expect_eq "$1 of cp2 stands still: the check that refuses" "$2" "$(reasons)"
  check "$1 of cp2 stands still: the message says what, and where" reason_says "$2" "$3"
  need wait_until 'every server is ready' 120 on_each_node says_ready
  need wait_until 'the balancer has all of them' 60 balancer_says cp2 UP
  node_is 3
  expect_same "$1 of cp2 stood still: nothing has changed" "$before" "$(as_it_is)"
}
not_spared kube-apiserver api-servers 'an API server of another node is not ready: that of cp2: '
# Its API server is not ready without it. That check can be ignored, and the quorum cannot.
not_spared etcd etcd 'etcd has no member to spare: 2 of 3 are healthy, and without this node'"'"'s 2 must be; not: cp2 (' \
  --ignore-preflight-errors=api-servers
node_is 1
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
both_say_so() { says_so; [ "$(says_so | grep -cE '^(mixed|static) true ')" = 2 ]; }
wait_until 'status says of both that static pods stand in, and what to do' 90 both_say_so
note "$(says_so | paste -sd ';')"
fell_back() { kubectl get events -A -o json | jq -r '[.items[] | select(.reason == "FellBackToStaticPods") | .involvedObject.name] | unique | join(" ")'; }
expect_eq 'an Event says so of both' 'cp1 cp2' "$(fell_back)"
for number in 2 1; do
  node_is "$number"
  need fulcrum_ends 0 rollback --yes
  expect_same "$NODE: the manifests directory is byte for byte as before" "$(cat "$LOGS/$NODE.manifests")" "$(manifests)"
done
expect_eq 'no DaemonSet is left' '' "$(daemonsets)"
expect_same 'no label and no lease is left' "$(cat "$LOGS/traces")" "$(nodes_traces)"
