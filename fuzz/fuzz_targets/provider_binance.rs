//! libFuzzer's way to the target; without libFuzzer, a replay of the given files.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| smartsocket_fuzz::provider::binance::run(data));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    smartsocket_fuzz::replay::main(smartsocket_fuzz::provider::binance::run)
}
