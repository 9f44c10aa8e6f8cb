# the list that the rehearsal is tested by, on a real node: each behaviour, and that it leaves nothing
# shellcheck shell=bash

# shellcheck source=../behave.sh
. "$HERE/behave.sh"

remember_static
behave /etc/kubernetes/admin.conf
refresh_kubelet # its watch of the API backs off while the API server is away
check_static
expect_eq 'no pod, ConfigMap or Lease of it is left' '' "$(behaviours_left)"
check 'a Deployment made now runs' deployment_runs after-behaviours
