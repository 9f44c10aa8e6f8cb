# a new API server that never serves: the pivot is undone, and neither clients nor static pods notice (by hand)
# shellcheck shell=bash

# The kubelet restarts a static pod whose manifest changes, so the flag cannot be made bad there. These two flags name
# files that an API server reads when it starts and not again: good ones while the static one does, bad ones for the new
# one. Without a file for egress it ends at once; with a key service for its encryption that nobody has, it runs and listens,
# and is never ready, while the kubelet, which the static one answers, takes it for Ready.
pki=${MANIFESTS%/*}/pki # mounted into the API server's pods
good_files() {
  printf '%s\n' 'apiVersion: apiserver.k8s.io/v1beta1' 'kind: EgressSelectorConfiguration' >"$pki/lab-egress.yaml"
  encryption 'identity: {}'
}
encryption() { # PROVIDER
  printf '%s\n' 'apiVersion: apiserver.config.k8s.io/v1' 'kind: EncryptionConfiguration' \
    'resources:' '- resources: [secrets]' "  providers: [$1]" >"$pki/lab-encryption.yaml"
}
good_files
edited=${MANIFESTS%/*}/kube-apiserver.yaml # beside the directory: the kubelet reads every file in it
sed 's|^    - kube-apiserver$|&\n    - --egress-selector-config-file=/etc/kubernetes/pki/lab-egress.yaml\n    - --encryption-provider-config=/etc/kubernetes/pki/lab-encryption.yaml|' \
  "$MANIFESTS/kube-apiserver.yaml" >"$edited"
chmod 600 "$edited"
mv "$edited" "$MANIFESTS/kube-apiserver.yaml"
runs_with_files() { pgrep -f 'kube-apiserver .*--egress-selector-config-file=' >/dev/null; }
need wait_until 'the static API server has restarted with both flags' 60 runs_with_files
refresh_kubelet
need wait_until 'it is Ready' 240 static_steady
need wait_until 'controller manager and scheduler lead' 120 leases_held
remember_static
static_processes=$(control_plane_processes)

rolls_back() { # WHAT
  within 60 leases_held
  load_start
  fulcrum_ends 4 pivot --yes --timeout 90s
  expect_eq "$1: the run is rolled back" rolled-back "$(history_of '.runs[-1].outcome')"
  good_files # or a restart of the static server would be the end of it
  expect_same "$1: the static processes are the same" "$static_processes" "$(control_plane_processes)"
  check_static
  load_stop "$1"
  check_unharmed "$1"
}
rm "$pki/lab-egress.yaml"
rolls_back 'a server that ends at once'
encryption 'kms: {apiVersion: v2, name: lab, endpoint: "unix:///run/nobody.sock", timeout: 1s}, identity: {}' # the second reads what is there
rolls_back 'a server that runs and is never ready'
