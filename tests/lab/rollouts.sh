# Roll-outs of the self-hosted API server. Sourced by lib.sh.
# shellcheck shell=bash

add_flag() {
  kubectl -n kube-system patch daemonset $API_DAEMONSET --type=json \
    -p '[{"op": "add", "path": "/spec/template/spec/containers/0/command/-", "value": "'"$1"'"}]'
}
api_pods() { kubectl -n kube-system get pods -l k8s-app=$API_DAEMONSET -o json | jq -c ".items[] | $1"; }
# only_pod_runs FLAG: one pod is left, is Ready, and has the flag.
only_pod_runs() { only_pods_run "$1" 1; }
# only_pods_run FLAG COUNT: so many pods are left, on as many nodes, each Ready and with the flag.
only_pods_run() {
  local seen
  seen=$(api_pods '[.spec.nodeName, any(.status.conditions[]; .type == "Ready" and .status == "True"), (.spec.containers[0].command[-1])]')
  [[ $(wc -l <<<"$seen") = "$2" && $(grep -c "true,\"$1\"]" <<<"$seen") = "$2" ]] || { echo "$seen"; return 1; }
}
# restarted: a container of an API server has ended three times.
restarted() { api_pods '.status.containerStatuses[0].restartCount // 0' | awk '$1 >= 2 {found = 1} END {exit !found}'; }
# available [COUNT]: one pod, or so many. Before a pod counts as available, 20 s after it was Ready, the controller is to look at its DaemonSet again at that
# time, and does not note that it must do so later for a pod that is newer: that roll-out would wait for some other event
# (Kubernetes' delaying queue keeps the earlier of two times).
available() { [ "$(kubectl -n kube-system get daemonset $API_DAEMONSET -o jsonpath='{.status.numberAvailable}')" = "${1:-1}" ]; }
