# SIGKILL in a pivot that is then rolled back, and SIGKILL in the rollback itself
# shellcheck shell=bash

remember_static

killed_then_rolled_back() { # EVENT STEP
  need fulcrum_killed_at "$1" "$2" pivot --yes
  need fulcrum_ends 0 rollback --yes -o json
  check 'the killed run is rolled back' finished_as rolled-back
  refresh_kubelet
  check_static
}
killed_then_rolled_back step-started create-daemonset/kube-scheduler
killed_then_rolled_back step-done retire-static/kube-apiserver

# On the way back each call is killed in turn, and the next takes up what it left.
need fulcrum_ends 0 pivot --yes
check_pivoted
for step in retire-static create-daemonset share-port; do
  need fulcrum_killed_at undo-started $step/kube-apiserver rollback --yes
done
need fulcrum_ends 0 resume --yes -o json
check 'the resumed rollback ends as one' finished_as rolled-back
refresh_kubelet
check_static
check 'a Deployment made now runs' deployment_runs after-kills
