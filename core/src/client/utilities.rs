//! Messages with a type, and the reasons of close codes, for applications that
//! look at them themselves (PO-25 to PO-27).

use alloc::borrow::Cow;
use alloc::format;

use crate::code::CloseCode;
use crate::json::Json;
use crate::message::Message;

/// What a close code means, in the words of Protocol OS (PO-25, PO-58).
/// [`CloseCode`] itself says it shorter, and what to do about it.
pub fn close_reason(code: CloseCode) -> Cow<'static, str> {
    let words = match u16::from(code) {
        1000 => "Normal closure",
        1001 => "Going away (page unload)",
        1002 => "Protocol error",
        1003 => "Unsupported data type",
        1005 => "No status received",
        1006 => "Abnormal closure (no close frame)",
        1007 => "Invalid payload data",
        1008 => "Policy violation",
        1009 => "Message too big",
        1010 => "Missing extension",
        1011 => "Internal server error",
        1012 => "Service restart",
        1013 => "Try again later",
        1014 => "Bad gateway",
        1015 => "TLS handshake failed",
        code => return Cow::Owned(format!("Unknown ({code})")),
    };
    Cow::Borrowed(words)
}

/// The JSON that a message is; `None` of one that is none, or binary (PO-27).
pub fn parse_message(message: &Message) -> Option<Json> {
    match message {
        Message::Text(text) => Json::parse(text.clone()).ok(),
        Message::Binary(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn close_codes_have_the_reasons_of_the_seed() {
        let reason = |code: u16| close_reason(CloseCode::from(code));
        assert_eq!(reason(1006), "Abnormal closure (no close frame)");
        assert_eq!(reason(1000), "Normal closure");
        assert_eq!(reason(4001), "Unknown (4001)");
        assert_eq!(reason(1004), "Unknown (1004)");
        let known = (0..=u16::MAX).filter(|&code| !reason(code).starts_with("Unknown"));
        assert_eq!(known.count(), 15);
    }

    #[test]
    fn only_text_that_is_json_is_parsed() {
        let json = parse_message(&Message::text(r#"{"type":"chat"}"#));
        assert_eq!(json.unwrap().as_str().to_string(), r#"{"type":"chat"}"#);
        assert!(parse_message(&Message::text("chat")).is_none());
        assert!(parse_message(&Message::binary(b"{}".to_vec())).is_none());
    }
}
