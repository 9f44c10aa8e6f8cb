# SIGKILL at share-port, at create-daemonset and at every retire-static of a pivot, which is resumed each time
# shellcheck shell=bash disable=SC2154

# Two pivots with five kills in each, instead of ten with one: a run that has been killed four times is the harder case. A
# step that was cut short by the kill of another is looked at first: `probed` is its boundary then. The three
# create-daemonset start in one commit and take milliseconds: a kill at one of them is a kill at all three.
remember_static
killed_all_the_way() { # EVENT CREATED
  local command=pivot step
  for step in share-port/kube-apiserver "create-daemonset/$2" \
    retire-static/{kube-controller-manager,kube-scheduler,kube-apiserver}; do
    need fulcrum_killed_at "$1" "$step" $command --yes
    command=resume
  done
  need fulcrum_ends 0 resume --yes -o json
  check 'the resumed run is completed' finished_as completed
  check_pivoted
  need fulcrum_ends 0 rollback --yes
  refresh_kubelet
  check_static
}
killed_all_the_way 'step-started|probed' kube-apiserver
killed_all_the_way 'step-done|probed' kube-scheduler
