# What processes have of certificates, as `fulcrum certs check` sees them. Sourced by the scenarios that renew some.
# shellcheck shell=bash

# Who uses what at least, as `certs check` names them.
USERS=('kube-apiserver apiserver' 'kube-apiserver apiserver-kubelet-client' 'kube-apiserver apiserver-etcd-client'
  'kube-apiserver front-proxy-client' 'etcd etcd-server' 'etcd etcd-peer'
  'kube-controller-manager controller-manager.conf' 'kube-scheduler scheduler.conf')
# checked: what `certs check` says, whatever its exit code is.
checked() { node_exec fulcrum certs check -o json --state-dir "$STATE_DIR" || true; }
# none_is_older: no process presents or holds another certificate than its file has, and each of USERS was seen.
none_is_older() {
  local uses other unseen
  uses=$(checked | jq -r '.certificates[] | .name as $name | .users[] | [.state, .program, $name, .detail // ""] | join(" ")')
  other=$(grep -vE '^(presented|current) ' <<<"$uses" || true)
  unseen=$(comm -13 <(cut -d' ' -f2,3 <<<"$uses" | sort) <(printf '%s\n' "${USERS[@]}" | sort))
  [ -z "$other$unseen" ] || { echo "otherwise: $other; not seen: $unseen"; return 1; }
}
# older_ones: who uses an older certificate than its file has.
older_ones() {
  checked |
    jq -r '[.certificates[] | .name as $name | .users[] | select(.state == "holds-older" or .state == "presents-other") |
      "\(.program) \($name)"] | sort | join(", ")'
}
