/tmp/w-load/tests/load/target/debug/deps/bench_echo-099bf69a4251d8e7.d: /tmp/w-load/clippy.toml src/main.rs src/build.rs src/children.rs src/noise.rs src/plan.rs src/report.rs src/servers.rs src/syscalls.rs src/workloads.rs Cargo.toml

/tmp/w-load/tests/load/target/debug/deps/libbench_echo-099bf69a4251d8e7.rmeta: /tmp/w-load/clippy.toml src/main.rs src/build.rs src/children.rs src/noise.rs src/plan.rs src/report.rs src/servers.rs src/syscalls.rs src/workloads.rs Cargo.toml

/tmp/w-load/clippy.toml:
src/main.rs:
src/build.rs:
src/children.rs:
src/noise.rs:
src/plan.rs:
src/report.rs:
src/servers.rs:
src/syscalls.rs:
src/workloads.rs:
Cargo.toml:

# env-dep:CARGO_MANIFEST_DIR=/tmp/w-load/tests/load
# env-dep:CARGO_PKG_NAME=bench-echo
# env-dep:CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__
# env-dep:CLIPPY_CONF_DIR
