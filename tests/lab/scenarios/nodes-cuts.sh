# three nodes: the power of one is cut at steps of its pivot and of its way back, then that of all, while clients ask the others (by hand)
# shellcheck shell=bash

# A plan's steps have FULCRUM_LAB_STEPS=everywhere. Each cut takes about two minutes.
cuts=(share-port/kube-apiserver switch retire-static/kube-apiserver)
back=(prepare-rollback/restore-static/kube-apiserver)

# The node that loses its power; the others are cp1 and cp3.
victim=2
# Before the guard is armed nothing has been changed, and a person goes on.
before_the_guard=' preflight lock archive arm-guard '
all_answer() { on_each_node says_ready; }
# cut_in STEP OUTCOME COMMAND ARGS...: the victim loses its power there, and its guard, or a person, brings the pivot to OUTCOME.
cut_in() {
  local step=$1 outcome=$2
  loads_start
  node_is $victim
  need cut_at "$step" "${@:3}"
  if [[ $before_the_guard == *" $step "* ]]; then
    need wait_until "$step: node and mirror pods of $NODE are Ready" 240 node_ready
    need fulcrum_ends 0 resume --yes
  fi
  need wait_until "$step: $NODE ends what was begun: $outcome" 420 last_of pivot "$outcome"
  need wait_until "$step: $NODE answers" 120 says_ready
  node_is 1
  loads_stop "$step"
  loads_unharmed_but "cp$victim" "$step"
}

on_each_node nodes_remember
need fulcrum_ends 0 pivot --yes
need wait_until '1 of 3 nodes is self-hosted' 60 nodes_self_hosted 1
node_is $victim
if [ "${FULCRUM_LAB_STEPS:-}" = everywhere ]; then mapfile -t cuts < <(plan_steps); fi
before=$(manifests)
for step in "${cuts[@]}"; do
  cut_in "$step" completed pivot --yes
  need wait_until "$step: 2 of 3 nodes are self-hosted" 120 nodes_self_hosted 2
  node_is $victim
  need fulcrum_ends 0 rollback --yes
  expect_same "$step: the manifests directory is byte for byte as before" "$before" "$(manifests)"
  need wait_until "$step: 1 of 3 nodes is self-hosted" 120 nodes_self_hosted 1
done
for step in "${back[@]}"; do
  node_is $victim
  need fulcrum_ends 0 pivot --yes
  cut_in "$step" rolled-back rollback --yes
  node_is $victim
  expect_same "$step: the manifests directory is byte for byte as before" "$before" "$(manifests)"
  need wait_until "$step: 1 of 3 nodes is self-hosted" 120 nodes_self_hosted 1
done
node_is 1
need fulcrum_ends 0 rollback --yes
need wait_until 'no node is self-hosted' 60 nodes_self_hosted 0

# The power of all three, with static pods and with the DaemonSets'.
hosted_again() { on_each_node self_again && nodes_self_hosted "$NODES"; }
self_again() { last_run_is hand-over completed "$RUNS_SINCE"; }
# all_cut WHAT COMMAND...: three power cuts, each until COMMAND ends with 0; the figures are seconds.
all_cut() {
  local number answered='' led=''
  for number in 1 2 3; do
    hand_overs_from_now
    power_cut_of_all
    answered+=" $(seconds_until 300 all_answer)"
    led+=" $(seconds_until 300 leaders_again)"
    need wait_until "$1, power cut $number of all nodes: as before, without help" 600 "${@:2}"
  done
  average "$answered" >"$LOGS/$1.answered"
  average "$led" >"$LOGS/$1.led"
  note "$1: all servers answer after$answered s, on average $(answered_after "$1"); leaders after$led s, on average $(led_after "$1")"
}
steady_everywhere() { on_each_node node_ready; }
all_cut static steady_everywhere
pivot_each_node
all_cut self-hosted hosted_again
note "all servers answer after $(answered_after self-hosted) s, and static ones after $(answered_after static) s"
