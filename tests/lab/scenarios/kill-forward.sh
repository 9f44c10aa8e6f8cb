# SIGKILL at every share-port, create-daemonset and retire-static of a pivot, which is resumed each time
# shellcheck shell=bash disable=SC2154

# Two pivots with seven kills in each, instead of fourteen with one: a run that has been killed six times is the harder
# case. A step that was cut short by the kill of another is looked at first: `probed` is its boundary then.
remember_static
killed_all_the_way() { # EVENT
  local command=pivot step
  for step in share-port/kube-apiserver {create-daemonset,retire-static}/{kube-controller-manager,kube-scheduler,kube-apiserver}; do
    need fulcrum_killed_at "$1" "$step" $command --yes
    command=resume
  done
  need fulcrum_ends 0 resume --yes -o json
  check 'the resumed run is completed' finished_as completed
  check_pivoted
  need fulcrum_ends 0 rollback --yes
  check_static
}
killed_all_the_way 'step-started|probed'
killed_all_the_way 'step-done|probed'
