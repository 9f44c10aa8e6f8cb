# after a plain `kubeadm certs renew` the guard says who holds an older certificate, and rolls out if it was told to, under load (by hand)
# shellcheck shell=bash

# shellcheck source=../certificates.sh
. "$HERE/certificates.sh"

OLDER='kube-controller-manager controller-manager.conf, kube-scheduler scheduler.conf'
# said: what the guard's Events say of older certificates.
said() { kubectl get events -A -o json | jq -er '.items[] | select(.reason == "OlderCertificateInUse") | .message'; }
# told_of_both: the Events name both components.
told_of_both() {
  local seen
  seen=$(said) || return
  [[ $seen == *kube-controller-manager* && $seen == *kube-scheduler* ]] || { echo "$seen"; return 1; }
}

of_api_server() { grep '^kube-apiserver '; }

remember_static
need fulcrum_ends 0 pivot --yes
check_pivoted
need wait_until 'the pod is available' 60 available
need wait_until 'no process has an older certificate' 30 none_is_older

load_start
for name in controller-manager.conf scheduler.conf; do
  need check "kubeadm renews $name" node_exec kubeadm certs renew "$name"
done
need expect_eq 'who holds older ones' "$OLDER" "$(older_ones)"
processes=$(control_plane_processes)
# The guard looks each hour, and at its start.
need check 'the guard is started again' node_exec systemctl restart "$GUARD_UNIT"
need wait_until 'its Events name both' 60 told_of_both
sleep 30 # long enough for a roll-out to begin, if one did
expect_same 'it was not told to, and restarts nothing' "$processes" "$(control_plane_processes)"
expect_eq 'they still hold the older ones' "$OLDER" "$(older_ones)"

need fulcrum_ends 0 guard install --roll-certificates
need wait_until 'the guard has rolled out what was needed' 300 last_run_is roll-certs completed
check 'every process has the new certificates' none_is_older
expect_same 'the API server was not started again' "$(of_api_server <<<"$processes")" "$(control_plane_processes | of_api_server)"
need wait_until 'the three DaemonSets are Ready' 60 daemonsets_ready
sleep 15
load_stop 'a roll-out of renewed certificates'
check_unharmed 'a roll-out of renewed certificates'

need fulcrum_ends 0 rollback --yes
check_static
