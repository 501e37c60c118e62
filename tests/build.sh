#!/bin/bash
# Build the programs that the conformance and interop tests run, and copy them
# to one place. Prints that place.
#
#   build.sh [--zlib-rs] smol|std|chat|program ...
#
#   smol, std   the examples `echo` and `echo_client`: {smol,std}-{echo,echo_client}
#   chat        the example `chat` of the runtime on threads: std-chat
#   program     `smartsocket`
#
# TEST_PROFILE (default: ci, see Cargo.toml) is the cargo profile.
set -euo pipefail
cd "$(dirname "$0")/.."

features=() out=tests/.cache/bin
if [ "${1:-}" = --zlib-rs ]; then
    features=(--features zlib-rs) out=tests/.cache/bin-zlib-rs
    shift
fi
mkdir -p "$out"

# Both runtimes have examples of the same names, and the later build replaces the
# earlier one in the target directory. So each is copied right after it is built,
# from the path that cargo itself reports.
build() { # PREFIX CARGO-ARGUMENT...
    local prefix=$1 messages
    shift
    messages=$(cargo build -q --locked --profile "${TEST_PROFILE:-ci}" --message-format json-render-diagnostics \
        "${features[@]}" "$@" </dev/null)
    printf '%s\n' "$messages" | python3 -c '
import json, os, shutil, sys
out, prefix = sys.argv[1:]
for message in map(json.loads, sys.stdin):
    if message.get("executable"):
        target = os.path.join(out, prefix + message["target"]["name"])
        # By rename: a copy of it that still runs must not be written over.
        shutil.copy2(message["executable"], target + ".new")
        os.replace(target + ".new", target)
' "$out" "$prefix"
}

for what; do
    case $what in
    smol | std) build "$what-" -p "smartsocket-$what" --example echo --example echo_client ;;
    chat) build std- -p smartsocket-std --example chat ;;
    program) build '' -p smartsocket --bin smartsocket ;;
    *) sed -n 's/^#   //p' "$0" >&2; exit 2 ;;
    esac
done
cd "$out" && pwd
