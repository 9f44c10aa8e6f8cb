# `pivot --store-certs-in-secrets` under load: power cuts, a certificate rotated in its Secret, all renewed, and back with no Secret left (by hand)
# shellcheck shell=bash

# shellcheck source=../keys.sh
. "$HERE/keys.sh"
# shellcheck source=../certificates.sh
. "$HERE/certificates.sh"

KUBERNETES=${MANIFESTS%/manifests}
MIRROR=$DISK$STATE_DIR/certificates

secrets() { kubectl -n kube-system get secrets -o json | jq -r '[.items[] | select(.type != "bootstrap.kubernetes.io/token") | .metadata.name] | sort | join(" ")'; }
# no_key_outside LINES [volumes]: which files have one of these lines. On the disk they are kubeadm's, the mirror's, or what a
# renewal has replaced, and for root alone. In memory they are, with `volumes`, those of a pod's Secret, which the kubelet keeps
# on a tmpfs, and binds one by one for a `subPath`; one must have been found. What was said has none. etcd's data are no place of
# the search: the Secrets are there.
no_key_outside() {
  local seen said wrong root volumes=${2:-}
  root=/proc/$(node_pid)/root # with the mounts of the node, as $DISK is without them
  # The root file systems of containers, and network namespaces, which are no files to be read.
  seen=$(files_with "$1" --exclude-dir=rootfs --exclude-dir=netns "$DISK"/etc "$DISK"/root "$DISK"/tmp "$DISK"/var/log \
    "$DISK$STATE_DIR" "$DISK"/var/lib/kubelet "$root"/run "$root"/dev/shm "$root"/var/lib/kubelet) || { echo "$seen"; return 1; }
  said=$(files_with "$1" "$LOGS") || return
  wrong=$(while IFS= read -r file; do
    case $file in
    "$KUBERNETES"/* | "$MIRROR"/* | "$DISK$STATE_DIR"/archive/*/certificates/* | "$DISK"/root/.kube/*) [ "$(stat -c %a "$file")" = 600 ] || stat -c '%n %a' "$file" ;;
    "$root"/var/lib/kubelet/pods/*/volumes/kubernetes.io~projected/* | "$root"/var/lib/kubelet/pods/*/volume-subpaths/*)
      [[ -n $volumes && $(stat -f -c %T "$file") = tmpfs ]] || stat -c '%n %a' "$file" ;;
    *) echo "$file" ;;
    esac
  done <<<"$seen")
  [[ -z $volumes || $seen == *~projected/* ]] || wrong+=" no Secret of a pod was found"
  [ -z "$wrong$said" ] || { echo "$wrong $said"; return 1; }
}
# of_the_host: what the three DaemonSets mount of kubeadm's directory.
of_the_host() {
  kubectl -n kube-system get daemonsets -o json |
    jq -r '[.items[].spec.template.spec.volumes[] | .hostPath.path // empty | select(startswith("/etc/kubernetes"))] | join(" ")'
}
# presented: the certificate that the API server presents.
presented() { python3 -c 'import ssl, sys; print(ssl.get_server_certificate((sys.argv[1], 6443)).strip())' "$NODE_IP"; }
presents_the_file() { local seen; seen=$(presented); [ "$seen" = "$(cat "$KUBERNETES/pki/apiserver.crt")" ] || { echo "$seen"; return 1; }; }
mirror_has() { cmp "$KUBERNETES/$1" "$MIRROR/$1"; }
# into_secret NAME: the Secret gets what kubeadm's files have now, as docs/certificates.md says.
into_secret() {
  kubectl -n kube-system create secret tls "$1" --cert="$KUBERNETES/pki/$1.crt" --key="$KUBERNETES/pki/$1.key" \
    --dry-run=client -o json |
    jq '{data}' | kubectl -n kube-system patch secret "$1" --type=merge --patch-file=/dev/stdin >/dev/null
}

# What the host's files need, in this very run.
remember_static
need fulcrum_ends 0 pivot --yes
check_pivoted
power_cuts 'files' self_hosted_again loaded
need fulcrum_ends 0 rollback --yes
remember_etcd
check_static

remember_static
keys=$(key_lines)
none=$(secrets)
load_start
need fulcrum_ends 0 pivot --store-certs-in-secrets --yes
check_pivoted
sleep 15 # connections that were made to the old one are missed by then
load_stop 'pivot --store-certs-in-secrets'
check_unharmed 'pivot --store-certs-in-secrets'
expect_eq 'the DaemonSets mount nothing of kubeadm on the host' '' "$(of_the_host)"
note "Secrets: $(secrets)"
check 'a search finds the keys where they are' keys_are_found "$keys"
# Looked for again where a file has gone while it was read.
wait_until 'no key is outside of 0600 files and Secrets' 30 no_key_outside "$keys" volumes

power_cuts 'secrets' self_hosted_again loaded
check 'the one with Secrets answers within 1.1 x of the one with files' \
  at_most "$(awk -v t="$(answered_after files)" 'BEGIN {print t * 1.1}')" "$(answered_after secrets)"
check 'and has leaders within 1.1 x' \
  at_most "$(awk -v t="$(led_after files)" 'BEGIN {print t * 1.1}')" "$(led_after secrets)"
remember_etcd
check_pivoted

# A certificate is rotated in its Secret. Nothing is restarted.
former=$(presented)
processes=$(control_plane_processes)
load_start
node_exec kubeadm certs renew apiserver >"$LOGS/kubeadm.log" 2>&1
keys+=$'\n'$(key_lines)
check 'the Secret gets the new files' into_secret apiserver
began=$SECONDS
need wait_until 'the API server presents the new certificate' 240 presents_the_file
note "after $((SECONDS - began)) s, most of which is the kubelet's"
expect_eq 'it is another one' no "$([ "$former" = "$(presented)" ] && echo yes || echo no)"
need wait_until 'the standby has it, too' 240 mirror_has pki/apiserver.crt
check 'with its key' mirror_has pki/apiserver.key
expect_same 'no process was restarted' "$processes" "$(control_plane_processes)"
sleep 15
load_stop 'a rotation in a Secret'
check_unharmed 'a rotation in a Secret'

hand_overs_from_now
power_cut
need wait_until 'the API answers' 240 api_answers
check 'the standby presents the new certificate, too' presents_the_file
need wait_until 'self-hosted again' 420 self_hosted_again
remember_etcd

# All of them by one command: files, Secrets, the standby, and what each process has.
former=$(presented)
load_start
need fulcrum_ends 0 certs renew all --yes
check 'every process has the new certificates' none_is_older
check 'the API server presents the one that is in the file' presents_the_file
expect_eq 'it is another one' no "$([ "$former" = "$(presented)" ] && echo yes || echo no)"
for file in pki/{apiserver,apiserver-kubelet-client,apiserver-etcd-client,front-proxy-client}.{crt,key} {controller-manager,scheduler}.conf; do
  check "the standby has $file" mirror_has "$file"
done
keys+=$'\n'$(key_lines)
sleep 15
load_stop 'a renewal of all, in Secrets'
check_unharmed 'a renewal of all, in Secrets'
wait_until 'no key is outside of 0600 files and Secrets' 30 no_key_outside "$keys" volumes
check_pivoted

load_start
need fulcrum_ends 0 rollback --yes
check_static
load_stop 'rollback'
check_unharmed 'rollback'
expect_eq 'no Secret is left' "$none" "$(secrets)"
check 'no mirror is left' test ! -e "$MIRROR"
check 'a search finds the keys where they are' keys_are_found "$keys"
# The kubelet takes the volumes of pods away that are gone.
wait_until 'no key is outside of 0600 files' 120 no_key_outside "$keys"
