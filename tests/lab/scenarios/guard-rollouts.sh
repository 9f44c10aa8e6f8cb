# roll-outs with the guard: a good one after the API server was killed, and an image that runs and never serves (by hand)
# shellcheck shell=bash

remember_static
need fulcrum_ends 0 pivot --yes
check_pivoted

# The listener that the guard has made first in line goes with its process.
kill -KILL "$(pod_processes '' kube-apiserver)"
need wait_until 'the API answers after its server was killed' 120 api_answers
need wait_until 'the pod is available' 120 available
load_start
need check 'a changed flag is rolled out' add_flag --event-ttl=2h0m0s
need wait_until 'only the new pod is left, and is Ready' 180 only_pod_runs --event-ttl=2h0m0s
sleep 15 # connections that were made to the old one are missed by then
load_stop 'roll-out after a kill'
check_unharmed 'roll-out after a kill'
check_endpoints_held 'roll-out after a kill' "$(or_p99 100)"
wait_until 'the standby is renewed from what has proven good' 240 last_kind_is renew-standby
need wait_until 'the new pod is available' 60 available

# It runs, and listens elsewhere. The kubelet takes the pod for Ready by the old server's answers, and the old one goes.
image=$(kubeadm config images list --kubernetes-version "$LAB_VERSION" 2>/dev/null | grep /etcd:)
need check 'an image that never serves is rolled out' kubectl -n kube-system patch daemonset "$API_DAEMONSET" --type=json -p '[
  {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "'"$image"'"},
  {"op": "replace", "path": "/spec/template/spec/containers/0/command", "value": ["etcd", "--data-dir=/never-serves",
    "--listen-client-urls=http://127.0.0.1:9999", "--advertise-client-urls=http://127.0.0.1:9999",
    "--listen-peer-urls=http://127.0.0.1:9998"]}]'
need wait_until 'the API is gone' 180 api_silent
began=$SECONDS
wait_until 'the API is back within patience and one start' 75 api_answers
note "back after $((SECONDS - began)) s of silence"
wait_until 'the journal says that static pods stand in' 240 last_run_is fall-back completed
check 'it is what was proven last that stands in' grep -q -- --event-ttl=2h0m0s "$MANIFESTS/kube-apiserver.yaml"
expect_eq 'status says mixed' mixed "$(status_of .state)"
check 'and why' grep -q 'no answer' <(node_exec fulcrum status --state-dir "$STATE_DIR")
wait_until 'an Event on the node says so' 60 event_said
need fulcrum_ends 0 rollback --yes
check_static
