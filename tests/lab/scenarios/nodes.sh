# three nodes, pivoted and rolled back one after the other under load: no request is lost, at the balancer or at a server (by hand)
# shellcheck shell=bash

on_each_node nodes_remember
loads_start
pivot_each_node
loads_stop 'the pivots'
loads_unharmed 'the pivots'
on_each_node check 'etcd is untouched, and its manifest alone is left' nodes_manifests_are_gone

loads_start
for number in $(seq "$NODES"); do
  node_is "$number"
  began=$SECONDS
  need fulcrum_ends 0 rollback --yes
  note "$NODE: rolled back after $((SECONDS - began)) s"
  expect_same "$NODE: the manifests directory is byte for byte as before" "$(cat "$LOGS/$NODE.manifests")" "$(manifests)"
  need wait_until "$((NODES - number)) of $NODES nodes are self-hosted" 60 nodes_self_hosted "$((NODES - number))"
done
node_is 1
loads_stop 'the rollbacks'
loads_unharmed 'the rollbacks'
expect_eq 'no DaemonSet is left' '' "$(daemonsets)"
expect_same 'no label and no lease is left' "$(cat "$LOGS/traces")" "$(nodes_traces)"
