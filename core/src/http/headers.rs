//! Header fields, and the small grammar of RFC 9110 §5.6 they are made of.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Header fields in the order they were sent; names compare without regard to ASCII case.
///
/// All names and values live in one block of text, so a head costs two allocations however many
/// fields it has.
#[derive(Clone, Default)]
pub struct Headers {
    text: Vec<u8>,
    fields: Vec<Field>,
}

/// Offsets into the text: the value starts where the name ends. In 32 bits,
/// because a connection may keep its request for its whole life.
#[derive(Clone, Copy)]
struct Field {
    name: u32,
    value: u32,
    end: u32,
}

/// A header the caller asked for cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidHeader {
    name: String,
    why: &'static str,
}

impl Headers {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a field. The name must be a token; whitespace around the value is trimmed, and what
    /// is left may hold no control character but the tab.
    pub fn push(&mut self, name: &str, value: &str) -> Result<(), InvalidHeader> {
        if !is_token(name.as_bytes()) {
            return Err(InvalidHeader::new(name, "the name is not a token"));
        }
        let value = trim(value.as_bytes());
        if !is_field_value(value) {
            return Err(InvalidHeader::new(
                name,
                "the value has a control character",
            ));
        }
        self.push_checked(name, value);
        Ok(())
    }

    /// The first value of a field, if it is there and is UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_bytes(name)
            .and_then(|value| core::str::from_utf8(value).ok())
    }

    /// The first value of a field, as sent.
    pub fn get_bytes(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// Every value of a field, in order.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.fields
            .iter()
            .filter(move |field| self.name(field).eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| self.value(field))
    }

    /// Every field as name and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|field| {
            let name = core::str::from_utf8(self.name(field));
            let name = name.expect("only tokens are stored as names, and tokens are ASCII");
            (name, self.value(field))
        })
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Bytes of memory in use.
    pub(crate) const fn size(&self) -> usize {
        self.text.len() + self.fields.len() * size_of::<Field>()
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Whether a field is there, whatever its value.
    pub fn contains(&self, name: &str) -> bool {
        self.get_bytes(name).is_some()
    }

    /// Appends every field of `other`.
    pub fn extend(&mut self, other: &Self) {
        for (name, value) in other.iter() {
            self.push_checked(name, value);
        }
    }

    /// The value of a field that must be there exactly once.
    pub(super) fn single(&self, name: &str) -> Option<&[u8]> {
        let mut all = self.get_all(name);
        all.next().filter(|_| all.next().is_none())
    }

    /// Whether a token is in a comma-separated field such as `Connection: keep-alive, Upgrade`.
    pub(super) fn lists(&self, name: &str, token: &str) -> bool {
        self.get_all(name)
            .flat_map(elements)
            .any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Whether the fields announce content after the head. An upgrade has none: whatever followed
    /// it would be frames to one reader and content to another. A lone zero length says nothing.
    pub(super) fn announce_content(&self) -> bool {
        self.contains("transfer-encoding")
            || (self.contains("content-length")
                && self.single("content-length") != Some(b"0".as_slice()))
    }

    /// Puts a field that may be there only once.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), InvalidHeader> {
        let before = self.fields.len();
        self.push(name, value)?;
        let mut fields = core::mem::take(&mut self.fields);
        let mut index = 0;
        fields.retain(|field| {
            index += 1;
            index > before || !self.name(field).eq_ignore_ascii_case(name.as_bytes())
        });
        self.fields = fields;
        Ok(())
    }

    pub(super) fn with_capacity(text: usize, fields: usize) -> Self {
        Self {
            text: Vec::with_capacity(text),
            fields: Vec::with_capacity(fields),
        }
    }

    pub(super) fn push_checked(&mut self, name: &str, value: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(value);
        // A head is never so long that this cuts anything.
        let offset = |at| u32::try_from(at).unwrap_or(u32::MAX);
        self.fields.push(Field {
            name: offset(start),
            value: offset(start + name.len()),
            end: offset(self.text.len()),
        });
    }

    fn name(&self, field: &Field) -> &[u8] {
        &self.text[field.name as usize..field.value as usize]
    }

    fn value(&self, field: &Field) -> &[u8] {
        &self.text[field.value as usize..field.end as usize]
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self.iter() {
            if is_any_of(name, &SECRET) {
                map.entry(&name, &format_args!("***"));
            } else {
                map.entry(&name, &format_args!("\"{}\"", value.escape_ascii()));
            }
        }
        map.finish()
    }
}

