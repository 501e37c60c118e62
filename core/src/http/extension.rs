//! `Sec-WebSocket-Extensions`: the grammar of RFC 6455 §9.1, whoever's extension it is.

use alloc::string::String;
use alloc::vec::Vec;

use super::HeadError;
use super::headers::{is_token, is_token_byte};

/// An extension as offered or accepted. Repeated parameters are kept: to judge them is the
/// extension's own business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extension {
    pub(crate) name: String,
    pub(crate) params: Vec<(String, Option<String>)>,
}

/// Reads every value of the header as one list, in one pass without looking back.
pub(crate) fn parse_extensions<'a>(
    values: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<Extension>, HeadError> {
    let mut extensions = Vec::new();
    for value in values {
        let mut cursor = Cursor { rest: value };
        while cursor.skip_to_element() {
            if extensions.len() == MAX_EXTENSIONS {
                return Err(MALFORMED);
            }
            extensions.push(extension(&mut cursor)?);
        }
    }
    Ok(extensions)
}

const MAX_EXTENSIONS: usize = 8;
const MAX_PARAMS: usize = 16;
const MALFORMED: HeadError = HeadError::Field("sec-websocket-extensions");

/// `extension-token *( ";" extension-param )`, up to the comma or the end.
fn extension(cursor: &mut Cursor<'_>) -> Result<Extension, HeadError> {
    let name = cursor.token()?;
    let mut params = Vec::new();
    while cursor.eat(b';') {
        if params.len() == MAX_PARAMS {
            return Err(MALFORMED);
        }
        let key = cursor.token()?;
        let value = if !cursor.eat(b'=') {
            None
        } else if cursor.eat(b'"') {
            Some(cursor.quoted()?)
        } else {
            Some(cursor.token()?)
        };
        params.push((key, value));
    }
    match cursor.peek() {
        None | Some(b',') => Ok(Extension { name, params }),
        Some(_) => Err(MALFORMED),
    }
}

/// The unread part of a value. Whitespace may stand around every separator, as the implied linear
/// whitespace of RFC 6455's grammar has it (RFC 2616 §2.1).
struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn peek(&mut self) -> Option<u8> {
        while let [b' ' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
        self.rest.first().copied()
    }

    fn eat(&mut self, separator: u8) -> bool {
        let found = self.peek() == Some(separator);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    /// Skips empty list elements; false at the end.
    fn skip_to_element(&mut self) -> bool {
        while self.eat(b',') {}
        self.peek().is_some()
    }

    fn token(&mut self) -> Result<String, HeadError> {
        self.peek();
        let end = self.rest.iter().position(|&byte| !is_token_byte(byte));
        let (token, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        checked(token.to_vec())
    }

    /// What follows an opening quote, unescaped; it must be a token all the same (RFC 6455 §9.1).
    fn quoted(&mut self) -> Result<String, HeadError> {
        let mut value = Vec::new();
        loop {
            let (byte, rest) = match self.rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return checked(value);
                }
                [b'\\', byte, rest @ ..] | [byte, rest @ ..] => (*byte, rest),
                [] => return Err(MALFORMED),
            };
            value.push(byte);
            self.rest = rest;
        }
    }
}

