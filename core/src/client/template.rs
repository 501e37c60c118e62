//! First messages by template (PO-07, PO-29).

use alloc::string::String;

use serde::de::IgnoredAny;

use crate::json::Json;
use crate::message::{Message, Utf8Bytes};

/// Fills a template: `{{type}}` and `{{token}}` stand for texts. A template
/// that is JSON gives compact JSON, with the texts escaped; another one is sent
/// as it stands, with the texts as they are.
pub(super) fn fill(template: &str, kind: &str, token: &str) -> Message {
    // In JSON, two braces in a row are in a string or the template is none.
    let filled = if serde_json::from_str::<IgnoredAny>(template).is_ok() {
        replace(&compact(template), &escaped(kind), &escaped(token))
    } else {
        replace(template, kind, token)
    };
    Message::text(Utf8Bytes::from(filled))
}

fn replace(text: &str, kind: &str, token: &str) -> String {
    // One pass: what a token contains is never a placeholder.
    let mut out = String::with_capacity(text.len() + token.len());
    let mut rest = text;
    while let Some(at) = rest.find("{{") {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("{{type}}") {
            out.push_str(kind);
            rest = after;
        } else if let Some(after) = rest.strip_prefix("{{token}}") {
            out.push_str(token);
            rest = after;
        } else {
            out.push('{');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

/// A text as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let json = Json::string(text);
    let quoted = json.as_str();
    quoted[1..quoted.len() - 1].into()
}

/// JSON without the space between its values.
fn compact(json: &str) -> String {
    let (mut inside, mut escape) = (false, false);
    json.chars()
        .filter(|&c| {
            let keep = inside || !c.is_ascii_whitespace();
            inside ^= c == '"' && !escape;
            escape = inside && c == '\\' && !escape;
            keep
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// wire.md §4.1, PO-64, PO-65.
    #[test]
    fn templates_become_messages() {
        let cases = [
            (
                super::super::config::DEFAULT_TEMPLATE,
                "T",
                r#"{"type":"authenticate","token":"T"}"#,
            ),
            (
                r#"{"type": "connection_init", "payload": {"authorization": "Bearer {{token}}"}}"#,
                "T",
                r#"{"type":"connection_init","payload":{"authorization":"Bearer T"}}"#,
            ),
            // Escaped where it is JSON ...
            (
                r#"{"token": "{{token}}"}"#,
                r#"a","admin":"b\"#,
                r#"{"token":"a\",\"admin\":\"b\\"}"#,
            ),
            // ... and no placeholder of its own.
            (
                r#"["{{token}}{{token}}"]"#,
                "{{type}}",
                r#"["{{type}}{{type}}"]"#,
            ),
            // A text template goes as it is.
            (
                "AUTH {{token}} as {{type}} {{who}}",
                "T",
                "AUTH T as authenticate {{who}}",
            ),
            (
                "{\"a\\\\\" : \"b \\\" {{token}}\" }",
                "x y",
                "{\"a\\\\\":\"b \\\" x y\"}",
            ),
            ("{{{token}}", "T", "{T"),
            (
                r#"42["auth",{"token":"{{token}}"}]"#,
                "T",
                r#"42["auth",{"token":"T"}]"#,
            ),
        ];
        for (template, token, expected) in cases {
            let message = fill(template, "authenticate", token);
            assert_eq!(message, Message::text(expected), "{template}");
        }
    }
}
