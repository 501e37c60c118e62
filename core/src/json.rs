//! JSON as it came: one checked text, never rebuilt.

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use core::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::message::Utf8Bytes;

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 32;
/// How many values one text may hold, keys not counted.
pub const MAX_NODES: usize = 10_000;

/// A JSON value in the very bytes it came in; cloning shares them.
///
/// What holds: the text is valid JSON (RFC 8259), nests at most
/// [`MAX_DEPTH`] deep and has at most [`MAX_NODES`] values. So whatever parses
/// it later does bounded work.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Utf8Bytes);

/// Why a text is no [`Json`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON at all; what the parser said.
    Syntax(String),
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// More than [`MAX_NODES`] values.
    TooMany,
}

impl Json {
    /// `null`.
    pub const NULL: Self = Self(Utf8Bytes::from_static("null"));
    /// `{}`.
    pub const EMPTY: Self = Self(Utf8Bytes::from_static("{}"));

    /// Checks a text, which is kept as it is but for white space around it.
    ///
    /// # Errors
    ///
    /// The text is not JSON, or exceeds the bounds.
    pub fn parse(text: impl Into<Utf8Bytes>) -> Result<Self, JsonError> {
        let text = text.into();
        let raw: &RawValue = serde_json::from_str(&text)?;
        check(raw.get())?;
        let slice = text.slice(raw.get());
        Ok(Self(slice))
    }

    /// A value as JSON.
    ///
    /// # Errors
    ///
    /// The value has no JSON form (a map with keys that are no strings), or
    /// exceeds the bounds.
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Result<Self, JsonError> {
        let text = serde_json::to_string(value)?;
        check(&text)?;
        Ok(Self(text.into()))
    }

    /// A string as JSON.
    pub fn string(text: &str) -> Self {
        // A string always has a JSON form, and it is one value.
        Self(serde_json::to_string(text).unwrap_or_default().into())
    }

    /// Wraps a text known to be JSON, if it keeps within the bounds.
    pub(crate) fn bounded(text: Utf8Bytes) -> Result<Self, JsonError> {
        debug_assert!(serde_json::from_str::<&RawValue>(&text).is_ok());
        check(&text)?;
        Ok(Self(text))
    }

    /// Wraps a text known to hold what [`Json`] promises.
    pub(crate) fn trusted(text: impl Into<Utf8Bytes>) -> Self {
        let json = Self(text.into());
        debug_assert!(Self::parse(json.0.clone()).is_ok(), "not JSON: {}", json.0);
        json
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, without copying it.
    pub fn into_text(self) -> Utf8Bytes {
        self.0
    }

    /// The value in a type of the caller's.
    ///
    /// # Errors
    ///
    /// The value is not of that type.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, JsonError> {
        Ok(serde_json::from_str(&self.0)?)
    }

    /// The string, where this is one.
    pub fn to_text(&self) -> Option<String> {
        self.0.starts_with('"').then(|| self.to().ok()).flatten()
    }

    /// A part of this text that is a value itself, without copying it.
    pub(crate) fn part(&self, raw: &RawValue) -> Self {
        Self(self.0.slice(raw.get()))
    }
}

/// Holds valid JSON against the bounds, in one pass.
fn check(text: &str) -> Result<(), JsonError> {
    let mut depth = 0_usize;
    let mut nodes = 1_usize;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => {
                            bytes.next();
                        }
                        _ => {}
                    }
                }
            }
            b'[' | b'{' => {
                depth += 1;
                nodes += 1;
                if depth > MAX_DEPTH {
                    return Err(JsonError::TooDeep);
                }
            }
            b']' | b'}' => depth -= 1,
            b',' => nodes += 1,
            _ => {}
        }
        if nodes > MAX_NODES {
            return Err(JsonError::TooMany);
        }
    }
    Ok(())
}

/// What can be sent as an event's data: anything with a serde form, by
/// reference; a [`Json`] or [`serde_json::Value`] as it is; `()` for none.
pub trait IntoJson {
    /// The data as JSON, `None` for no data at all.
    ///
    /// # Errors
    ///
    /// The value has no JSON form, or exceeds the bounds of [`Json`].
    fn into_json(self) -> Result<Option<Json>, JsonError>;
}

impl IntoJson for () {
    fn into_json(self) -> Result<Option<Json>, JsonError> {
        Ok(None)
    }
}

impl IntoJson for Json {
    fn into_json(self) -> Result<Option<Json>, JsonError> {
        Ok(Some(self))
    }
}