fn checked(token: Vec<u8>) -> Result<String, HeadError> {
    if !is_token(&token) {
        return Err(MALFORMED);
    }
    String::from_utf8(token).map_err(|_| MALFORMED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn parse(values: &[&str]) -> Option<String> {
        let parsed = parse_extensions(values.iter().map(|value| value.as_bytes())).ok()?;
        let shown = parsed.iter().map(|extension| {
            let params = extension.params.iter().map(|(key, value)| match value {
                Some(value) => format!(";{key}={value}"),
                None => format!(";{key}"),
            });
            extension.name.clone() + &params.collect::<String>()
        });
        Some(shown.collect::<Vec<_>>().join(","))
    }

    #[test]
    fn grammar() {
        for (value, shown) in [
            ("foo", "foo"),
            ("permessage-deflate", "permessage-deflate"),
            ("a;b", "a;b"),
            ("a ; b\t=\tc", "a;b=c"),
            (" a;b = \"c\" ", "a;b=c"),
            ("a;b=\"\\c\\d\"", "a;b=cd"),
            ("a;b=\"1\\5\";c", "a;b=15;c"),
            ("a;b;b=1;b", "a;b;b=1;b"),
            ("a,b;c,a", "a,b;c,a"),
            (",, a ,,b, ", "a,b"),
            ("", ""),
            (" , ", ""),
            ("constructor;__proto__=1", "constructor;__proto__=1"),
            ("Foo;Bar=Baz", "Foo;Bar=Baz"),
        ] {
            assert_eq!(parse(&[value]).as_deref(), Some(shown), "{value:?}");
        }
        assert_eq!(parse(&["a;b", "c"]).as_deref(), Some("a;b,c"));
        assert_eq!(parse(&[]).as_deref(), Some(""));
    }

    #[test]
    fn malformed_values_are_refused() {
        for value in [
            ";",
            ";a",
            "a;",
            "a;;b",
            "a;b=",
            "a;=b",
            "a;b=\"",
            "a;b=\"c",
            "a;b=\"c\\",
            "a;b=\"\"",
            "a;b=\"c d\"",
            "a;b=\"c,d\"",
            "a;b=\"c;d\"",
            "a;b=\"\\\"\"",
            "a;b=\"\\\\\"",
            "a b",
            "a;b c",
            "a=b",
            "\"a\"",
            "a;\"b\"",
            "a;b=\"c\"d",
            "a;b=c\"d\"",
            "a;b==c",
            "a/b",
            "ä",
            "a;b=ä",
            "a\0",
            ";;;\"\\\\\\\\",
            "a;b='c d'",
        ] {
            assert_eq!(parse(&[value]), None, "{value:?}");
        }
        // A quoted string does not reach into the next line.
        assert_eq!(parse(&["a;b=\"c", "d\""]), None);
    }

    #[test]
    fn counts_are_limited() {
        let list = |n: usize| ["a"].repeat(n).join(",");
        assert!(parse(&[&list(8)]).is_some());
        assert!(parse(&[&list(9)]).is_none());
        assert!(parse(&[&list(8), "a"]).is_none());
        let params = |n: usize| "a".to_string() + &";b=c".repeat(n);
        assert!(parse(&[&params(16)]).is_some());
        assert!(parse(&[&params(17)]).is_none());
    }

    /// A parser that looks back would take hours for these.
    #[test]
    fn adversarial_values_cost_linear_time() {
        const LEN: usize = 1 << 22;
        for (head, filler, tail, parses) in [
            ("", ",", "", true),
            ("", " ", "", true),
            ("a", " \t", ";b", true),
            ("a;b=", "x", "", true),
            ("a;b=\"", "x", "\"", true),
            ("a;b=\"", "\\x", "\"", true),
            ("a;b=\"", "\\\\", "\"", false),
            ("a;b=\"", "\\\"", "", false),
            ("a;b=\"", "x", "", false),
            ("", ";;;\"\\\\", "", false),
            ("a", ";", "", false),
            ("", "a;", "", false),
            ("", "\"", "", false),
            ("", "a,", "", false),
        ] {
            let value = format!("{head}{}{tail}", filler.repeat(LEN / filler.len()));
            assert_eq!(parse(&[&value]).is_some(), parses, "{head}{filler}{tail}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail_and_what_parses_reads_the_same_again(
            value in proptest::collection::vec(
                prop_oneof![Just(b';'), Just(b','), Just(b'"'), Just(b'\\'), Just(b'='),
                            Just(b' '), Just(b'a'), any::<u8>()], 0..60)
        ) {
            if let Ok(first) = parse_extensions(core::iter::once(value.as_slice())) {
                let shown = first.iter().map(|extension| {
                    let params = extension.params.iter().map(|(key, value)| match value {
                        Some(value) => format!("; {key}=\"{value}\""),
                        None => format!("; {key}"),
                    });
                    extension.name.clone() + &params.collect::<String>()
                }).collect::<Vec<_>>().join(", ");
                prop_assert_eq!(
                    parse_extensions(core::iter::once(shown.as_bytes())), Ok(first));
            }
        }
    }
}
