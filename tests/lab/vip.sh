# kube-vip in front of the nodes instead of haproxy, as kubeadm's users have it: a static pod on each node. The one whose pod holds
# the lease plndr-cp-lock has the address. Sourced by session; the scenarios whose names begin with "nodes-vip" have it.
#
# What kube-vip 0.9.1 does, from its source: it takes certificate and key from /etc/kubernetes/admin.conf, and *not* the server.
# It asks https://kubernetes:6443, and its manifest maps that name to 127.0.0.1 (hostAliases). It renews its lease each second,
# with at most 3 s for it, and another may take the lease after 5 s. Where it cannot renew, it gives the address up and ends, and
# the kubelet starts it again. It never asks whether the API server of its node is well.
# shellcheck shell=bash

VIP_LEASE=plndr-cp-lock

# vip_bring CONFIG: the image and the manifest onto this node, whose pod has /etc/kubernetes/CONFIG.
vip_bring() {
  cp "$LAB_CACHE/kube-vip/image.tar" "$DISK/image.tar" && node_exec ctr -n k8s.io images import /image.tar || return
  rm "$DISK/image.tar"
  vip_manifest "$1" 127.0.0.1
}
# vip_manifest CONFIG ADDRESS: what `kube-vip manifest pod` prints, with the name `kubernetes` mapped to ADDRESS. In one go: the
# kubelet reads every file there.
vip_manifest() {
  local version new=$DISK/etc/kubernetes/kube-vip.new
  version=$(cat "$LAB_CACHE/kube-vip/version") &&
    env -i "$LAB_CACHE/kube-vip/kube-vip" manifest pod --interface eth0 --address "$VIP" --controlplane --arp --leaderElection \
      --leaseName $VIP_LEASE --k8sConfigPath "/etc/kubernetes/$1" >"$new" &&
    sed -i -E "s|image: .*|image: docker.io/library/kube-vip:$version|; s|ip: 127\.0\.0\.1\$|ip: $2|" "$new" &&
    grep -q "ip: $2\$" "$new" && mv "$new" "$MANIFESTS/kube-vip.yaml"
}
# vip_asks ADDRESS: from now on kube-vip of this node asks the API server there.
vip_asks() { vip_manifest admin.conf "$1"; }
vip_asks_loopback() { vip_asks 127.0.0.1; }
vip_asks_own() { vip_asks "$NODE_IP"; }
# vip_after_init: kubeadm's admin.conf may do nothing until kubeadm has said so in the cluster: until then the pod of the first
# node has had super-admin.conf, as kube-vip's own page says.
vip_after_init() {
  vip_asks_loopback || return
  within 120 vip_steady 127.0.0.1 || { echo "kube-vip does not hold $VIP after 120 s: $LAST_SEEN"; return 1; }
}

# --- who has the address -----------------------------------------------------------------------------------------------

# vip_where: the nodes whose cards have it.
vip_where() {
  local number pid
  for number in $(seq "$NODES"); do
    pid=$(cat "$LAB_CACHE/run-cp$number/pid" 2>/dev/null) || continue
    if nsenter -t "$pid" -n ip -o -4 address show dev eth0 2>/dev/null | grep -qF " $VIP/"; then echo "cp$number"; fi
  done | paste -sd ' '
}
# vip_lease JSONPATH: asked at each node's own address until one answers.
vip_lease() {
  local number
  for number in $(seq "$NODES"); do
    kubectl --server "https://$(address_of "$number"):6443" --request-timeout=3s -n kube-system get lease $VIP_LEASE -o jsonpath="$1" \
      2>/dev/null && return
  done
  echo "no API server tells of the lease"
  return 1
}
# vip_held: one node has it, and that node's kube-vip holds the lease.
vip_held() {
  local where holder
  where=$(vip_where)
  holder=$(vip_lease '{.spec.holderIdentity}') || holder='unknown'
  [ "$where" = "$holder" ] || { echo "$VIP is at '$where', the lease is held by '$holder'"; return 1; }
}
# vip_runs ADDRESS|own: this node's kube-vip runs and asks there.
vip_runs() {
  local seen
  seen=$(kubectl -n kube-system get pod "kube-vip-$NODE" -o json |
    jq -r '[.spec.hostAliases[0].ip, .spec.volumes[0].hostPath.path, (.status.containerStatuses[0].state | keys[0])] | join(" ")') || return
  [ "$seen" = "${1/own/$NODE_IP} /etc/kubernetes/admin.conf running" ] || { echo "kube-vip-$NODE asks, with, is: $seen"; return 1; }
}
# vip_steady ADDRESS|own: three times in a row: this node's kube-vip runs with that manifest, and one node has the address.
vip_steady() { for _ in 1 2 3; do vip_runs "$1" && vip_held && sleep 1 || return; done; }

