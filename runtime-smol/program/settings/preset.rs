//! Other defaults, for a purpose.

use super::table::{ROWS, find};
use super::value::Value;

/// What they are called.
pub(crate) const NAMES: &[&str] = &["low-latency", "high-throughput", "mobile"];

/// What each of them says: SS-113, SS-114. That of SS-115 is for clients, so
/// a server has nothing to change.
const PRESETS: &[(&str, &[(&str, &str)])] = &[
    (
        "low-latency",
        &[
            ("compressionLevel", "1"),
            ("rateLimitMaxRequests", "10000"),
            ("connectionTimeout", "5000"),
        ],
    ),
    (
        "high-throughput",
        &[
            ("compressionLevel", "9"),
            ("maxConnections", "50000"),
            ("enableConnectionPooling", "true"),
        ],
    ),
    ("mobile", &[]),
];

/// The values of a preset, by the numbers of their rows.
pub(crate) fn values(preset: &str) -> impl Iterator<Item = (usize, Value)> {
    let found = PRESETS.iter().find(|(name, _)| *name == preset);
    let options = found.map_or(&[][..], |(_, options)| options);
    options.iter().filter_map(|(name, text)| {
        let row = find(name)?;
        Some((row, ROWS[row].kind.parse(text).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_say_what_options_take() {
        assert_eq!(
            PRESETS.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            NAMES
        );
        for (name, options) in PRESETS {
            assert_eq!(values(name).count(), options.len(), "{name}");
        }
    }
}
