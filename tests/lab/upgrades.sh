# Upgrades of the self-hosted control plane. Sourced by lib.sh.
# shellcheck shell=bash

# runs VERSION [EMULATED]: each component's image and, if one is named, the release that it emulates.
runs() {
  local seen
  seen=$(kubectl -n kube-system get daemonsets -o json | jq -r --arg v ":$1" --arg e "--emulated-version=${2:-}" \
    '[.items[] | select(.metadata.name | startswith("self-hosted-")) | .spec.template.spec.containers[0] | select((.image | endswith($v)) and
      ([.command[] | select(startswith("--emulated-version="))] == (if $e == "--emulated-version=" then [] else [$e] end)))] | length')
  [ "$seen" = 3 ] || { echo "$seen of 3"; kubectl -n kube-system get daemonsets -o wide; return 1; }
}
# only_release_pods VERSION: one pod of each DaemonSet is left, Ready, with that image.
only_release_pods() {
  local seen
  seen=$(kubectl -n kube-system get pods -l k8s-app -o json | jq -r --arg v ":$1" \
    '[.items[] | select(.metadata.labels["k8s-app"] | startswith("self-hosted-")) | [.metadata.name, (.spec.containers[0].image | endswith($v)), any(.status.conditions[]; .type == "Ready" and .status == "True")]] | tojson')
  [ "$(jq '(length == 3) and all(.[]; .[1] and .[2])' <<<"$seen")" = true ] || { echo "$seen"; return 1; }
}
server_version() { kubectl get --raw /version | jq -r .gitVersion; }
# compared_lists: how many lists of the old API server the new one was asked for, too, before clients were steered to it.
compared_lists() {
  history_of '[.runs | map(select(.kind == "upgrade")) | last | .attempts[].output | .compared?.lists? // empty] | max // 0'
}
# kubeadm_says VERSION: the release in kubeadm's own configuration of the cluster.
kubeadm_says() {
  kubectl -n kube-system get configmap kubeadm-config -o json | jq -r .data.ClusterConfiguration | grep -x "kubernetesVersion: $1"
}
# addons: what CoreDNS and kube-proxy are to run, and their configurations, with that of kubelets.
addons() {
  kubectl -n kube-system get deployment/coredns daemonset/kube-proxy -o json | jq -r '.items[] | .spec.template.spec.containers[0].image'
  kubectl -n kube-system get configmaps coredns kube-proxy kubelet-config -o json | jq -cS '.items[] | [.metadata.name, .data]'
}
# bring VERSION: its images and its kubeadm onto the node, as an operator would.
bring() {
  mkdir -p "$DISK/opt/$1"
  ln "$LAB_CACHE/$1/images.tar" "$DISK/opt/$1/images.tar"
  cp "$LAB_CACHE/$1/bin/hyperkube" "$DISK/opt/$1/kubeadm"
  node_exec ctr -n k8s.io images import "/opt/$1/images.tar" >/dev/null
}
