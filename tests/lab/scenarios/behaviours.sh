# the list that the rehearsal is tested by, on a real node: each behaviour, and that it leaves nothing
# shellcheck shell=bash

remember_static
next_call behaviours
CODE=0
node_exec timeout --kill-after=5 3600 behaviours --kubeconfig /etc/kubernetes/admin.conf \
  --manifests-dir /etc/kubernetes/manifests >"$OUT" 2>"$ERR" || CODE=$?

# It prints a line a behaviour, as the lab does: "ok   NAME (SECONDS s)" or "FAIL NAME: WHAT: SEEN".
while IFS= read -r line; do
  case $line in
  'ok   '*) pass "${line#ok   }" ;;
  'FAIL '*) seen=${line#FAIL } && fail "${seen%%: *}" "${seen#*: }" ;;
  esac
done <"$OUT"
check 'it ran to its end' grep -E '^[0-9]+ passed, [0-9]+ failed$' "$OUT"
expect_eq 'its exit code' 0 "$CODE"
[ "$CODE" != 2 ] || note "$(tail -n 3 "$ERR")"

refresh_kubelet # its watch of the API backs off while the API server is away
check_static
expect_eq 'no pod, ConfigMap or Lease of it is left' '' \
  "$(kubectl -n kube-system get pods,configmaps,leases,daemonsets -l fulcrum-behaviour=yes -o name)"
check 'a Deployment made now runs' deployment_runs after-behaviours
