//! `smartsocket keygen`: a key for encrypted sessions.

use smartsocket_smol::crypt::Key;

use crate::explain::Failure;
use crate::output::{note, print};

const NOTES: &str = "\
Examples:
  smartsocket keygen >key                                  its name goes to stderr
  ENCRYPTION_KEY=$(cat key) smartsocket serve              ask clients for it

To change a key without a pause: give servers the new one as encryptionKey and
the old one in encryptionKeys, then clients the new one, then drop the old one.";

/// Options of `keygen`.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Keygen {}

impl Keygen {
    /// Writes a fresh key to stdout.
    pub(crate) fn run(self) -> Result<u8, Failure> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|error| Failure::new(format!("the system gives no randomness: {error}")))?;
        let key = Key::new(bytes).map_err(|error| Failure::new(error.to_string()))?;
        print(&format!("{}\n", key.reveal()))?;
        note(&format!("key {}", key.id()));
        Ok(0)
    }
}
