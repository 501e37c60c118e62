//! Clients that send back what they receive.
//!
//! The published clients of generation B hand a received event to their own
//! `emit`, which sends it. Such an event says nothing, and whoever answered it
//! would be echoed again.

use alloc::collections::VecDeque;
use alloc::string::String;
use core::hash::Hasher as _;

use siphasher::sip::SipHasher13;

/// How many events on their way to a client that sends them back are
/// remembered; the oldest is forgotten first. One that is forgotten comes back
/// as an event, which a handler may well send to all.
const MOST: usize = 4_096;
/// The same for a client that has not said yet of which kind it is, which those
/// do first of all: what may come between that and their arrival.
const MOST_EARLY: usize = 256;

/// The events of which an echo may come.
#[derive(Debug, Default)]
pub(super) struct Echoes(VecDeque<u64>);

impl Echoes {
    pub(super) fn expect(&mut self, text: &str, early: bool) {
        let most = if early { MOST_EARLY } else { MOST };
        if self.0.len() >= most {
            self.0.pop_front();
        }
        self.0.push_back(meaning(text));
    }

    /// Whether a message is an echo, which it is once for each time the event
    /// was sent.
    pub(super) fn is_one(&mut self, text: &str) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let meaning = meaning(text);
        let known = self.0.iter().position(|sent| *sent == meaning);
        let is_one = known.and_then(|at| self.0.remove(at)).is_some();
        if self.0.is_empty() && self.0.capacity() > MOST_EARLY {
            self.0 = VecDeque::new();
        }
        is_one
    }
}

/// A hash of JSON that stays when JavaScript parses it and writes it again,
/// which changes space, escapes and the form of numbers. (Keys that are whole
/// numbers move to the front as well; such an echo is not known as one.)
///
/// It needs no secret: whoever finds two messages of one hash can only have one
/// of them lost, on its way from a client that got the other.
fn meaning(text: &str) -> u64 {
    let mut hash = SipHasher13::new();
    let mut rest = text.as_bytes().trim_ascii_start();
    while let Some(first) = rest.first() {
        let (token, after) = rest.split_at(token_len(*first, rest));
        match first {
            b'"' => {
                let escaped = token.contains(&b'\\');
                let plain = escaped.then(|| serde_json::from_slice::<String>(token).ok());
                match plain.flatten() {
                    Some(plain) => {
                        hash.write_u8(b'"');
                        hash.write(plain.as_bytes());
                        hash.write_u8(b'"');
                    }
                    None => hash.write(token),
                }
            }
            b'-' | b'0'..=b'9' => match number(token) {
                // There is no sign of zero there.
                Some(number) => hash.write_u64((number + 0.0).to_bits()),
                None => hash.write(token),
            },
            _ => hash.write(token),
        }
        // No token of a text has this byte.
        hash.write_u8(0xff);
        rest = after.trim_ascii_start();
    }
    hash.finish()
}

/// How long the token is that `text` begins with. Other than strings and
/// numbers, tokens are bytes.
fn token_len(first: u8, text: &[u8]) -> usize {
    match first {
        b'"' => {
            let mut escaped = false;
            let end = text[1..].iter().position(|byte| match byte {
                b'"' => !core::mem::take(&mut escaped),
                b'\\' => {
                    escaped = !escaped;
                    false
                }
                _ => {
                    escaped = false;
                    false
                }
            });
            end.map_or(text.len(), |end| end + 2)
        }
        b'-' | b'0'..=b'9' => {
            let digits = text
                .iter()
                .position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
            digits.unwrap_or(text.len())
        }
        _ => 1,
    }
}

