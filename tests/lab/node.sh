# A node: one control-plane machine as namespaces and a directory that is its disk. Sourced by session.
#
# Its processes live in network, mount, PID, UTS, IPC and cgroup namespaces of their own, below a cgroup /fulcrum-lab-NODE.
# Process 1 is systemd; it dies with the session, and everything else on the node with process 1.
# shellcheck shell=bash

NODE_ENV=(env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8)
. "$HERE/tree.sh"

# address_of NUMBER: of the node cp1, cp2, and so on to cp9.
address_of() { echo "10.77.0.1$1"; }
# node_is NUMBER: what follows is about that node.
node_is() {
  NODE=cp$1 NODE_IP=$(address_of "$1") NODE_CARD=02:53:44:00:00:0$1
  NODE_CGROUP=fulcrum-lab-$NODE
  DISK=$LAB_CACHE/disk-$NODE NODE_RUN=$LAB_CACHE/run-$NODE
  MANIFESTS=$DISK/etc/kubernetes/manifests KUBECONFIG=$DISK/etc/kubernetes/admin.conf
}
node_pid() { cat "$NODE_RUN/pid"; }

# node_enter COMMAND...: replaces this (sub)shell by the command in the node, as root, in a cgroup beside systemd's, with nothing
# of this environment: $KUBECONFIG is not for the inside. The command is nsenter's child.
node_enter() {
  cgroups_make "$NODE_CGROUP/operator" # systemd may have taken it away, empty as it was
  cgroup_join "$NODE_CGROUP/operator" || true # it is for what the node sees of the command, not for what that can do
  exec nsenter -t "$(node_pid)" -m -u -i -n -p -C -- "${NODE_ENV[@]}" "$@"
}
# node_exec COMMAND...: runs it in the node.
node_exec() { (node_enter "$@"); }

# node_fresh [ENDPOINT]: a newly made disk, a booted node, kubeadm init, and a control plane that is all Ready. About 20 s. Its
# kubeconfigs name ENDPOINT, HOST:PORT, or the node itself.
node_fresh() {
  API_ENDPOINT=${1:-$NODE_IP:6443}
  # Loading the images takes longer than all the rest: done once.
  [ -d "$RELEASE_DIR/root/var/lib/containerd/io.containerd.content.v1.content" ] || node_load_images || return
  node_new || return
  node_config >"$DISK/etc/kubernetes/kubeadm.yaml"
  [ -z "$VIP" ] || vip_bring super-admin.conf || return
  # preflight is for a real machine; the addons (DNS, proxy) need images that the lab does not have.
  node_exec kubeadm init --config /etc/kubernetes/kubeadm.yaml --skip-phases=preflight,addon --upload-certs || return
  within 120 node_steady || { echo "the control plane is not ready after 120 s: $LAST_SEEN"; return 1; }
}
# node_steady: three times in a row. A kubelet that has just started can see a pod as unready again before it has asked it.
node_steady() { for _ in 1 2 3; do node_ready && sleep 1 || return; done; }
# node_new: a new disk, booted, with containerd.
node_new() {
  local program
  node_remove
  tree_copy "$RELEASE_DIR/root" "$DISK"
  for program in fulcrum behaviours; do # the last one is only there if its scenario is run
    if [ -e "$LAB_CACHE/$program" ]; then cp "$LAB_CACHE/$program" "$DISK/usr/local/bin/"; fi
  done
  echo "$NODE" >"$DISK/etc/hostname"
  printf '127.0.0.1 localhost\n%s %s\n' "$NODE_IP" "$NODE" >"$DISK/etc/hosts"
  tr -d - </proc/sys/kernel/random/uuid >"$DISK/etc/machine-id"
  node_boot || return
  within 30 node_exec ctr version || { echo "containerd did not start: $LAST_SEEN"; return 1; }
}
node_load_images() {
  node_new || return
  ln "$RELEASE_DIR/images.tar" "$DISK/images.tar"
  node_exec ctr -n k8s.io images import /images.tar || return
  node_exec systemctl stop containerd || return # its database is only whole when nobody writes it
  node_off
  mkdir -p "$RELEASE_DIR/root/var/lib"
  rm -rf "$RELEASE_DIR/root/var/lib/containerd"
  mv "$DISK/var/lib/containerd" "$RELEASE_DIR/root/var/lib/"
}

# What "a clean static control plane" means: the node and its four mirror pods Ready, and pods can be made.
node_ready() {
  kubectl get --raw /readyz && kubectl get serviceaccount default &&
    kubectl wait --for=condition=Ready --timeout=0 "node/$NODE" &&
    kubectl -n kube-system wait --for=condition=Ready --timeout=0 pod/{etcd,kube-apiserver,kube-controller-manager,kube-scheduler}"-$NODE"
}

