//! Values of the command line: sizes, durations, headers.

use std::time::Duration;

/// The longest duration an option takes: longer ones are typing errors.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// A number of bytes, as `65536`, `64k`, `1M` or `1MiB`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match lower[digits.len()..].trim() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err("expected a number of bytes such as 65536, 64k or 1M".into()),
    };
    digits
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| "expected a number of bytes such as 65536, 64k or 1M".into())
}

/// A size that is not nothing.
pub(crate) fn positive_size(text: &str) -> Result<usize, String> {
    match size(text)? {
        0 => Err("must be at least 1".into()),
        size => Ok(size),
    }
}

/// A duration in seconds, as `5` or `0.5`, or with a unit as `500ms`.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let duration = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    duration
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| "expected a number of seconds such as 5 or 0.5, or 500ms".into())
}

/// A duration that is not nothing.
pub(crate) fn positive_seconds(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        Duration::ZERO => Err("must be more than 0".into()),
        duration => Ok(duration),
    }
}

/// A header as typed. Its `Debug` does not show the value, which may be a secret.
#[derive(Clone)]
pub(crate) struct Header {
    /// The name.
    pub(crate) name: String,
    /// The value, trimmed.
    pub(crate) value: String,
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Header({}: ***)", self.name)
    }
}

/// A header of the form `Name: value`. clap repeats a bad argument on the
/// terminal, so what is wrong with the value is judged later.
pub(crate) fn header(text: &str) -> Result<Header, std::convert::Infallible> {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    Ok(Header {
        // Without a colon the text may be the secret itself.
        name: if text.contains(':') {
            name.trim().into()
        } else {
            String::new()
        },
        value: value.trim().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_binary_units() {
        for (text, expected) in [
            ("0", 0),
            ("65536", 65_536),
            ("64k", 65_536),
            ("1MiB", 1 << 20),
            ("1 M", 1 << 20),
            ("2g", 2 << 30),
        ] {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "k",
            "-1",
            "1.5M",
            "1x",
            "99999999999999999999",
            "99999999999999g",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
        assert!(positive_size("0").is_err());
    }

    #[test]
    fn durations_are_seconds_unless_they_name_a_unit() {
        assert_eq!(seconds("5"), Ok(Duration::from_secs(5)));
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("1m"), Ok(Duration::from_secs(60)));
        for text in ["", "-1", "x", "NaN", "inf", "1e30"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!(positive_seconds("0").is_err());
    }

    #[test]
    fn a_header_is_split_at_its_first_colon() {
        let header = header("X-Time:  10:30 ").unwrap();
        assert_eq!((&*header.name, &*header.value), ("X-Time", "10:30"));
        assert_eq!(format!("{header:?}"), "Header(X-Time: ***)");
    }

    #[test]
    fn a_header_without_a_colon_gives_nothing_away() {
        let header = header("hunter2").unwrap();
        assert_eq!((&*header.name, &*header.value), ("", ""));
    }
}
