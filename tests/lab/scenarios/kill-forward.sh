# SIGKILL at share-port, at create-daemonset and at every retire-static of a pivot, which is resumed each time
# shellcheck shell=bash

# Two pivots with several kills in each, instead of many with one: a run that has been killed four times is the harder
# case. A step that was cut short by the kill of another is looked at first: `probed` is its boundary then. Steps that run
# side by side share commits: the three create-daemonset start and end in the same one, and a kill there is a kill at all
# three; the static API server is the last to go.
remember_static
killed_all_the_way() { # EVENT STEP...
  local event=$1 command=pivot step
  shift
  for step in "$@"; do
    need fulcrum_killed_at "$event" "$step" $command --yes
    command=resume
  done
  need fulcrum_ends 0 resume --yes -o json
  check 'the resumed run is completed' finished_as completed
  check_pivoted
  need fulcrum_ends 0 rollback --yes
  refresh_kubelet
  check_static
}
killed_all_the_way 'step-started|probed' share-port/kube-apiserver create-daemonset/kube-apiserver \
  retire-static/{kube-controller-manager,kube-scheduler,kube-apiserver}
killed_all_the_way 'step-done|probed' share-port/kube-apiserver create-daemonset/kube-scheduler retire-static/kube-apiserver
