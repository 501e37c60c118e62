#!/bin/bash
# The client for browsers and Node and the console (core/web), in Node and in headless
# Chromium, against `smartsocket serve` and against servers made for the purpose.
#
# TEST_BIN names a directory with smartsocket and std-chat, to test these instead of building. Logs are in
# tests/.cache/browser.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$here/../.cache/browser
mkdir -p "$out"

if [ -z "${TEST_BIN:-}" ]; then
    TEST_BIN=$("$here/../build.sh" program chat)
fi

"$TEST_BIN/smartsocket" serve --host 127.0.0.1 --port 0 >"$out/serve.log" 2>&1 </dev/null &
server=$!
trap 'kill $server 2>/dev/null || :' EXIT
trap 'exit 1' INT TERM
for _ in $(seq 100); do
    grep -q '^listening on ' "$out/serve.log" && break
    sleep 0.1
done
SMARTSOCKET_URL=$(sed -n 's/^listening on //p' "$out/serve.log")
export SMARTSOCKET_URL
if [ -z "$SMARTSOCKET_URL" ]; then
    echo "FAIL listening: $(tail -n 1 "$out/serve.log")"
    echo 'browser: 0 passed, 1 failed'
    exit 1
fi

SMARTSOCKET_BIN=$TEST_BIN/smartsocket
SMARTSOCKET_STD=$TEST_BIN/std-chat
export SMARTSOCKET_BIN SMARTSOCKET_STD
cd "$here"
status=0
timeout 300 node --test --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter=tap --test-reporter-destination="$out/results.tap" ./*.test.mjs </dev/null || status=$?

count() { sed -n "s/^# $1 //p" "$out/results.tap"; }
failed=$(($(count fail) + $(count cancelled)))
if ! kill -0 "$server" 2>/dev/null || grep -q panicked "$out/serve.log"; then
    echo "FAIL alive: $(grep -m 1 panicked "$out/serve.log" || tail -n 1 "$out/serve.log")"
    failed=$((failed + 1))
fi
[ "$status" = 0 ] || [ "$failed" != 0 ] || failed=1
echo "browser: $(count pass) passed, $failed failed"
[ "$failed" = 0 ]
