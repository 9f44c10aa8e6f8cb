# Where key material is found again. Sourced by the scenarios that look for it.
# shellcheck shell=bash

# key_lines: of each key of this node's control plane a line, and of its file a part as a Secret has it, in base64. A
# kubeconfig has its key in base64, too.
key_lines() {
  local file key kubernetes=${MANIFESTS%/manifests}
  for file in "$kubernetes"/pki/*.key "$kubernetes"/pki/etcd/*.key; do
    sed -n 2p "$file"
    end_in_base64 "$file"
  done
  for file in "$kubernetes"/*.conf; do
    key=$(sed -n 's/^ *client-key-data: *//p' "$file")
    [ -n "$key" ] || continue # the kubelet's names a file
    base64 -d <<<"$key" | sed -n 2p
    cut -c 100-180 <<<"$key"
    end_in_base64 "$file"
  done
}
# end_in_base64 FILE: the key of a kubeconfig stands at its end.
end_in_base64() { base64 -w 0 "$1" | tail -c 300 | cut -c 1-80; }
# files_with LINES PATH...: the files below that have one of these lines. Ends with another code than 0 only if not all could
# be read, as when one has gone meanwhile.
files_with() {
  local code=0
  grep -rlFf <(echo "$1") "${@:2}" || code=$?
  [ $code -le 1 ]
}
# keys_are_found LINES: a search for these lines finds each of kubeadm's files that has a key.
keys_are_found() {
  local missed kubernetes=${MANIFESTS%/manifests}
  missed=$(comm -13 <(files_with "$1" "$kubernetes" | sort) \
    <(grep -rlE 'PRIVATE KEY|client-key-data' "$kubernetes" | sort))
  [ -z "$missed" ] || { echo "not found: $missed"; return 1; }
}
