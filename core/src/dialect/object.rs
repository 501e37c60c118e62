//! JSON objects: read by their fields, and written field by field.

use alloc::string::String;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::json::Json;
use crate::message::{Message, Utf8Bytes};

/// The fields that `T` names, keys unescaped and other keys left alone. `None`
/// where the text is no object, or has one of these fields twice: of two
/// readers each could take another.
pub(super) fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    // A struct would be read from an array too.
    let object = text.trim_ascii_start().starts_with('{');
    object.then(|| serde_json::from_str(text).ok()).flatten()
}

/// Checks a text that is to be an object, and gives it with its fields, as
/// [`read`] does.
pub(super) fn parse<'a, T: Deserialize<'a>>(text: &'a Utf8Bytes) -> Option<(Json, T)> {
    let fields = read(text)?;
    Some((Json::bounded(text.clone()).ok()?, fields))
}

/// For `deserialize_with`: a field that is `null` is there.
pub(super) fn present<'de, D>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error>
where
    D: Deserializer<'de>,
{
    Deserialize::deserialize(deserializer).map(Some)
}

/// The string that a part of `json` is, copied only where it has escapes.
pub(super) fn text(json: &Json, part: &RawValue) -> Option<Utf8Bytes> {
    let part = json.part(part);
    let plain = part.as_str().strip_prefix('"')?.strip_suffix('"')?;
    if plain.contains('\\') {
        return part.to_text().map(Into::into);
    }
    Some(part.clone().into_text().slice(plain))
}

/// An object on its way out.
#[derive(Debug)]
pub(super) struct Object(String);

impl Object {
    pub(super) fn new() -> Self {
        Self(String::from("{"))
    }

    /// A field; its value is JSON.
    pub(super) fn json(mut self, key: &'static str, value: &str) -> Self {
        self.0.reserve(value.len() + key.len() + 5);
        self.0.push_str(if self.0.len() > 1 { ",\"" } else { "\"" });
        self.0.push_str(key);
        self.0.push_str("\":");
        self.0.push_str(value);
        self
    }

    pub(super) fn text(self, key: &'static str, value: &str) -> Self {
        self.json(key, Json::string(value).as_str())
    }

    pub(super) fn number(self, key: &'static str, value: u64) -> Self {
        self.json(key, itoa::Buffer::new().format(value))
    }

    pub(super) fn object(self, key: &'static str, value: Self) -> Self {
        self.json(key, &value.finish())
    }

    /// The field where there is a value.
    pub(super) fn maybe<T>(
        self,
        key: &'static str,
        value: Option<T>,
        field: impl FnOnce(Self, &'static str, T) -> Self,
    ) -> Self {
        match value {
            Some(value) => field(self, key, value),
            None => self,
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

impl From<Object> for Message {
    fn from(object: Object) -> Self {
        Self::text(object.finish())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use alloc::format;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// Any JSON within the bounds, numbers and keys in forms of their own.
    pub(in crate::dialect) fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(String::from("null")),
            any::<bool>().prop_map(|value| format!("{value}")),
            "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,3})?([eE][-+]?[0-9]{1,3})?",
            any::<String>().prop_map(|text| Json::string(&text).as_str().into()),
            Just(String::from("\"\\u0000\\ud800\\/\"")),
        ];
        let value = leaf.prop_recursive(4, 24, 5, |inner| {
            let list = proptest::collection::vec(inner.clone(), 0..5);
            let fields = proptest::collection::vec((any::<String>(), inner), 0..5);
            prop_oneof![
                list.prop_map(|list| format!("[{}]", list.join(" , "))),
                fields.prop_map(|fields| {
                    let field = |(key, value)| format!("{}:{value}", Json::string(key));
                    let fields: Vec<_> = fields.iter().map(|(k, v)| field((k, v))).collect();
                    format!("{{{}}}", fields.join(","))
                }),
            ]
        });
        value.prop_map(|text| Json::parse(text).unwrap())
    }

    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow, default, deserialize_with = "present")]
        a: Option<&'a RawValue>,
        #[serde(borrow)]
        b: Option<&'a RawValue>,
    }

    fn fields(text: &str) -> Option<(Option<&str>, Option<&str>)> {
        let fields: Fields<'_> = read(text)?;
        Some((fields.a.map(RawValue::get), fields.b.map(RawValue::get)))
    }

    #[test]
    fn fields_are_found_by_their_unescaped_keys() {
        for (text, expected) in [
            ("{}", Some((None, None))),
            ("{\"a\": 1.0 , \"b\":[ ]}", Some((Some("1.0"), Some("[ ]")))),
            ("{\"\\u0061\":2}", Some((Some("2"), None))),
            ("{\"a\":null,\"b\":null}", Some((Some("null"), None))),
            ("{\"A\":1,\"c\":[{}],\"c\":0}", Some((None, None))),
            ("{\"a\":1,\"a\":1}", None),
            ("{\"a\":1,\"\\u0061\":1}", None),
            ("[1,2]", None),
            ("\"a\"", None),
            ("null", None),
        ] {
            assert_eq!(fields(text), expected, "{text}");
        }
    }

    #[test]
    fn a_string_without_escapes_is_not_copied() {
        let json = Json::parse("{\"a\":\"smörgås\",\"b\":\"\\ud83d\\ude00\\n\"}").unwrap();
        let Fields { a, b } = read(json.as_str()).unwrap();
        let a = text(&json, a.unwrap()).unwrap();
        assert_eq!(a, "smörgås");
        assert!(
            json.as_str()
                .as_bytes()
                .as_ptr_range()
                .contains(&a.as_ptr())
        );
        assert_eq!(text(&json, b.unwrap()).unwrap(), "😀\n");
        for none in ["1", "null", "[\"a\"]", "{}", "\"\\ud800\""] {
            let json = Json::parse(format!("{{\"a\":{none}}}")).unwrap();
            let Fields { a, .. } = read(json.as_str()).unwrap();
            assert_eq!(text(&json, a.unwrap()), None, "{none}");
        }
    }

    #[test]
    fn fields_are_written_in_their_order() {
        let object = Object::new()
            .text("t", "a\"\\\n\u{1}\u{7f}é")
            .number("n", u64::MAX)
            .maybe("none", None, Object::text)
            .maybe("some", Some("s"), Object::text)
            .object("o", Object::new())
            .json("j", "[ 1 ]");
        assert_eq!(
            object.finish(),
            "{\"t\":\"a\\\"\\\\\\n\\u0001\u{7f}é\",\"n\":18446744073709551615,\
             \"some\":\"s\",\"o\":{},\"j\":[ 1 ]}"
        );
        assert_eq!(Object::new().finish(), "{}");
    }
}