# --- what kube-vip saw -------------------------------------------------------------------------------------------------

# vip_logs_kept: as long as the scenario runs, what each kube-vip has said, in the scenario's logs: the kubelet keeps the last two
# containers of a pod.
vip_logs_kept() { while sleep 2; do vip_logs_keep; done; }
vip_logs_keep() {
  local number file name
  mkdir -p "$LOGS/kube-vip"
  for number in $(seq "$NODES"); do
    for file in "$LAB_CACHE/disk-cp$number/var/log/pods/kube-system_kube-vip-cp$number"_*/kube-vip/*.log; do
      [ -e "$file" ] || continue
      name=${file#*_kube-vip-cp"$number"_}
      cp -L "$file" "$LOGS/kube-vip/cp$number-${name:0:8}-${file##*/}" 2>/dev/null || true
    done
  done
}
# vip_said NODE: its lines since vip_mark, oldest first: UTC time, stream, flag, message.
vip_said() { cat "$LOGS/kube-vip/$1"-*.log 2>/dev/null | sort | awk -v since="$VIP_SINCE" 'substr($1, 1, 19) >= since'; }
# vip_errors NODE: of these what went wrong, each as TIME MESSAGE. That it gives up is a panic in it.
vip_errors() {
  vip_said "$1" | sed -nE '/Observed a panic/d
    s/^[^T]*T([0-9:]{8})[^ ]* std(out|err) [FP] (E[0-9]{4} [^]]*\]|[0-9/]+ [0-9:]+ (ERROR|WARN)) +/\1 /p
    s/^[^T]*T([0-9:]{8})[^ ]* std(out|err) [FP] I[0-9]{4} [^]]*\] +(failed to renew)/\1 \3/p'
}
# vip_mark: what vip_tell tells begins now.
vip_mark() { VIP_SINCE=$(date -u +%FT%T) VIP_WAS=$(vip_where) VIP_CHANGES=$(vip_lease '{.spec.leaseTransitions}') || VIP_CHANGES=''; }
# vip_tell WHAT: where the address was and is, and what each kube-vip saw since.
vip_tell() {
  local number changes errors lost
  within 90 vip_held || note "$1: after 90 s: $LAST_SEEN"
  changes=$(vip_lease '{.spec.leaseTransitions}') || changes=''
  vip_logs_keep
  note "$1: $VIP was at '$VIP_WAS' and is at '$(vip_where)'; its lease changed hands $((${changes:-0} - ${VIP_CHANGES:-0})) times"
  for number in $(seq "$NODES"); do
    errors=$(vip_errors "cp$number") || true
    [ -n "$errors" ] || { note "  kube-vip of cp$number: no error"; continue; }
    lost=$(grep -c 'lost leadership' <<<"$errors") || true
    note "  kube-vip of cp$number: $(wc -l <<<"$errors") errors from $(sed -n '1s/ .*//p' <<<"$errors") to $(sed -n '$s/ .*//p' <<<"$errors"), \
$lost times it gave up and ended"
    cut -d' ' -f2- <<<"$errors" | sed -E 's/(Get|Put|Post) "[^"]*": //; s/([0-9.]+):[0-9]{4,5}->/\1->/g' | sort | uniq -c | sort -rn | sed -n '1,4s/^ *//p' | cut -c -230 |
      while IFS= read -r line; do note "    $line"; done
  done
}
