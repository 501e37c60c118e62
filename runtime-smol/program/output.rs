//! Text for terminals: notes on stderr, and peers' text made harmless.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::SystemTime;

use crate::explain::Failure;

/// Writes a line to stderr. That nobody reads it is no reason to fail.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Writes to stdout. That its reader is gone, as `head` goes, is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to stdout: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The text without control characters, which could move the cursor, hide
/// text or start a line of their own.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if (c.is_control() && c != '\t') || is_direction(c) {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Marks that reorder the text around them.
const fn is_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The time now, in UTC, as RFC 3339 has it.
pub(crate) fn timestamp() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// The first bytes in hexadecimal, and whether there are more.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 64;
    let mut out = String::new();
    for byte in bytes.iter().take(SHOWN) {
        let _ = write!(out, "{byte:02x}");
    }
    if bytes.len() > SHOWN {
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_not_obeyed() {
        assert_eq!(
            printable("a\x1b[2J\r\nb\tü\u{9b}\u{202e}"),
            "a\\u{1b}[2J\\r\\nb\tü\\u{9b}\\u{202e}"
        );
    }

    #[test]
    fn long_data_are_cut() {
        assert_eq!(hex(b"\x00\xff"), "00ff");
        assert_eq!(hex(&[0xab; 65]), "ab".repeat(64) + "...");
    }
}