/// Rounded as JavaScript does.
fn number(token: &[u8]) -> Option<f64> {
    str::from_utf8(token).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use proptest::prelude::*;

    use super::super::super::object::tests::any_json;
    use super::*;

    /// On the right what node 20 makes of the left by
    /// `JSON.stringify(JSON.parse(text))`.
    #[test]
    fn what_javascript_writes_again_means_the_same() {
        for (sent, echoed) in [
            (
                r#"{"event":"a","data":{"x":1}}"#,
                r#"{"event":"a","data":{"x":1}}"#,
            ),
            (" {\n\t\"a\" : [ 1 , true ] } ", r#"{"a":[1,true]}"#),
            (r#"["\u00e9\/\u0041","\ud83d\ude00"]"#, r#"["é/A","😀"]"#),
            (r#"["\u0001\u000a\"\\"]"#, r#"["\u0001\n\"\\"]"#),
            ("[1.0,1e3,-0,0.10,1E-7]", "[1,1000,0,0.1,1e-7]"),
            ("[12345678901234567890]", "[12345678901234567000]"),
            ("[0.1234567890123456789]", "[0.12345678901234568]"),
            (
                "[1e23,5e-324,1.7976931348623157e308]",
                "[1e+23,5e-324,1.7976931348623157e+308]",
            ),
            (r#"["\ud800"]"#, r#"["\ud800"]"#),
            ("\"\"", "\"\""),
        ] {
            assert_eq!(meaning(sent), meaning(echoed), "{sent}");
        }
    }

    #[test]
    fn other_messages_mean_something_else() {
        let texts = [
            "1",
            "2",
            "\"1\"",
            "[1]",
            "[1,2]",
            "[2,1]",
            "[12]",
            "[\"1\",\"2\"]",
            "[\"12\"]",
            "-1",
            "null",
            "true",
            "\"null\"",
            "[]",
            "{}",
            "[[]]",
            "[],",
            "\"",
            "\"\"",
            "\"\\",
            "\"a",
            "\"b",
            r#"{"from":"a","to":"b"}"#,
            r#"{"from":"b","to":"a"}"#,
            "[1700000000000]",
            "[1700000000001]",
            r#"["\ud800"]"#,
            r#"["\ud801"]"#,
            "é",
            "è",
            "\"é",
            "-",
            "--",
        ];
        for (at, one) in texts.iter().enumerate() {
            for other in &texts[at + 1..] {
                assert_ne!(meaning(one), meaning(other), "{one} {other}");
            }
        }
    }

    #[test]
    fn an_echo_is_known_as_often_as_it_was_sent() {
        let mut echoes = Echoes::default();
        assert!(!echoes.is_one("{}"));
        echoes.expect("{}", true);
        echoes.expect("[]", true);
        echoes.expect("{}", true);
        assert!(echoes.is_one("{}") && echoes.is_one("{ }"));
        assert!(!echoes.is_one("{}"));
        assert!(echoes.is_one("[]"));
        for (most, early) in [(MOST_EARLY, true), (MOST, false)] {
            for number in 0..=most {
                echoes.expect(&format!("{number}"), early);
            }
            assert!(!echoes.is_one("0"), "the oldest is forgotten");
            for number in (1..=most).rev() {
                assert!(echoes.is_one(&format!("{number}.0")));
            }
            assert!(echoes.0.is_empty() && echoes.0.capacity() <= MOST_EARLY);
        }
    }

    proptest! {
        #[test]
        fn space_between_tokens_means_nothing(json in any_json()) {
            let value: Result<serde_json::Value, _> = serde_json::from_str(json.as_str());
            if let Ok(value) = value {
                let text = json.as_str();
                let spaced = format!("\n {text}\t");
                prop_assert_eq!(meaning(&spaced), meaning(text));
                if let serde_json::Value::Array(_) = value {
                    let spaced = format!("[ \r{}", &text[1..]);
                    prop_assert_eq!(meaning(&spaced), meaning(text));
                }
            }
        }

        #[test]
        fn any_text_has_a_meaning(text: String) {
            prop_assert_eq!(meaning(&text), meaning(&text));
            let text = text.replace(['a', 'b', 'c'], "\"").replace(['d', 'e'], "\\");
            prop_assert_eq!(meaning(&text), meaning(&text));
        }
    }
}
