# The node: one control-plane machine as namespaces and a directory that is its disk. Sourced by session and lib.sh.
#
# Its processes live in network, mount, PID and UTS namespaces of their own, its containers under the cgroup
# /fulcrum-lab. Process 1 (node-init) dies with the session, and everything else on the node with process 1.
# shellcheck shell=bash

NODE_PATH=/run/lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
NODE_ENV=(env -i "PATH=$NODE_PATH" HOME=/root LANG=C.UTF-8)

node_pid() { cat "$DISK/pid"; }

# node_exec COMMAND...: runs it in the node, as root, with nothing of this environment: $KUBECONFIG is not for the inside.
node_exec() { nsenter -t "$(node_pid)" -m -u -n -p -- "${NODE_ENV[@]}" "$@"; }

# node_fresh: a newly made disk, a booted node, kubeadm init, and a control plane that is all Ready. 15-20 s.
node_fresh() {
  node_remove
  mkdir -p "$DISK"/{kubernetes/manifests,kubelet,etcd,fulcrum,pods,log,units,lib}
  # Loading the images takes longer than all the rest: done once, and copied.
  if [ -d "$LAB_CACHE/containerd" ]; then cp -a "$LAB_CACHE/containerd" "$DISK/containerd"; else mkdir "$DISK/containerd"; fi
  node_boot || return
  if [ ! -d "$LAB_CACHE/containerd" ]; then
    node_exec ctr -n k8s.io images import "$LAB_CACHE/images.tar" || return
    node_off # containerd's database is only whole when nobody writes it
    cp -a "$DISK/containerd" "$LAB_CACHE/containerd.new"
    mv "$LAB_CACHE/containerd.new" "$LAB_CACHE/containerd"
    node_boot || return
  fi
  node_config >"$DISK/kubernetes/kubeadm.yaml"
  # preflight is for a real machine; the addons (DNS, proxy) need images that the lab does not have.
  node_exec kubeadm init --config /etc/kubernetes/kubeadm.yaml --skip-phases=preflight,addon || return
  node_exec ln -s /run/lab/systemctl /run/lab/bin/
  within 120 node_ready || { echo "the control plane is not ready after 120 s: $LAST_SEEN"; return 1; }
}

# What "a clean static control plane" means: the node and its four mirror pods Ready, and pods can be made.
node_ready() {
  kubectl get --raw /readyz && kubectl get serviceaccount default &&
    kubectl wait --for=condition=Ready --timeout=0 node/$NODE &&
    for component in etcd kube-apiserver kube-controller-manager kube-scheduler; do
      kubectl -n kube-system wait --for=condition=Ready --timeout=0 "pod/$component-$NODE" || return
    done
}

node_config() {
  cat <<YAML
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: $NODE_IP, bindPort: 6443}
nodeRegistration: {name: $NODE, criSocket: "unix:///run/containerd/containerd.sock"}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: $LAB_VERSION
controlPlaneEndpoint: $NODE_IP:6443
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
cgroupRoot: /
failCgroupV1: false
failSwapOn: false
# The machine's disk and memory are not the node's alone: no eviction, no removal of images because others use them.
evictionHard: {memory.available: 50Mi}
imageGCHighThresholdPercent: 100
YAML
}

node_boot() {
  local launcher pid=""
  cgroups_make
  set -m # a process group of its own, out of reach of the terminal's Ctrl-C
  setpriv --pdeathsig KILL unshare --net --mount --uts --pid --fork --kill-child --mount-proc --propagation private -- \
    "$HERE/node-init" "$NODE" "$NODE_IP" "$DISK" "$LAB_CACHE" "$NODE_CGROUP" "$NODE_PATH" \
    >>"$DISK/log/init.log" 2>&1 </dev/null 9>&- & # without the lab's lock
  launcher=$!
  set +m
  disown $launcher
  until pid=$(pgrep -P $launcher); do kill -0 $launcher && sleep 0.02 || return; done
  echo "$pid" >"$DISK/pid"
  ip link add "veth-$NODE" master fabric up type veth peer name eth0 netns "$pid"
  nsenter -t "$pid" -n ip link set lo up
  nsenter -t "$pid" -n ip addr add "$NODE_IP/24" dev eth0
  nsenter -t "$pid" -n ip link set eth0 up
  nsenter -t "$pid" -n ip route add default via 10.77.0.1
  within 30 node_exec ctr version || { echo "containerd did not start: $LAST_SEEN"; return 1; }
}

# node_off: as if the power went; the disk stays.
node_off() {
  local pid
  pid=$(node_pid 2>/dev/null) || return 0
  # A pid that is not process 1 of its namespace is a stranger that got the number since.
  if grep -qsE '^NSpid:.*\s1$' "/proc/$pid/status"; then
    kill -KILL "$pid" || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
  fi
  rm -f "$DISK/pid"
  ip link del "veth-$NODE" 2>/dev/null || true
  cgroups_remove
}

node_remove() { node_off; rm -rf "$DISK"; }

# The outside of the node: what is here reaches it the way other machines would.
fabric_up() {
  ip link set lo up
  ip link add fabric up type bridge
  ip addr add 10.77.0.1/24 dev fabric
}

# The node's own root in every cgroup hierarchy: version 1 has one for each controller, version 2 (not tried) one.
cgroup_roots() {
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then echo /sys/fs/cgroup
  else find /sys/fs/cgroup -mindepth 1 -maxdepth 1 -type d ! -name unified; fi
}
cgroups_make() {
  local root file
  for root in $(cgroup_roots); do
    mkdir -p "$root/$NODE_CGROUP"
    for file in cpuset.cpus cpuset.mems; do # version 1: empty, and unusable, until set
      if [ -e "$root/$file" ] && [ "${root##*/}" = cpuset ]; then cat "$root/$file" >"$root/$NODE_CGROUP/$file"; fi
    done
  done
}
# All of them: runc makes one more where versions 1 and 2 are mounted side by side.
cgroups_remove() {
  local group
  find /sys/fs/cgroup -maxdepth 2 -name "$NODE_CGROUP" | while read -r group; do
    within 10 cgroup_remove "$group" || echo "cannot remove $group: $LAST_SEEN" >&2
  done
}
cgroup_remove() { [ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {} +; }
