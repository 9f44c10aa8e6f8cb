# The behaviours of the simulator on a real cluster. Sourced by the scenarios that check them.
# shellcheck shell=bash

# behave KUBECONFIG: all of the list, as it is made on this node: with several nodes in the cluster those of several, too. It
# prints a line a behaviour, as the lab does: "ok   NAME (SECONDS s)" or "FAIL NAME: WHAT: SEEN".
behave() {
  local line seen code=0
  next_call behaviours
  node_exec timeout --kill-after=5 3600 behaviours --kubeconfig "$1" \
    --manifests-dir /etc/kubernetes/manifests >"$OUT" 2>"$ERR" || code=$?
  while IFS= read -r line; do
    case $line in
    'ok   '*) pass "${line#ok   }" ;;
    'FAIL '*) seen=${line#FAIL } && fail "${seen%%: *}" "${seen#*: }" ;;
    esac
  done <"$OUT"
  check 'it ran to its end' grep -E '^[0-9]+ passed, [0-9]+ failed$' "$OUT"
  expect_eq 'its exit code' 0 "$code"
  [ "$code" != 2 ] || note "$(tail -n 3 "$ERR")"
}
# behaved: the names of those that were looked at.
behaved() { sed -nE 's/^ok   (.*) \([0-9.]+ s\)$/\1/p; s/^FAIL ([^:]*): .*/\1/p' "$OUT"; }
behaviours_left() {
  kubectl -n kube-system get pods,configmaps,leases,daemonsets -l fulcrum-behaviour=yes -o name
}
