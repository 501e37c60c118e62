#!/bin/bash
# Real peers, and clients as five other systems have them, against our servers; our client
# against real servers. Prints `ok NAME` or `FAIL NAME: reason` for each check.
#
# TEST_BIN names a directory with smartsocket and std-echo, to test these instead of
# building. Logs and the screenshot are in tests/.cache/interop.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$here/../.cache
mkdir -p "$cache/interop"
cache=$(cd "$cache" && pwd)
out=$cache/interop
rm -rf "$out"
mkdir -p "$out"
results=$out/results.txt

if [ -z "${TEST_BIN:-}" ]; then
    TEST_BIN=$("$here/../build.sh" program std)
fi
python=$cache/python/bin/python
"$here/certs.sh" "$out/certs"
ca=$out/certs/ca.pem
pair=("$out/certs/server.pem" "$out/certs/server.key")

running=''
trap 'kill $running 2>/dev/null || :' EXIT
trap 'exit 1' INT TERM

say() { echo "$*" | tee -a "$results"; }

# A peer reports its own checks; its exit status only matters if it broke down.
peer() { # NAME COMMAND...
    local name=$1 before after status=0
    shift
    before=$(grep -c . "$results" || :)
    timeout 300 "$@" 2>"$out/peer.log" | tee -a "$results" || status=$?
    after=$(grep -c . "$results" || :)
    if [ "$status" -gt 1 ] || [ "$after" = "$before" ] || { [ "$status" = 1 ] && ! tail -n +"$((before + 1))" "$results" | grep -q ^FAIL; }; then
        say "FAIL $name/completed: status $status: $(grep -v '^ *$' "$out/peer.log" | tail -n 1)"
        cat "$out/peer.log" >&2
    fi
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

start() { # LOG COMMAND...
    local log=$1
    shift
    "$@" >"$log" 2>&1 </dev/null &
    running=$!
}

wait_for() { # PATTERN LOG
    for _ in $(seq 100); do
        grep -q "$1" "$2" && return
        kill -0 "$running" 2>/dev/null || break
        sleep 0.1
    done
    return 1
}

# Ends the process that `start` began; its exit status, or 137 if it did not listen.
stop() {
    local status=0
    kill "$running" 2>/dev/null || :
    for _ in $(seq 100); do
        kill -0 "$running" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$running" 2>/dev/null || :
    wait "$running" || status=$?
    running=''
    return "$status"
}

our_server() { # NAME SCHEME PORT COMMAND...
    local name=$1 scheme=$2 port=$3 address status=0
    shift 3
    address=$scheme://127.0.0.1:$port
    start "$out/$name.log" "$@"
    if wait_for "^listening on $address\$" "$out/$name.log"; then
        say "ok $name/listening"
    else
        say "FAIL $name/listening: $(tail -n 1 "$out/$name.log")"
        stop || :
        return
    fi
    local trust=() node=() py=() browser=()
    [ "$scheme" = ws ] || trust=(--ca "$ca")
    case $name in smol-*)
        node=(--http --limit 1048576) py=(--limit 1048576)
        browser=(--page --screenshot "$out/$name.png")
        ;;
    esac
    peer "$name/node" node "$here/node_ws.mjs" client "$address/echo" "$name/node" "${trust[@]}" "${node[@]}"
    peer "$name/python" "$python" "$here/py_websockets.py" client "$address/echo" "$name/python" "${trust[@]}" "${py[@]}"
    case $name in smol-*)
        peer "$name/realtime" node "$here/realtime.mjs" "$address" "$name/realtime" "${trust[@]}"
        ;;
    esac
    peer "$name/browser" node "$here/browser.mjs" "$address/echo" "$name/browser" "${browser[@]}"
    if kill -0 "$running" 2>/dev/null && ! grep -q panicked "$out/$name.log"; then
        say "ok $name/alive"
    else
        say "FAIL $name/alive: $(grep -m 1 panicked "$out/$name.log" || tail -n 1 "$out/$name.log")"
    fi
    stop || status=$?
    # The program ends gracefully; an example may leave the signal to the system.
    case $name:$status in
    *:0 | std-*:143) say "ok $name/shutdown" ;;
    *) say "FAIL $name/shutdown: status $status" ;;
    esac
}

