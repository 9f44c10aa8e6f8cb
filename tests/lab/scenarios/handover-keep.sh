# rollback --keep-port-sharing under load: static pods again, with the flag, and no request is lost (by hand)
# shellcheck shell=bash disable=SC2154

remember_static
need fulcrum_ends 0 pivot --yes
check_pivoted
load_start
need fulcrum_ends 0 rollback --yes --keep-port-sharing
wait_until 'the API answers, node and mirror pods are Ready' 240 static_steady
for component in "${COMPONENTS[@]}"; do
  check "the manifest of $component has the flag" grep -- --permit-port-sharing=true "$MANIFESTS/$component.yaml"
done
expect_eq 'the manifests are the four' 'etcd.yaml kube-apiserver.yaml kube-controller-manager.yaml kube-scheduler.yaml' \
  "$(find "$MANIFESTS" -mindepth 1 -printf '%P\n' | sort | paste -sd ' ')"
expect_eq 'no DaemonSet is left' '' "$(daemonsets)"
expect_same 'no label and no lease is left' "$static_traces" "$(traces)"
expect_eq 'no connection is redirected' '' "$(redirects)"
expect_eq 'status says static' static "$(status_of .state)"
load_stop 'rollback --keep-port-sharing'
check_unharmed 'rollback --keep-port-sharing'
step_times
