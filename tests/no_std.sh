#!/bin/sh
# Prove that core and all it depends on need no standard library: check it with a
# sysroot that has only `core` and `alloc`. `#![no_std]` alone would not notice a
# dependency that links std.
set -eu
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
lib=lib/rustlib/$host/lib
sysroot=$PWD/tests/.cache/no_std
rm -rf "$sysroot"
mkdir -p "$sysroot/$lib"
for crate in core alloc compiler_builtins; do
    cp "$(rustc --print sysroot)/$lib/lib$crate"-* "$sysroot/$lib/"
done

# With --target, build scripts and procedural macros still use the real sysroot.
check() {
    CARGO_ENCODED_RUSTFLAGS="--sysroot$(printf '\037')$sysroot" \
        cargo check --locked -p smartsocket-core --no-default-features --target "$host" "$@"
}

check
# The proof has teeth only if std is really absent.
if log=$(check --features std 2>&1); then
    echo "no_std: the feature std was built without std" >&2
    exit 1
fi
case $log in
*"can't find crate for \`std\`"*) echo "no_std: core needs no std; its feature std does" ;;
*) printf '%s\n' "$log" >&2; exit 1 ;;
esac
