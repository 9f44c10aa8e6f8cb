# what the guard costs while it only watches (by hand)
# shellcheck shell=bash

need fulcrum_ends 0 pivot --yes
sleep 20
pid=$(guard_pid)
ticks() { awk '{print $14 + $15}' "/proc/$pid/stat"; }
memory() { awk -v what="^$1:" '$0 ~ what {print $2}' "/proc/$pid/status"; }
before=$(ticks)
sleep 120
used=$(($(ticks) - before))
memory_words() { echo "memory $1: $(memory VmRSS) kB, of it $(memory RssAnon) kB its own, $(memory RssFile) kB the program's file"; }
note "CPU in 120 s: $used hundredths of a second" "$(memory_words 'at rest')"
check 'at most 0.1 % of a processor' at_most 0.1 "$(awk -v used=$used 'BEGIN {print used / 120}')"
check 'at most 20 MB of memory' at_most 20000 "$(memory VmRSS)"

# The same after a run of its own: it begins anew.
hand_overs_from_now
power_cut
need wait_until 'self-hosted again' 420 self_hosted_again
sleep 20
pid=$(guard_pid)
note "$(memory_words 'after a hand-over, while it attends to the servers that went')"
sleep 60
note "$(memory_words 'after a hand-over, at rest')"
check 'at most 20 MB of memory after a hand-over' at_most 20000 "$(memory VmRSS)"
