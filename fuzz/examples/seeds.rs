//! Adds the seeds to the corpus: `cargo run -p smartsocket-fuzz --example seeds`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut counts = HashMap::new();
    for (target, input) in smartsocket_fuzz::seeds() {
        let count = counts.entry(target).or_insert(0);
        *count += 1;
        fs::create_dir_all(corpus.join(target))?;
        fs::write(corpus.join(target).join(format!("seed-{count:03}")), input)?;
    }
    Ok(())
}
