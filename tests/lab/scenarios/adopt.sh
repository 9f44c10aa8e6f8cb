# `fulcrum adopt`: DaemonSets whose journal was lost, under load, and those of kubeadm's own pivot; then the way back (by hand)
# shellcheck shell=bash

# lose_the_journal: as after a new disk: no journal and no standby. What runs, runs on; the guard, too.
lose_the_journal() { rm -r "${DISK:?}$STATE_DIR" && find "$MANIFESTS" -name '.fulcrum-spare-*' -delete; }
# as_kubeadm_left_it COMPONENT FILE: a DaemonSet of the static pod in FILE, as `kubeadm alpha selfhosting pivot` made it: for the
# role's nodes, with labels and a roll-out of its own, on a port that nothing else may share.
as_kubeadm_left_it() {
  node_exec kubectl create --dry-run=client -o json -f "$2" | jq --arg name "self-hosted-$1" '
    .spec as $pod | {apiVersion: "apps/v1", kind: "DaemonSet", metadata: {name: $name, namespace: "kube-system"},
      spec: {selector: {matchLabels: {"k8s-app": $name}}, updateStrategy: {type: "RollingUpdate"},
        template: {metadata: {labels: {"k8s-app": $name}}, spec: ($pod + {dnsPolicy: "ClusterFirstWithHostNet",
          nodeSelector: {"node-role.kubernetes.io/control-plane": ""},
          tolerations: [{key: "node-role.kubernetes.io/control-plane", effect: "NoSchedule"}]})}}}' |
    kubectl create -f -
}
# half_over COMPONENT: the DaemonSet's pod is there, and its static pod is not any more.
half_over() {
  local file=/etc/kubernetes/manifests/$1.yaml
  as_kubeadm_left_it "$1" "$file" >>"$LOGS/kubeadm.log" &&
    within 30 daemonset_has_a_pod "$1" && rm "$DISK$file"
}
daemonset_has_a_pod() { [ "$(kubectl -n kube-system get pods -l "k8s-app=self-hosted-$1" -o json | jq '[.items[] | select(.spec.nodeName)] | length')" = 1 ]; }
doctor_names_adopt() { node_exec fulcrum doctor --state-dir "$STATE_DIR"; } # its exit code is not 0
# shares_no_port COMPONENT: its manifest, which an adoption has written as JSON, without the flag. The kubelet reads every file in
# the directory, but none that begins with a dot.
shares_no_port() {
  jq '.spec.containers[].command |= map(select(. != "--permit-port-sharing=true"))' "$MANIFESTS/$1.yaml" >"$MANIFESTS/.$1" &&
    mv "$MANIFESTS/.$1" "$MANIFESTS/$1.yaml"
}
static_by_adoption() {
  expect_eq 'the manifests of the three are there, and share their ports' 3 \
    "$(grep -l -- --permit-port-sharing=true "$MANIFESTS"/kube-*.yaml | wc -l)"
  wait_until 'the API answers, node and mirror pods are Ready' 240 static_steady
  expect_eq 'no DaemonSet is left' '' "$(daemonsets)"
  expect_same 'no label and no lease is left' "$STATIC_TRACES" "$(traces)"
  expect_eq 'status says static' static "$(status_of .state)"
}

remember_static
need fulcrum_ends 0 pivot --yes
check_pivoted
need check 'the journal and the standby are lost' lose_the_journal
fulcrum_ends 3 adopt --dry-run
check 'the guard of what was lost is in the way, by name' grep -q 'fulcrum guard uninstall' "$ERR"
need fulcrum_ends 0 guard uninstall
check 'doctor names the command' grep -q 'fulcrum adopt' <<<"$(doctor_names_adopt)"
fulcrum_ends 0 adopt --dry-run
expect_eq 'it shows three static manifests' 3 "$(grep -c '^kind: Pod' "$OUT")"
expect_eq 'a dry run makes no manifest' etcd.yaml "$(find "$MANIFESTS" -mindepth 1 -printf '%P\n')"
load_start
need fulcrum_ends 0 adopt --yes
check_pivoted
sleep 15 # connections that were made to the old one are missed by then
load_stop 'DaemonSets of a lost journal are taken over'
check_unharmed 'DaemonSets of a lost journal are taken over'
check 'the guard runs' guard_pid
power_cut
remember_etcd
wait_until 'after a power cut the control plane is self-hosted again' 420 self_hosted_again
load_start
need fulcrum_ends 0 rollback --yes
static_by_adoption
load_stop 'the way back'
check_unharmed 'the way back'

# What shares no port: it is away while one API server takes the other's place, so no load.
rm -r "${DISK:?}$STATE_DIR"
for component in "${COMPONENTS[@]}"; do need check "$component shares its port no more" shares_no_port "$component"; done
need wait_until 'the static pods share no port again' 240 static_steady
for component in kube-scheduler kube-controller-manager kube-apiserver; do
  need check "kubeadm's pivot of $component" half_over "$component"
done
need wait_until "kubeadm's DaemonSets serve" 240 daemonsets_ready
load_start
need fulcrum_ends 0 adopt --yes
check_pivoted
sleep 15
load_stop "what kubeadm's pivot left is taken over"
check_unharmed "what kubeadm's pivot left is taken over"
need fulcrum_ends 0 rollback --yes
static_by_adoption
