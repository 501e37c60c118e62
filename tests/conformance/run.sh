#!/bin/bash
# The Autobahn testsuite against both runtimes in both roles, with strict verdicts.
#
#   run.sh [--full] [--only smol-server|std-server|smol-client|std-client] [--zlib-rs]
#
#   --full      all 517 cases (about 20 minutes) instead of a selection (90 seconds)
#   --only      one combination
#   --zlib-rs   build with zlib-rs instead of miniz_oxide: nothing may be unimplemented
#
# TEST_BIN names a directory with {smol,std}-{echo,echo_client}, to test these instead
# of building. The reports are in tests/.cache/conformance.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$here/../.cache
usage() { sed -n 's/^#   //p' "$0" >&2; exit 2; }

# miniz_oxide always compresses with a window of 32 KiB, so who uses it must not
# promise a smaller one. A server declines the offers that insist on 9 bits (13.3
# and 13.5). A client must not offer client_max_window_bits at all, and without it
# the suite does not agree to any of its window sizes (13.3 to 13.6).
unimplemented_server='13.3.*,13.5.*'
unimplemented_client='13.3.*,13.4.*,13.5.*,13.6.*'

cases='1.*,2.*,3.*,4.*,5.*,6.*,7.*,9.*,10.*,12.*.2,12.*.3,12.*.4,12.*.5,12.*.11,13.*.2,13.*.3,13.*.4,13.*.5,13.*.11'
limit=900 only='' features=() reports=$cache/conformance
while [ $# -gt 0 ]; do
    case $1 in
    --full) cases='*' limit=5400 ;;
    --only) only=${2:?}; shift ;;
    --zlib-rs) features=(--zlib-rs) reports=$reports-zlib-rs unimplemented_server='' unimplemented_client='' ;;
    *) usage ;;
    esac
    shift
done
case $only in '' | smol-server | std-server | smol-client | std-client) ;; *) usage ;; esac
mkdir -p "$reports"
reports=$(cd "$reports" && pwd)

# A virtual environment that was moved exists but does not run.
export WSTEST=$cache/wstest/bin/wstest
"$WSTEST" --autobahnversion >/dev/null 2>&1 || "$here/setup.sh" "$cache/wstest"
if [ -z "${TEST_BIN:-}" ]; then
    case $only in '') runtimes='smol std' ;; *) runtimes=${only%-*} ;; esac
    # shellcheck disable=SC2086
    TEST_BIN=$("$here/../build.sh" "${features[@]}" $runtimes)
fi

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

combination() { # RUNTIME ROLE PORT
    local out=$reports/$1-$2 unimplemented=unimplemented_$2
    export SUMMARIZE="--allow OK,INFORMATIONAL --unimplemented=${!unimplemented}"
    rm -rf "$out"
    mkdir -p "$out"
    case $2 in
    server)
        timeout "$limit" "$here/run-client.sh" -o "$out" -c "$cases" -a "$1" "ws://127.0.0.1:$3" \
            "$TEST_BIN/$1-echo" "127.0.0.1:$3" --deflate ;;
    client)
        timeout "$limit" "$here/run-server.sh" -o "$out" -c "$cases" -p "$3" \
            "$TEST_BIN/$1-echo_client" "ws://127.0.0.1:$3" --deflate ;;
    esac >"$out/summary.txt" 2>&1
}

trap 'kill $(jobs -p) 2>/dev/null || :' EXIT
trap 'exit 1' INT TERM
failed=() table=() ran=()
# The two runtimes at once, since most of the time is deliberate waiting.
for role in server client; do
    names=() pids=()
    for runtime in smol std; do
        name=$runtime-$role
        [ "${only:-$name}" = "$name" ] || continue
        combination "$runtime" "$role" "$(free_port)" &
        names+=("$name") pids+=($!)
    done
    for i in "${!names[@]}"; do
        wait "${pids[$i]}" || failed+=("${names[$i]}")
        ran+=("${names[$i]}")
        table+=("${names[$i]}=$reports/${names[$i]}/index.json")
    done
done

for name in "${failed[@]}"; do
    echo "--- $name failed:"
    tail -n 40 "$reports/$name/summary.txt"
done
python3 "$here/summarize.py" --table "${table[@]}"
# A combination that broke down before its verdict counts as one failure.
counts=$(for name in "${ran[@]}"; do
    grep -E '^[0-9]+ passed, ' "$reports/$name/summary.txt" || echo '0 passed, 1 failed, 0 unimplemented'
done | awk '{ ok += $1; bad += $3; un += $5 } END { print ok " passed, " bad " failed, " un " unimplemented" }')
echo "conformance: $counts${failed:+; not good: ${failed[*]}}"
[ ${#failed[@]} = 0 ]
