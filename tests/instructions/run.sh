#!/bin/bash
# Counts the instructions of one turn of each case of core/benches/turns.rs
# under callgrind and compares them with counts.txt.
#
#   tests/instructions/run.sh [--update]
#
#   --update   writes what was counted to counts.txt
#
# The counts do not depend on what else the machine does, only on the compiler
# and the C library, hence the tolerance.
set -euo pipefail
cd "$(dirname "$0")/../.."
tolerance=5 # percent
counts=tests/instructions/counts.txt

update=no
case $* in
'') ;;
--update) update=yes ;;
*) sed -n 's/^#   //p' "$0" >&2; exit 2 ;;
esac
command -v valgrind >/dev/null || { echo "valgrind is missing: tests/setup installs it" >&2; exit 1; }

binary=$(cargo bench --locked -p smartsocket-core --features std --bench turns --no-run --message-format json |
    sed -n 's/.*"executable":"\([^"]*\/turns-[^"]*\)".*/\1/p')

instructions() { # CASE TURNS
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" "$1" "$2" 2>&1 >/dev/null |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

passed=0 failed=0
printf '%-24s %10s %10s\n' case counted expected
if [ "$update" = yes ]; then : >"$counts"; fi
for name in $("$binary" --list); do
    # Two lengths: what starting costs falls out of the difference.
    few=$(instructions "$name" 20)
    many=$(instructions "$name" 120)
    counted=$(((many - few) / 100))
    if [ "$update" = yes ]; then echo "$name $counted" >>"$counts"; fi
    expected=$(sed -n "s/^$name //p" "$counts")
    verdict=''
    if [ -z "$expected" ]; then
        verdict='FAILED: not in counts.txt'
    elif [ $((counted * 100)) -gt $((expected * (100 + tolerance))) ]; then
        verdict="FAILED: more than $tolerance % above"
    elif [ $((counted * 100)) -lt $((expected * (100 - tolerance))) ]; then
        verdict='better: lower the bar with --update'
    fi
    printf '%-24s %10s %10s  %s\n' "$name" "$counted" "${expected:--}" "$verdict"
    case $verdict in FAILED*) failed=$((failed + 1)) ;; *) passed=$((passed + 1)) ;; esac
done
echo "instructions: $passed passed, $failed failed"
[ "$failed" = 0 ]
