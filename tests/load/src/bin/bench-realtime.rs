//! Realtime servers beside each other, under the same load.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    bench::run(bench::Suite::Realtime)
}
