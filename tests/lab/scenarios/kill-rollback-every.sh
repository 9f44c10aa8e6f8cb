# SIGKILL at every create-daemonset and retire-static of a pivot, which is then rolled back (by hand)
# shellcheck shell=bash

remember_static
for step in {retire-static,create-daemonset}/{kube-apiserver,kube-controller-manager,kube-scheduler}; do
  need fulcrum_killed_at step-started "$step" pivot --yes
  need fulcrum_ends 0 rollback --yes -o json
  check 'the killed run is rolled back' finished_as rolled-back
  refresh_kubelet
  check_static
done
