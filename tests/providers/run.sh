#!/bin/bash
# The clients of both runtimes against the servers of each provider; `tests/setup` installs them.
#
# TEST_BIN names a directory with smartsocket, to test this instead of building it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export TEST_BIN=${TEST_BIN:-$("$here/../build.sh" program)}
# Most of it is waiting.
exec cargo test --locked -p smartsocket-tests --features foreign --test providers -- --test-threads 8
