# three nodes by one command: the node at work loses its power at ends of steps, and the command goes on when it is back (by hand)
# shellcheck shell=bash

# The ends of these steps of a pivot, and of a way back. All of a pivot's have FULCRUM_LAB_STEPS=everywhere. Each takes about
# five minutes.
cuts=(lock switch retire-static/kube-apiserver)
back=prepare-rollback/restore-static/kube-apiserver
# Until the guard is armed nothing has been changed, and the command itself goes on with the run.
before_the_guard=' preflight lock archive '

# ended_or_ready OUTCOME: the guard has ended the run, or its node can go on with it.
ended_or_ready() { last_of pivot "$1" || node_ready; }
# node_is_now WORD: what this node is, as the cluster tells it.
node_is_now() { local seen; seen=$(rows ".nodes[] | select(.node == \"$NODE\") | .is"); [ "$seen" = "$1" ] || { echo "$seen"; return 1; }; }
# cut_in STEP MARK OUTCOME IS COMMAND: the node at work loses its power as its run says MARK of STEP. Its run comes to OUTCOME,
# and the node is IS; the command ends, and the same command then comes to its end on all nodes.
cut_in() {
  local step=$1 mark=$2 outcome=$3 is=$4 command=$5 victim since
  since=$(date +%s)
  loads_start
  node_is 1
  all_nodes_begin "$command"
  need wait_until "$step: a node is at work" 120 at_work
  victim=$(at_work)
  node_is "${victim#cp}"
  said_in_unit "$mark" "$step" "$since" || need fail "$step: the run on $victim comes to it" "$(tail -n 4 "$BEGUN.err")"
  power_cut
  pass "$step: the power of $victim is cut"
  need wait_until "$step: $victim answers after the power cut" 240 says_ready
  if [[ $before_the_guard == *" $step "* ]]; then
    need wait_until "$step: the run on $victim has ended, or can go on" 240 ended_or_ready "$outcome"
  else
    need wait_until "$step: the guard of $victim ends the run: $outcome" 420 last_of pivot "$outcome"
    need wait_until "$step: $victim is $is" 240 node_is_now "$is"
  fi
  # Who watches learns from the pod's status, when the kubelet is back.
  need wait_until "$step: the command has ended" 240 begun_has_ended
  expect_eq "$step: its exit code says that nothing watches the run" 7 "$(cat "$BEGUN.code")"
  check "$step: it says so of $victim" grep "nothing watches the run on $victim any more" "$BEGUN.err"
  node_is 1
  need all_nodes 0 "$command"
  wait_until "$step: no pod of a command is left" 60 no_command_pod
  loads_stop "$step"
  loads_unharmed_but "$victim" "$step"
  check "$step: the run on $victim has come to its end: $outcome" on_node "${victim#cp}" last_of pivot "$outcome"
}

need check 'the program is static (FULCRUM=… names it)' is_static "$LAB_CACHE/fulcrum"
need check 'the image is made' image_make
on_each_node check 'the image is loaded' image_load
on_each_node nodes_remember
need fulcrum_ends 0 pivot --yes
need wait_until '1 of 3 nodes is self-hosted' 60 nodes_self_hosted 1
node_is 2
if [ "${FULCRUM_LAB_STEPS:-}" = everywhere ]; then mapfile -t cuts < <(plan_steps); fi
for number in "${!cuts[@]}"; do
  step=${cuts[$number]}
  cut_in "$step" 'done' completed self-hosted pivot
  need wait_until "$step: 3 of 3 nodes are self-hosted" 120 nodes_self_hosted 3
  [ "$((number + 1))" != "${#cuts[@]}" ] || break # all of them go back below
  for each in 2 3; do
    node_is "$each"
    need fulcrum_ends 0 rollback --yes
    manifests_as_before
  done
  node_is 1
  need wait_until "$step: 1 of 3 nodes is self-hosted" 120 nodes_self_hosted 1
done

cut_in $back undone rolled-back static rollback
on_each_node manifests_as_before
expect_eq 'no DaemonSet is left' '' "$(daemonsets)"
expect_same 'no label and no lease is left' "$(cat "$LOGS/traces")" "$(nodes_traces)"
