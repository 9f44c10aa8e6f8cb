# probe (by hand)
# shellcheck shell=bash disable=SC2154
remember_static
FULCRUM_AS=(env RUST_LOG=fulcrum_steps=debug)
for round in 1 2 3 4 5 6 7 8; do
  need fulcrum_ends 0 pivot --yes
  nsenter -t "$(node_pid)" -n tcpdump -ni any -s 80 -w /tmp/log/dump-$round 'tcp and (port 6443 or port 16443) and tcp[13] & 7 != 0' 2>/dev/null & dump=$!
  nsenter -t "$(node_pid)" -n conntrack -E -o timestamp >/tmp/log/ct-$round 2>&1 & ct=$!
  load_start
  need fulcrum_ends 0 rollback --yes
  cp "$err" /tmp/log/probe-rollback-$round
  load_stop "rollback $round"
  kill $dump $ct; wait $dump $ct
  cp "$load_log" /tmp/log/probe-rollback-$round.load
done
