# roll-outs on the self-hosted API server under load: of a changed flag, of a bad flag, and back (by hand)
# shellcheck shell=bash

remember_static
need fulcrum_ends 0 pivot --yes
check_pivoted
need wait_until 'the pod is available' 60 available

load_start
need check 'a changed flag is rolled out' add_flag --event-ttl=2h0m0s
need wait_until 'only the new pod is left, and is Ready' 180 only_pod_runs --event-ttl=2h0m0s
load_stop 'roll-out of a changed flag'
check_unharmed 'roll-out of a changed flag'
check_endpoints_held 'roll-out of a changed flag' "$(or_p99 100)"

serving=$(api_pods .metadata.uid)
load_start
need check 'a bad flag is rolled out' add_flag --no-such-flag=yes
need wait_until 'the new pod has ended three times' 120 restarted
sleep 15
check 'the old pod is still there and Ready' grep -q "$serving,true" <(api_pods '[.metadata.uid,
  any(.status.conditions[]; .type == "Ready" and .status == "True")]')
check 'the API answers' api_answers
load_stop 'roll-out of a bad flag'
check_unharmed 'roll-out of a bad flag'

load_start
need check 'it is taken back' kubectl -n kube-system rollout undo "daemonset/$API_DAEMONSET"
need wait_until 'only a pod with the good flag is left, and is Ready' 180 only_pod_runs --event-ttl=2h0m0s
sleep 15
load_stop 'roll-out of a bad flag, taken back'
check_unharmed 'roll-out of a bad flag, taken back'