node_config() {
  local api=v1beta4
  [[ $LAB_VERSION != v1.20.* ]] || api=v1beta2
  cat <<YAML
apiVersion: kubeadm.k8s.io/$api
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: $NODE_IP, bindPort: 6443}
nodeRegistration: {name: $NODE, criSocket: "unix:///run/containerd/containerd.sock"}
---
apiVersion: kubeadm.k8s.io/$api
kind: ClusterConfiguration
kubernetesVersion: $LAB_VERSION
controlPlaneEndpoint: $API_ENDPOINT
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
failCgroupV1: false
failSwapOn: false
# The machine's disk and memory are not the node's alone: no eviction, no removal of images because others use them.
evictionHard: {memory.available: 50Mi}
imageGCHighThresholdPercent: 100
YAML
}

# node_boot: systemd is process 1 when it returns, and the node has its address; what systemd starts may still be starting.
node_boot() {
  local launcher pid=''
  mkdir -p "$NODE_RUN"
  cat /proc/sys/kernel/random/uuid >"$NODE_RUN/boot_id"
  cgroups_make "$NODE_CGROUP"
  set -m # a process group of its own, out of reach of the terminal's Ctrl-C
  (
    cgroup_join "$NODE_CGROUP" || exit # a root that is not its own would be the machine's
    exec setpriv --pdeathsig KILL unshare --net --mount --uts --ipc --pid --cgroup --fork --kill-child --propagation private -- \
      "$HERE/node-init" "$NODE" "$DISK" "$NODE_RUN"
  ) >>"$NODE_RUN/init.log" 2>&1 </dev/null 9>&- & # without the lab's lock
  launcher=$!
  set +m
  disown $launcher
  # Before it is systemd, its root is the machine's.
  until [[ -n $pid && $(readlink "/proc/$pid/exe") == */systemd ]]; do
    kill -0 $launcher || { echo "the node did not start: $(tail -n 3 "$NODE_RUN/init.log")"; return 1; }
    sleep 0.01
    pid=$(pgrep -P $launcher) || true
  done
  cgroup_join '' $launcher || return # who waits outside must not be seen inside
  echo "$pid" >"$NODE_RUN/pid"
  # The same address of the card at each boot: neighbours remember it.
  ip link add "veth-$NODE" master fabric up type veth peer name eth0 address "$NODE_CARD" netns "$pid"
  nsenter -t "$pid" -n sh -ec "ip link set lo up; ip link set eth0 up; ip addr add $NODE_IP/24 dev eth0
    ip route add default via $FABRIC_IP"
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
  rm -f "$NODE_RUN/pid"
  ip link del "veth-$NODE" 2>/dev/null || true
  cgroups_remove
}

node_remove() { node_off; rm -rf "$DISK"; }
# nodes_remove: all that there may be; the first one is the node again.
nodes_remove() {
  local number
  for number in $(seq "$NODES" -1 1); do
    node_is "$number"
    node_remove
  done
}

# node_log UNIT: what systemd's journal has of it, of all boots; also when the node is off.
node_log() { chroot "$DISK" journalctl --directory=/var/log/journal --output=short-precise --no-pager --unit="$1"; }

# The outside of the nodes: what is here reaches them the way other machines would.
fabric_up() {
  ip link set lo up
  ip link add fabric up type bridge
  ip addr add $FABRIC_IP/24 dev fabric
}

# The cgroup hierarchies: version 1 has one for each controller, version 2 (not tried) one.
cgroup_roots() {
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then echo /sys/fs/cgroup; else printf '%s\n' /sys/fs/cgroup/*/; fi
}
cgroups_make() { # PATH
  local root file
  for root in $(cgroup_roots); do
    [ ! -d "$root/$1" ] || continue
    mkdir -p "$root/$1"
    for file in cpuset.cpus cpuset.mems; do # version 1: empty, and unusable, until set
      if [ -e "$root/$file" ] && [[ $root == */cpuset/ ]]; then cat "$root/$file" >"$root/$1/$file"; fi
    done
  done
}
# cgroup_join PATH [PID]: that process, or this (sub)shell, in every hierarchy.
cgroup_join() {
  local root code=0
  for root in $(cgroup_roots); do echo "${2:-$BASHPID}" >"$root/$1/cgroup.procs" || code=1; done
  return $code
}
cgroups_remove() {
  local group
  find /sys/fs/cgroup -maxdepth 2 -name "$NODE_CGROUP" | while read -r group; do
    within 10 cgroup_remove "$group" || echo "cannot remove $group: $LAST_SEEN" >&2
  done
}
cgroup_remove() { [ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {} +; }
