//! Tokens: where they come from, and what they look like elsewhere.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use smartsocket_smol::Json;
use smartsocket_smol::client::Secret;

use crate::target::SHORTEST_SECRET;

use super::session::Shown;

/// A file with a token, which somebody may replace by another.
#[derive(Clone)]
pub(super) struct TokenFile {
    path: PathBuf,
    /// The last that the server was given.
    given: Arc<Mutex<Option<Secret>>>,
    print: Shown,
}

impl TokenFile {
    pub(super) fn new(path: PathBuf, print: &Shown) -> Self {
        Self {
            path,
            given: Arc::default(),
            print: print.clone(),
        }
    }

    fn read(&self) -> Option<Secret> {
        let text = std::fs::read_to_string(&self.path).ok()?;
        Some(token_in(&text))
    }

    /// The token for an attempt.
    pub(super) fn next(&self) -> Option<String> {
        let token = self.read()?;
        let text = token.reveal().to_owned();
        self.print.lock().hide(&shapes(&text));
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Some(text)
    }

    /// Whether it is another one by now, which the server may like better.
    pub(super) fn has_another(&self) -> bool {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        self.read() != *given
    }
}

/// What a token may look like where somebody repeats it.
pub(super) fn shapes(secret: &str) -> Vec<String> {
    let json = Json::string(secret).to_string();
    let escaped = json.trim_matches('"').to_owned();
    let encoded = percent_encoded(secret);
    let mut shapes = vec![secret.to_owned(), escaped, encoded];
    shapes.retain(|shape| shape.len() >= SHORTEST_SECRET);
    shapes.dedup();
    shapes
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// What a file with a token says.
pub(super) fn token_in(text: &str) -> Secret {
    Secret::from(text.trim())
}
