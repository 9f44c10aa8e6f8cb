# `fulcrum certs renew` under load: all renewed, rolled back, killed in the middle; and what ends while it runs (by hand)
# shellcheck shell=bash

# shellcheck source=../keys.sh
. "$HERE/keys.sh"
# shellcheck source=../certificates.sh
. "$HERE/certificates.sh"

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
# ends NAME...: when the certificate ends that is in the file: Unix time and name, a line each.
ends() {
  checked | jq -r '[.certificates[] | {(.name): (.not_after | fromdate)}] | add as $ends |
    $ARGS.positional[] | "\($ends[.]) \(.)"' --args "$@"
}
# short_ones_last LEAST MOST: each of SHORT ends so many seconds from now, by its file.
short_ones_last() {
  ends "${SHORT[@]}" | awk -v now="$(date +%s)" -v least="$1" -v most="$2" -v expected="${#SHORT[@]}" '
    {print $2, "ends in", $1 - now, "s"; good += $1 ~ /^[0-9]+$/ && $1 - now >= least && $1 - now <= most}
    END {exit good != expected}'
}
DAY=$((24 * 60 * 60))
# sleep_until UNIX_TIME
sleep_until() {
  local left=$(($1 - $(date +%s)))
  [ $left -le 0 ] || sleep $left
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
# leads_no_more LEASE HOLDER: the API says that another process has it, or that this one has not renewed it for 10 s.
leads_no_more() {
  local lease
  lease=$(kubectl -n kube-system get lease "$1" -o json --request-timeout=3s) || return
  jq -e --arg holder "$2" '.spec.holderIdentity != $holder or
    (now - (.spec.renewTime | sub("\\.[0-9]+Z$"; "Z") | fromdate)) >= 10' <<<"$lease"
}
holder_of() { kubectl -n kube-system get lease "$1" -o jsonpath='{.spec.holderIdentity}' --request-timeout=3s; }
# no_key_in_the_journal LINES: none of these lines of keys is in a file of the state directory, the kept files aside, or in
# what this scenario's commands have said.
no_key_in_the_journal() {
  local seen
  seen=$(files_with "$1" --exclude-dir=certificates "$DISK$STATE_DIR" "$LOGS") || return
  [ -z "$seen" ] || { echo "$seen"; return 1; }
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
check 'a search finds the keys where they are' keys_are_found "$keys"
wait_until 'no key is in the journal or in what was said' 10 no_key_in_the_journal "$keys" # the guard writes files meanwhile
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
need check 'each of them ends within 13 min' short_ones_last 1 $((13 * 60))
check 'every process has the short ones' none_is_older
last=$(ends "${SHORT[@]}" | sort -n | tail -n 1 | cut -d' ' -f1)
valid_for 8760h0m0s
need fulcrum_ends 0 certs renew "${SHORT[@]}" --yes
need check 'each of those after them lasts more than 300 days' short_ones_last $((300 * DAY)) $((366 * DAY))
check 'every process has the long ones' none_is_older
processes=$(control_plane_processes)
note "waiting for the last short certificate to end: $((last - $(date +%s))) s"
sleep_until $((last + 30))
load_start
for lease in "${LEADERS[@]}"; do
  check "$lease leads after the end of what was renewed" leads "$lease"
done
# A process that has lost its lease ends, and the kubelet starts it again.
expect_same 'and no process was started again for it' "$processes" "$(control_plane_processes)"
need wait_until 'a Deployment is scheduled and runs' 60 deployment_runs after-the-end
kubectl delete deployment after-the-end --wait=false >/dev/null
sleep 30
load_stop 'after the end of what was renewed'
check_unharmed 'after the end of what was renewed'

# Beside it: the same with a plain kubeadm. Nobody rolls out what does not read its file again.
valid_for 12m0s
need fulcrum_ends 0 certs renew "${SHORT[@]}" --yes
need check 'each of them ends within 13 min' short_ones_last 1 $((13 * 60))
check 'every process has the short ones' none_is_older
held=$(ends controller-manager.conf scheduler.conf | sort -n | cut -d' ' -f1)
valid_for 8760h0m0s
for name in "${SHORT[@]}"; do node_exec kubeadm certs renew "$name" >"$LOGS/kubeadm-$name.log" 2>&1; done
need check 'each of those after them lasts more than 300 days' short_ones_last $((300 * DAY)) $((366 * DAY))
sleep 125 # what looks each minute has had the time to
fulcrum_ends 12 certs check
need expect_eq 'after a plain kubeadm, who holds older ones' \
  'kube-controller-manager controller-manager.conf, kube-scheduler scheduler.conf' "$(older_ones)"
note "waiting for what they hold to end: $(($(head -n 1 <<<"$held") - $(date +%s))) s"
sleep_until $(($(head -n 1 <<<"$held") - 10))
for lease in "${LEADERS[@]}"; do
  check "$lease leads until then" leads "$lease"
  holder_of "$lease" >"$LOGS/$lease.holder"
done
# The API server looks at the certificate of each request. So they cannot renew their leases, give up 10 s later, and end. It is
# the kubelet that starts them again, and then they read the file.
sleep_until "$(tail -n 1 <<<"$held")"
for lease in "${LEADERS[@]}"; do
  wait_until "$lease leads no more after the end of what it holds" 60 leads_no_more "$lease" "$(cat "$LOGS/$lease.holder")"
done
need wait_until 'the leaders are there again' 240 leases_held
need wait_until 'the three DaemonSets are Ready' 120 daemonsets_ready
need fulcrum_ends 0 rollback --yes
check_static