impl IntoJson for Option<Json> {
    fn into_json(self) -> Result<Option<Json>, JsonError> {
        Ok(self)
    }
}

impl IntoJson for serde_json::Value {
    fn into_json(self) -> Result<Option<Json>, JsonError> {
        Json::from_value(&self).map(Some)
    }
}

/// What is passed by value, as a matter of course.
macro_rules! by_value {
    ($($type:ty),*) => {$(
        impl IntoJson for $type {
            fn into_json(self) -> Result<Option<Json>, JsonError> {
                (&self).into_json()
            }
        }
    )*};
}

by_value!(
    bool, i8, i16, i32, i64, isize, u8, u16, u32, u64, usize, f32, f64, String
);

impl<T: Serialize + ?Sized> IntoJson for &T {
    fn into_json(self) -> Result<Option<Json>, JsonError> {
        Json::from_value(self).map(Some)
    }
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        Self::Syntax(error.to_string())
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self(Utf8Bytes::from_static(if value { "true" } else { "false" }))
    }
}

impl From<u64> for Json {
    fn from(value: u64) -> Self {
        Self(value.to_string().into())
    }
}

impl From<&str> for Json {
    /// The string as JSON; for JSON as a string, see [`Json::parse`].
    fn from(text: &str) -> Self {
        Self::string(text)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Checked when this was made: nothing is parsed again but its ends.
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// The part of a JSON text that stands for it, as it is there.
impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Box<str> = Box::<RawValue>::deserialize(deserializer)?.into();
        Self::parse(String::from(text)).map_err(serde::de::Error::custom)
    }
}

/// The text, up to 60 characters.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(60) {
            None => write!(f, "Json({})", self.0),
            Some((end, _)) => write!(f, "Json({}… {} bytes)", &self.0[..end], self.0.len()),
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(what) => write!(f, "not JSON: {what}"),
            Self::TooDeep => write!(f, "JSON nested deeper than {MAX_DEPTH}"),
            Self::TooMany => write!(f, "JSON of more than {MAX_NODES} values"),
        }
    }
}

impl core::error::Error for JsonError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_as_it_came_but_for_the_space_around_it() {
        let json = Json::parse(" {\"a\" : [1, 2.50, \"x\\\"]\"] }\n").unwrap();
        assert_eq!(json.as_str(), "{\"a\" : [1, 2.50, \"x\\\"]\"] }");
        assert_eq!(
            Json::parse("\"h\\u00e9\"").unwrap().to_text().as_deref(),
            Some("hé")
        );
        assert_eq!(Json::string("a\"b").as_str(), "\"a\\\"b\"");
        for bad in [
            "",
            "{",
            "nul",
            "{} {}",
            "\"\u{1}\"",
            "[1,]",
            "01",
            "{\"a\"}",
        ] {
            assert!(
                matches!(Json::parse(bad), Err(JsonError::Syntax(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_part_of_a_message_can_be_kept_as_it_came() {
        #[derive(Serialize, Deserialize)]
        struct Message {
            to: String,
            data: Json,
        }
        let text = r#"{"to":"a","data":{"b" : 1.50,"a":"\u00e9"}}"#;
        let message: Message = Json::parse(text).unwrap().to().unwrap();
        assert_eq!(message.data.as_str(), r#"{"b" : 1.50,"a":"\u00e9"}"#);
        assert_eq!(Json::from_value(&message).unwrap().as_str(), text);
        let null: Message = serde_json::from_str(r#"{"to":"a","data":null}"#).unwrap();
        assert_eq!(null.data, Json::NULL);
        let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        let deep = alloc::format!("{{\"to\":\"a\",\"data\":{deep}}}");
        assert!(serde_json::from_str::<Message>(&deep).is_err());
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Json::parse(nested(MAX_DEPTH)).is_ok());
        assert_eq!(Json::parse(nested(MAX_DEPTH + 1)), Err(JsonError::TooDeep));
        let wide = |values: usize| alloc::format!("[{}1]", "1,".repeat(values - 1));
        assert!(Json::parse(wide(MAX_NODES - 1)).is_ok());
        assert_eq!(Json::parse(wide(MAX_NODES)), Err(JsonError::TooMany));
        let brackets_in_a_string = alloc::format!("\"{}\"", "[,\\\"".repeat(20_000));
        assert!(Json::parse(brackets_in_a_string).is_ok());
    }
}
