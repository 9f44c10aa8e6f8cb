# `fulcrum edit` of the API server under load: a good flag, a bad one that is taken back, SIGKILL in the middle; the leaders (by hand)
# shellcheck shell=bash

remember_static
need fulcrum_ends 0 pivot --yes
check_pivoted
need wait_until 'the pod is available' 60 available
fulcrum certs check -o json
note "certs check: exit code $CODE, $(jq -c '.certificates | length' "$OUT") certificates"
expect_eq 'no process has an older certificate than its file' '0|12' "$CODE"

load_start
need fulcrum_ends 0 edit kube-apiserver --set event-ttl=2h0m0s --yes
need wait_until 'only the new pod is left, and is Ready' 60 only_pod_runs --event-ttl=2h0m0s
sleep 15 # connections that were made to the old one are missed by then
load_stop 'a good flag'
check_unharmed 'a good flag'
check_endpoints_held 'a good flag' "$(or_p99 100)"

serving=$(api_pods .metadata.uid)
load_start
fulcrum_ends 4 edit kube-apiserver --set no-such-flag=yes --yes
check 'the message names the flag' grep -q 'its log ends: .*no-such-flag' "$ERR"
need wait_until 'only a pod with the good flag is left, and is Ready' 120 only_pod_runs --event-ttl=2h0m0s
expect_eq 'the pod that served is the one that serves' "$serving" "$(api_pods .metadata.uid)"
load_stop 'a bad flag'
check_unharmed 'a bad flag'

# In an editor, as most do it.
serving=$(api_pods .metadata.uid)
fulcrum_through env EDITOR='sed -i s/--event-ttl=2h0m0s/--event-ttl=2h30m0s/'
fulcrum_ends 0 edit kube-apiserver --dry-run
check 'a dry run shows the difference' grep -q 'event-ttl=2h30m0s' "$OUT" "$ERR"
expect_eq 'and changes no pod' "$serving" "$(api_pods .metadata.uid)"
load_start
need fulcrum_ends 0 edit kube-apiserver --yes
fulcrum_through
need wait_until 'only the new pod is left, and is Ready' 60 only_pod_runs --event-ttl=2h30m0s
sleep 15
load_stop 'a flag by the editor'
check_unharmed 'a flag by the editor'

# The lease of a leader that ends is given back: the next one looks after 4.4 s at most.
load_start
leaders_watched
for component in "${LEADERS[@]}"; do need fulcrum_ends 0 edit "$component" --set v=1 --yes; done
load_stop 'the leaders'
check_unharmed 'the leaders'
check_leaders 'the leaders' 5

# The guard goes on with an edit whose command died.
load_start
fulcrum_killed_at step-done edit-daemonset/kube-apiserver edit kube-apiserver --set event-ttl=3h0m0s --yes
need wait_until 'the guard has brought it to its end' 240 last_run_is edit completed
need wait_until 'only the newest pod is left, and is Ready' 120 only_pod_runs --event-ttl=3h0m0s
sleep 15
load_stop 'an edit that was killed'
check_unharmed 'an edit that was killed'

load_start
need fulcrum_ends 0 rollback --yes
check_static
load_stop rollback
check_unharmed rollback
