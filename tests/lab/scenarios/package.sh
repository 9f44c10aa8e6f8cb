# the .deb on a Debian node: installed, pivoted with, upgraded under the guard, removed, and back after a power cut (by hand)
# shellcheck shell=bash

# No fulcrum is there that could tell.
daemonsets_alone() { mirror_pods_are "etcd-$NODE" && daemonsets_ready; }

deb=$(find "$LAB_PACKAGES" -name '*.deb')
expect_eq 'the sums are right' '' "$(cd "$LAB_PACKAGES" && sha256sum --check --quiet SHA256SUMS 2>&1)"
cp "$deb" "$DISK/fulcrum.deb"
rm "$DISK/usr/local/bin/fulcrum"

check 'the package installs' node_exec dpkg --install /fulcrum.deb
expect_eq 'the program is the package'\''s' /usr/bin/fulcrum "$(node_exec sh -c 'command -v fulcrum')"
check 'a manual page for the pivot' node_exec test -s /usr/share/man/man1/fulcrum-pivot.1.gz
for file in bash-completion/completions/fulcrum zsh/vendor-completions/_fulcrum fish/vendor_completions.d/fulcrum.fish; do
  check "completions: $file" node_exec test -s "/usr/share/$file"
done
expect_eq 'no unit is installed before a pivot' 1 "$(node_exec systemctl cat "$GUARD_UNIT" >/dev/null 2>&1; echo $?)"
check 'the rehearsal runs without a cluster' node_exec fulcrum rehearse

remember_static
need fulcrum_ends 0 pivot --yes
check_pivoted
guard=$(guard_pid)

# The next version, of the same program.
dpkg-deb -R "$deb" "$LOGS/next"
sed -i 's/^Version: .*/&.1/' "$LOGS/next/DEBIAN/control"
dpkg-deb --root-owner-group -b "$LOGS/next" "$DISK/next.deb" >/dev/null
rm -r "$LOGS/next"
upgraded=$(node_exec dpkg --install /next.deb 2>&1) || fail 'the package is upgraded' "$upgraded"
expect_eq 'an upgrade has nothing to say of the guard' '' "$(grep guard <<<"$upgraded" || true)"
expect_eq 'the guard ran all the while' "$guard" "$(guard_pid)"
check_pivoted

removed=$(node_exec dpkg --remove fulcrum 2>&1)
check 'who removes it is told of the guard' grep -q 'the guard of this node stays' <<<"$removed"
check 'the program is gone' node_exec test ! -e /usr/bin/fulcrum
expect_eq 'the guard ran all the while' "$guard" "$(guard_pid)"
power_cut
wait_until 'without the package the API answers' 240 api_answers
wait_until 'without the package the control plane is self-hosted again' 420 daemonsets_alone

check 'the package is installed again' node_exec dpkg --install /fulcrum.deb
remember_etcd
check_pivoted
need fulcrum_ends 0 rollback --yes
check_static