impl InvalidHeader {
    pub(super) fn new(name: &str, why: &'static str) -> Self {
        Self {
            name: name.into(),
            why,
        }
    }

    /// The name of the header, as the caller gave it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for InvalidHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "header {:?} cannot be sent: {}", self.name, self.why)
    }
}

impl core::error::Error for InvalidHeader {}

/// Fields whose values never reach a log. Tokens travel in the subprotocol list because a browser
/// lets a page set no other header.
const SECRET: [&str; 5] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "sec-websocket-protocol",
];

/// Fields that say where a message ends: only the encoder may write them.
pub(super) const FRAMING: [&str; 2] = ["content-length", "transfer-encoding"];

pub(super) fn is_any_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|other| other.eq_ignore_ascii_case(name))
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

pub(super) fn is_field_value(text: &[u8]) -> bool {
    text.iter().all(|&byte| is_text_byte(byte))
}

/// What a field value may hold: anything but control characters, the tab excepted (RFC 9110 §5.5).
pub(super) fn is_text_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Strips the optional whitespace of RFC 9110 §5.6.3.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// The elements of a comma-separated list without quoted strings. Empty ones are skipped, as
/// RFC 9110 §5.6.1.2 asks of a reader.
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(trim)
        .filter(|element| !element.is_empty())
}

pub(super) fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn names_compare_without_case_and_order_is_kept() {
        let mut headers = Headers::new();
        headers.push("X-A", "1").unwrap();
        headers.push("Other", "2").unwrap();
        headers.push("x-a", "3").unwrap();
        assert_eq!(headers.get("x-A"), Some("1"));
        assert!(headers.get_all("X-a").eq([b"1", b"3"]));
        assert!(
            headers
                .iter()
                .map(|(name, _)| name)
                .eq(["X-A", "Other", "x-a"])
        );
        assert_eq!(headers.len(), 3);
        assert!(!headers.is_empty() && headers.contains("OTHER") && !headers.contains("oth"));
        assert_eq!(headers.single("other"), Some(b"2".as_slice()));
        assert_eq!(headers.single("x-a"), None);
    }

    #[test]
    fn values_are_trimmed_and_may_be_empty_or_beyond_ascii() {
        let mut headers = Headers::new();
        headers.push("a", " \t b c \t").unwrap();
        headers.push("b", "").unwrap();
        headers.push("c", "żółw").unwrap();
        assert_eq!(headers.get("a"), Some("b c"));
        assert_eq!(headers.get("b"), Some(""));
        assert_eq!(headers.get("c"), Some("żółw"));
    }

    #[test]
    fn what_could_break_a_head_is_refused() {
        let mut headers = Headers::new();
        for name in ["", "a b", "a:", "a\r\nb", "ą", " a", "a\0", "(a)"] {
            assert!(headers.push(name, "v").is_err(), "{name:?}");
        }
        for value in [
            "a\r\nb: c",
            "a\nb",
            "a\rb",
            "a\0b",
            "\x7f",
            "a\x1bb",
            "\r",
            "\n",
        ] {
            assert!(headers.push("name", value).is_err(), "{value:?}");
        }
        assert!(headers.is_empty());
    }

    #[test]
    fn an_error_names_the_header_and_keeps_the_value_to_itself() {
        let error = Headers::new().push("cookie", "hunter2\n").unwrap_err();
        assert_eq!(error.name(), "cookie");
        let text = error.to_string();
        assert_eq!(
            text,
            "header \"cookie\" cannot be sent: the value has a control character"
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut headers = Headers::new();
        for name in SECRET {
            headers.push(&name.to_uppercase(), "hunter2").unwrap();
        }
        headers.push("x", "visible\u{7fff}").unwrap();
        let text = format!("{headers:?}");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("visible\\xe7"), "{text}");
    }

    #[test]
    fn lists_find_whole_tokens() {
        let mut headers = Headers::new();
        headers
            .push("connection", "keep-alive ,, \tUPGRADE")
            .unwrap();
        headers.push("connection", "x-upgrade").unwrap();
        assert!(headers.lists("Connection", "upgrade"));
        assert!(headers.lists("Connection", "keep-alive"));
        assert!(headers.lists("Connection", "X-Upgrade"));
        assert!(!headers.lists("Connection", "keep"));
        assert!(!headers.lists("Connection", ""));
    }
}
