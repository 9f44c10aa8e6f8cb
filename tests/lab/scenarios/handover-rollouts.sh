# roll-outs on the self-hosted API server under load: of a changed flag, of a bad flag, and back (by hand)
# shellcheck shell=bash disable=SC2154

remember_static
need fulcrum_ends 0 pivot --yes
check_pivoted
daemonset=self-hosted-kube-apiserver
add_flag() {
  kubectl -n kube-system patch daemonset $daemonset --type=json \
    -p '[{"op": "add", "path": "/spec/template/spec/containers/0/command/-", "value": "'"$1"'"}]'
}
pods() { kubectl -n kube-system get pods -l k8s-app=$daemonset -o json | jq -c ".items[] | $1"; }
# only_pod_runs FLAG: one pod is left, is Ready, and has the flag.
only_pod_runs() {
  local seen
  seen=$(pods '[.metadata.name, any(.status.conditions[]; .type == "Ready" and .status == "True"), (.spec.containers[0].command[-1])]')
  [[ $(wc -l <<<"$seen") = 1 && $seen == *"true,\"$1\"]" ]] || { echo "$seen"; return 1; }
}

# Until the pod that the pivot has made counts as available, 20 s after it was Ready, the controller is to look at its DaemonSet
# again at that time, and does not note that it must do so later for a pod that is newer: that roll-out would wait for
# some other event (Kubernetes' delaying queue keeps the earlier of two times).
available() { [ "$(kubectl -n kube-system get daemonset $daemonset -o jsonpath='{.status.numberAvailable}')" = 1 ]; }
need wait_until 'the pod is available' 60 available

load_start
need check 'a changed flag is rolled out' add_flag --event-ttl=2h0m0s
need wait_until 'only the new pod is left, and is Ready' 180 only_pod_runs --event-ttl=2h0m0s
load_stop 'roll-out of a changed flag'
check_unharmed 'roll-out of a changed flag'

serving=$(pods .metadata.uid)
load_start
need check 'a bad flag is rolled out' add_flag --no-such-flag=yes
restarted() { pods '.status.containerStatuses[0].restartCount // 0' | awk '$1 >= 2 {found = 1} END {exit !found}'; }
need wait_until 'the new pod has ended three times' 120 restarted
sleep 15
check 'the old pod is still there and Ready' grep -q "$serving,true" <(pods '[.metadata.uid,
  any(.status.conditions[]; .type == "Ready" and .status == "True")]')
check 'the API answers' api_answers
load_stop 'roll-out of a bad flag'
check_unharmed 'roll-out of a bad flag'

load_start
need check 'it is taken back' kubectl -n kube-system rollout undo daemonset/$daemonset
need wait_until 'only a pod with the good flag is left, and is Ready' 180 only_pod_runs --event-ttl=2h0m0s
sleep 15
load_stop 'roll-out of a bad flag, taken back'
check_unharmed 'roll-out of a bad flag, taken back'
