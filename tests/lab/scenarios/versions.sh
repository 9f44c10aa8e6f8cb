# a pivot, a roll-out, a power cut and a rollback, under load, on each release that the lab has (by hand)
# shellcheck shell=bash

remember_static
load_start
need fulcrum_ends 0 pivot --yes
check_pivoted
load_stop pivot
check_unharmed pivot
check_endpoints_held pivot "$(or_p99 100)"
need wait_until 'the pod is available' 60 available

# Up to 1.24 a DaemonSet's pod is replaced only when a person deletes it, and its API server is away meanwhile.
if [ "$(kubectl -n kube-system get daemonset "$API_DAEMONSET" -o jsonpath='{.spec.updateStrategy.type}')" = RollingUpdate ]; then
  load_start
  need check 'a changed flag is rolled out' add_flag --event-ttl=2h0m0s
  need wait_until 'only the new pod is left, and is Ready' 180 only_pod_runs --event-ttl=2h0m0s
  sleep 15 # connections that were made to the old one are missed by then
  load_stop roll-out
  check_unharmed roll-out
  check_endpoints_held roll-out "$(or_p99 100)"
fi

hand_overs_from_now
power_cut
need wait_until 'the API answers after a power cut' 240 says_ready
load_start
need wait_until 'self-hosted again, without help' 420 self_hosted_again
load_stop 'hand-over after a power cut'
check_unharmed 'hand-over after a power cut'
remember_etcd
check_pivoted

load_start
need fulcrum_ends 0 rollback --yes
check_static
load_stop rollback
check_unharmed rollback
check 'a Deployment made now runs' deployment_runs after-rollback
