# rollback --keep-port-sharing under load, and again killed at every boundary: no request is lost (by hand)
# shellcheck shell=bash

# Static pods again, with the flag.
check_static_with_flag() {
  local component
  wait_until 'the API answers, node and mirror pods are Ready' 240 static_steady
  for component in "${COMPONENTS[@]}"; do
    check "the manifest of $component has the flag" grep -- --permit-port-sharing=true "$MANIFESTS/$component.yaml"
  done
  expect_eq 'the manifests are the four' 'etcd.yaml kube-apiserver.yaml kube-controller-manager.yaml kube-scheduler.yaml' \
    "$(find "$MANIFESTS" -mindepth 1 -printf '%P\n' | sort | paste -sd ' ')"
  expect_eq 'no DaemonSet is left' '' "$(daemonsets)"
  expect_same 'no label and no lease is left' "$STATIC_TRACES" "$(traces)"
  expect_eq 'no connection is redirected' '' "$(redirects)"
  expect_eq 'status says static' static "$(status_of .state)"
}

remember_static
need fulcrum_ends 0 pivot --yes
check_pivoted
load_start
need fulcrum_ends 0 rollback --yes --keep-port-sharing
check_static_with_flag
load_stop 'rollback --keep-port-sharing'
check_unharmed 'rollback --keep-port-sharing'
step_times

# A pivot begins from there as well.
load_start
need fulcrum_ends 0 pivot --yes
check_pivoted
load_stop 'pivot of static pods with the flag'
check_unharmed 'pivot of static pods with the flag'
load_start
need fulcrum_killed_everywhere 'rollback --keep-port-sharing' rollback
expect_eq 'the run is rolled back' rolled-back "$(history_of '.runs[-1].outcome')"
check_static_with_flag
load_stop 'rollback --keep-port-sharing, killed everywhere'
check_unharmed 'rollback --keep-port-sharing, killed everywhere'
