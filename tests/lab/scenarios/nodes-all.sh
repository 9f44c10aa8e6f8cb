# three nodes, or FULCRUM_LAB_NODES, pivoted and rolled back by one command under load, through a pod on each; then with the command and its pod killed (by hand)
# shellcheck shell=bash

record_of() { kubectl -n kube-system get configmap fulcrum -o json | jq -r ".data.all_nodes | fromjson | $1"; }
node_forget_program() { rm -f "$DISK/usr/local/bin/fulcrum"; }

need check 'the program is static (FULCRUM=… names it)' is_static "$LAB_CACHE/fulcrum"
need check 'the image is made' image_make
on_each_node nodes_remember

# Nothing is changed by what only prints, and the API takes the pods as they are printed.
fulcrum pivot --all-nodes --print
expect_eq 'a line for each node' "$NODES" "$(grep -c '^ssh ' "$OUT")"
expect_eq 'the node that the command runs on is last' 'ssh cp1' "$(grep '^ssh ' "$OUT" | tail -n 1 | cut -d' ' -f1,2)"
fulcrum pivot --all-nodes --print -o yaml
check 'the API server takes the pods' kubectl create --dry-run=server -f "$OUT"

# No node has the image, and there is no registry.
all_nodes 1 pivot
check 'the message names the remedy' grep -q 'load the image on this node' "$ERR"
wait_until 'no pod is left' 60 no_command_pod
expect_same 'nothing was changed' "$(cat "$LOGS/traces")" "$(nodes_traces)"

on_each_node check 'the image is loaded' image_load
on_node 2 node_forget_program # it comes with the pod

# FULCRUM_LAB_ROUNDS of them, each there and back. The load of each way is a new one, with figures of its own.
rounds=${FULCRUM_LAB_ROUNDS:-1}
# seconds_of: of each node, in the order in which they came.
seconds_of() { grep -o 'cp[0-9]: done after [0-9.]* s' "$ERR" | paste -sd, -; }
for round in $(seq "$rounds"); do
  loads_start
  began=$SECONDS
  need all_nodes 0 pivot
  note "round $round: pivoted after $((SECONDS - began)) s, $(seconds_of)"
  loads_stop "the pivots of round $round"
  loads_unharmed "the pivots of round $round"
  need wait_until "$NODES of $NODES nodes are self-hosted" 60 nodes_self_hosted "$NODES"
  on_each_node check 'etcd is untouched, and its manifest alone is left' nodes_manifests_are_gone
  if [ "$round" = 1 ]; then
    check 'the program has come to the node that had none' test -x "$LAB_CACHE/disk-cp2/usr/local/bin/fulcrum"
    expect_eq 'the record has every node' "$NODES done" "$(record_of '.nodes | "\(length) \([.[].state] | unique | join(" "))"')"
    all_nodes 0 pivot
    expect_eq 'run again, it has nothing to do' "$NODES" "$(grep -c 'nothing to do' "$ERR")"
  fi

  loads_start
  began=$SECONDS
  need all_nodes 0 rollback
  note "round $round: rolled back after $((SECONDS - began)) s, $(seconds_of)"
  loads_stop "the rollbacks of round $round"
  loads_unharmed "the rollbacks of round $round"
  on_each_node manifests_as_before
  expect_eq 'no DaemonSet is left' '' "$(daemonsets)"
  expect_same 'no label and no lease is left' "$(cat "$LOGS/traces")" "$(nodes_traces)"
  wait_until 'no pod is left' 60 no_command_pod
done

# SIGKILL of the command and of its pod, while the second node is at work, and of fulcrum on the last one, which is that of
# the command. The same command goes on.
# in_background NAME: the command, with its events in NAME.out.
in_background() {
  node_exec sh -c "echo \$\$ >/run/all-nodes.pid; exec fulcrum pivot --all-nodes --yes --image $ALL_NODES_IMAGE -o json" \
    >"$LOGS/$1.out" 2>"$LOGS/$1.err" &
}
second() { jq -r 'select(.state == "running") | .node' "$LOGS/killed.out" | sed -n 2p | grep .; }
second_works() { works "$(second)"; }
works() { [ "$(kubectl -n kube-system get pod "fulcrum-all-nodes-$1" -o jsonpath='{.status.phase}')" = Running ]; }
loads_start
in_background killed
need wait_until 'the second node is at work' 180 second_works
sleep 3
check 'the command is killed' node_exec kill -KILL "$(node_exec cat /run/all-nodes.pid)"
check 'its pod is killed' kubectl -n kube-system delete pod "fulcrum-all-nodes-$(second)" --grace-period=0 --force
in_background again
again=$!
need wait_until 'the last node is at work' 240 works cp1
sleep 3
check 'fulcrum is killed there' node_exec systemctl kill --signal=KILL fulcrum-all-nodes.service
wait $again && code=0 || code=$?
expect_eq 'the command says that nothing watches the run any more' 7 "$code"
need all_nodes 0 pivot
loads_stop 'the pivots with a kill'
loads_unharmed 'the pivots with a kill'
need wait_until "$NODES of $NODES nodes are self-hosted" 60 nodes_self_hosted "$NODES"
loads_start
need all_nodes 0 rollback
loads_stop 'the rollbacks after it'
loads_unharmed 'the rollbacks after it'
on_each_node manifests_as_before
expect_same 'no label and no lease is left' "$(cat "$LOGS/traces")" "$(nodes_traces)"