# One kind of client, with a server that is started for it.
our_server_for() { # NAME SCHEME PORT SCRIPT COMMAND...
    local name=$1 scheme=$2 port=$3 script=$4 address trust=() status=0
    shift 4
    address=$scheme://127.0.0.1:$port
    start "$out/$name.log" "$@"
    [ "$scheme" = ws ] || trust=(--ca "$ca")
    if wait_for "^listening on $address\$" "$out/$name.log"; then
        peer "$name" node "$here/$script" "$address" "$name" "${trust[@]}"
    else
        say "FAIL $name/listening: $(tail -n 1 "$out/$name.log")"
    fi
    stop || status=$?
    [ "$status" = 0 ] && ! grep -q panicked "$out/$name.log" || say "FAIL $name/shutdown: status $status"
}

our_client() { # NAME SERVER-COMMAND...
    local name=$1 url trust=()
    shift
    start "$out/$name.log" "$@"
    if ! wait_for '^wss\?://' "$out/$name.log"; then
        say "FAIL $name/listening: $(tail -n 1 "$out/$name.log")"
        stop || :
        return
    fi
    url=$(head -n 1 "$out/$name.log")
    case $url in wss:*) trust=(--ca "$ca") ;; esac
    peer "$name" node "$here/connect.mjs" "$TEST_BIN/smartsocket" "$url" "$name" "${trust[@]}"
    stop || :
}

: >"$results"
port=$(free_port)
our_server smol-plain ws "$port" "$TEST_BIN/smartsocket" serve --host 127.0.0.1 --port "$port"
port=$(free_port)
our_server smol-tls wss "$port" "$TEST_BIN/smartsocket" serve --host 127.0.0.1 --port "$port" \
    --tls-cert "${pair[0]}" --tls-key "${pair[1]}"
port=$(free_port)
our_server std-plain ws "$port" "$TEST_BIN/std-echo" "127.0.0.1:$port" --deflate
port=$(free_port)
our_server std-tls wss "$port" "$TEST_BIN/std-echo" "127.0.0.1:$port" --deflate \
    --tls-cert "${pair[0]}" --tls-key "${pair[1]}"

port=$(free_port)
our_server_for smol-ignis-sealed ws "$port" ignis_sealed.mjs \
    "$TEST_BIN/smartsocket" serve --host 127.0.0.1 --port "$port" --ignis-require-encryption
port=$(free_port)
our_server_for smol-tls-ignis-sealed wss "$port" ignis_sealed.mjs \
    "$TEST_BIN/smartsocket" serve --host 127.0.0.1 --port "$port" --ignis-require-encryption \
    --tls-cert "${pair[0]}" --tls-key "${pair[1]}"

node=(node "$here/node_ws.mjs" server)
py=("$python" "$here/py_websockets.py" server)
tls=(--cert "${pair[0]}" --key "${pair[1]}")
our_client connect-node "${node[@]}"
our_client connect-node-deflate "${node[@]}" --deflate
our_client connect-node-tls "${node[@]}" --deflate "${tls[@]}"
our_client connect-python "${py[@]}"
our_client connect-python-deflate "${py[@]}" --deflate
our_client connect-python-tls "${py[@]}" --deflate "${tls[@]}"

failed=$(grep -c ^FAIL "$results" || :)
if [ "$failed" != 0 ]; then
    echo "--- failed:"
    grep ^FAIL "$results"
fi
echo "interop: $(grep -c ^ok "$results" || :) passed, $failed failed"
[ "$failed" = 0 ]
