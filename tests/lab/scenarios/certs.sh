# `fulcrum certs renew` under load: all renewed, rolled back, killed in the middle; and what ends while it runs (by hand)
# shellcheck shell=bash

KUBERNETES=${MANIFESTS%/manifests}
# All that a renewal may change, but for what this scenario itself and its load use to reach the API.
SHORT=(apiserver apiserver-kubelet-client apiserver-etcd-client front-proxy-client etcd-server etcd-peer
  etcd-healthcheck-client controller-manager.conf scheduler.conf)

# certificate_files: names, modes, owners, times and contents of every certificate, key and kubeconfig.
certificate_files() {
  (
    cd "$KUBERNETES" || exit
    find pki ./*.conf -type f -printf '%P %p %m %U:%G %T@\n' | sort
    find pki ./*.conf -type f -exec sha256sum {} + | sort -k 2
  )
}
# none_is_older: no process presents or holds another certificate than its file has, and each was seen.
none_is_older() {
  local seen
  seen=$(node_exec fulcrum certs check -o json --state-dir "$STATE_DIR" |
    jq -c '[.certificates[] | .name as $name | .users[] | select(.state != "presented" and .state != "current") |
      [$name, .program, .state, .detail]]')
  [ "$seen" = '[]' ] || { echo "$seen"; return 1; }
}
# older_ones: who uses an older certificate than its file has.
older_ones() {
  node_exec fulcrum certs check -o json --state-dir "$STATE_DIR" |
    jq -r '[.certificates[] | .name as $name | .users[] | select(.state == "holds-older" or .state == "presents-other") |
      "\(.program) \($name)"] | sort | join(", ")'
}
# valid_for TIME: how long kubeadm makes certificates last from now on (v1beta4).
valid_for() {
  kubectl -n kube-system get configmap kubeadm-config -o json |
    jq --arg time "$1" '.data.ClusterConfiguration |= (split("\n") | map(select(startswith("certificateValidityPeriod:") | not))
      | map(select(. != "")) + ["certificateValidityPeriod: " + $time] | join("\n") + "\n")' | kubectl replace -f - >/dev/null
}
# leads LEASE: its leader has renewed it within the last 10 s.
leads() {
  kubectl -n kube-system get lease "$1" -o json --request-timeout=3s |
    jq -e '(now - (.spec.renewTime | sub("\\.[0-9]+Z$"; "Z") | fromdate)) < 10 and (.spec.holderIdentity // "") != ""'
}
key_lines() { sed -s -n 2p "$KUBERNETES"/pki/*.key "$KUBERNETES"/pki/etcd/*.key; }
# no_key_in_the_journal LINES: none of these lines of keys is in a file of the state directory, the kept files aside, or in
# what this scenario's commands have said.
no_key_in_the_journal() {
  ! grep -rlFf <(echo "$1") --exclude-dir=certificates "$DISK$STATE_DIR" "$LOGS" || return 1
}

remember_static
need fulcrum_ends 0 pivot --yes
check_pivoted
need wait_until 'the pod is available' 60 available
need wait_until 'no process has an older certificate' 30 none_is_older
before=$(certificate_files)
keys=$(key_lines)
fulcrum_ends 0 certs renew --dry-run
expect_same 'a dry run changes no file' "$before" "$(certificate_files)"

load_start
need fulcrum_ends 0 certs renew all --yes
check 'every process has the new certificates' none_is_older
sleep 15 # connections that were made to old processes are missed by then
load_stop 'a renewal of all'
check_unharmed 'a renewal of all'
expect_eq 'the guard or a person reads the run as a renewal' renew-certs "$(history_of '.runs[-1].kind')"
keys+=$'\n'$(key_lines)
check 'no key is in the journal or in what was said' no_key_in_the_journal "$keys"
renewed=$(history_of '.runs[-1].run')

load_start
need fulcrum_ends 0 rollback "$renewed" --yes
expect_same 'the former files are back, byte for byte' "$before" "$(certificate_files)"
need wait_until 'every process has the former certificates' 180 none_is_older
sleep 15
load_stop 'the way back of a renewal'
check_unharmed 'the way back of a renewal'

# The guard goes on with a renewal whose command died: between two certificates, and in a roll-out.
for boundary in 'step-started renew-certs/etcd-server' 'step-done roll-certs/kube-controller-manager'; do
  load_start
  fulcrum_killed_at "${boundary% *}" "${boundary#* }" certs renew --yes
  need wait_until 'the guard has brought it to its end' 600 last_run_is renew-certs completed
  check 'every process has the new certificates' none_is_older
  sleep 15
  load_stop "a renewal that was killed at ${boundary#* }"
  check_unharmed "a renewal that was killed at ${boundary#* }"
done

# The clock of a node in namespaces is the machine's. So certificates end within minutes instead of the year going by:
# kubeadm makes them short (certificateValidityPeriod), the processes get them, and then they are renewed for a year.
valid_for 12m0s
need fulcrum_ends 0 certs renew "${SHORT[@]}" --yes
ends=$((SECONDS + 12 * 60 + 30))
valid_for 8760h0m0s
need fulcrum_ends 0 certs renew "${SHORT[@]}" --yes
note "waiting for the short certificates to end: $((ends - SECONDS)) s"
[ $SECONDS -ge $ends ] || sleep $((ends - SECONDS))
load_start
for lease in kube-controller-manager kube-scheduler; do
  check "$lease leads after the end of what was renewed" leads "$lease"
done
need wait_until 'a Deployment is scheduled and runs' 60 deployment_runs after-the-end
kubectl delete deployment after-the-end --wait=false >/dev/null
sleep 30
load_stop 'after the end of what was renewed'
check_unharmed 'after the end of what was renewed'

# Beside it: the same with a plain kubeadm. Nobody rolls out what does not read its file again.
valid_for 12m0s
need fulcrum_ends 0 certs renew "${SHORT[@]}" --yes
ends=$((SECONDS + 12 * 60 + 60))
valid_for 8760h0m0s
for name in "${SHORT[@]}"; do node_exec kubeadm certs renew "$name" >"$LOGS/kubeadm-$name.log" 2>&1; done
sleep 125 # what looks each minute has had the time to
fulcrum_ends 12 certs check
expect_eq 'after a plain kubeadm, who holds older ones' \
  'kube-controller-manager controller-manager.conf, kube-scheduler scheduler.conf' "$(older_ones)"
note "waiting for what they hold to end: $((ends - SECONDS)) s"
[ $SECONDS -ge $ends ] || sleep $((ends - SECONDS))
for lease in kube-controller-manager kube-scheduler; do
  if leads "$lease" >/dev/null; then note "$lease still leads"; else note "$lease does not lead any more"; fi
done
need fulcrum_ends 0 rollback --yes
check_static
