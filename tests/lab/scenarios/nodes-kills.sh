# three nodes: SIGKILL at every step boundary, then at random instants, of one's pivot and its way back: no request is lost (by hand)
# shellcheck shell=bash

# There are static pods on one other node, and the DaemonSets' on the other.
kills_from_seed
on_each_node nodes_remember
need fulcrum_ends 0 pivot --yes
need wait_until '1 of 3 nodes is self-hosted' 60 nodes_self_hosted 1
node_is 2
before=$(manifests)
planned=$(plan_steps)

# taken_there HOW ARGS...: killed as HOW does it, and brought to its end all the same.
taken_there() {
  loads_start
  node_is 2
  need "$1" pivot resume "${@:2}"
  node_is 1
  loads_stop "a pivot, $1"
  loads_unharmed "a pivot, $1"
  need wait_until '2 of 3 nodes are self-hosted' 60 nodes_self_hosted 2
}
taken_back() {
  loads_start
  node_is 2
  need "$1" rollback rollback "${@:2}"
  expect_same "$1: the manifests directory is byte for byte as before" "$before" "$(manifests)"
  node_is 1
  loads_stop "a rollback, $1"
  loads_unharmed "a rollback, $1"
  need wait_until '1 of 3 nodes is self-hosted' 120 nodes_self_hosted 1
}

taken_there fulcrum_killed_everywhere
check 'every step of the plan was killed at a boundary' all_covered "$planned"
taken_back fulcrum_killed_everywhere
on_node 2 refresh_kubelet # see there
taken_there fulcrum_killed_anywhere 60
taken_back fulcrum_killed_anywhere 60

node_is 1
need fulcrum_ends 0 rollback --yes
expect_eq 'no DaemonSet is left' '' "$(daemonsets)"
expect_same 'no label and no lease is left' "$(cat "$LOGS/traces")" "$(nodes_traces)"
