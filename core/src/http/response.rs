//! The answer to a request: written by a server, or read by a client.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::json::Json;

use super::HeadError;
use super::headers::{FRAMING, Headers, InvalidHeader, is_any_of, write_field};

/// An HTTP response. `Debug` shows neither the body nor the values of headers that carry secrets.
#[derive(Clone)]
pub struct Response {
    status: u16,
    headers: Headers,
    body: Bytes,
}

impl Response {
    /// An empty response. A status outside 200 to 599 becomes 500: it could not end the exchange.
    pub fn new(status: u16) -> Self {
        let status = if matches!(status, 200..=599) {
            status
        } else {
            500
        };
        Self::received(status, Headers::new())
    }

    /// A response with a line of plain text.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        let mut response = Self::new(status).body(text.into());
        response
            .headers
            .push_checked("Content-Type", b"text/plain; charset=utf-8");
        response
    }

    /// A refusal as JSON, `{"success":false,"error":"…"}`, that nobody keeps.
    pub fn error(status: u16, why: &str) -> Self {
        let body = format!("{{\"success\":false,\"error\":{}}}\n", Json::string(why));
        let mut response = Self::new(status).body(body);
        for (name, value) in [
            ("Content-Type", &b"application/json"[..]),
            ("Cache-Control", b"no-store"),
            ("X-Content-Type-Options", b"nosniff"),
        ] {
            response.headers.push_checked(name, value);
        }
        response
    }

    /// Appends a header. `Content-Length` and `Transfer-Encoding` are not sent: the length of the
    /// body decides.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, InvalidHeader> {
        self.headers.push(name, value)?;
        Ok(self)
    }

    /// Replaces the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The header fields.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The body.
    pub fn content(&self) -> &Bytes {
        &self.body
    }

    /// Replaces a header by a number.
    pub(crate) fn set_number(&mut self, name: &str, number: u64) {
        // Digits can always be sent; a name that cannot is ours to avoid.
        let _ = self.headers.set(name, &format!("{number}"));
    }

    /// A head that was read; its status may be any.
    pub(super) fn received(status: u16, headers: Headers) -> Self {
        Self {
            status,
            headers,
            body: Bytes::new(),
        }
    }

    /// The bytes to send; `head_only` answers `HEAD`. The connection closes after a response unless
    /// the caller said otherwise.
    pub(crate) fn encode(&self, head_only: bool) -> Vec<u8> {
        // RFC 9110 §8.6, §15.3.5 and §15.4.5.
        let bodiless = matches!(self.status, 204 | 304);
        let mut out = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status)).into_bytes();
        for (name, value) in self.headers.iter() {
            if !is_any_of(name, &FRAMING) {
                write_field(&mut out, name, value);
            }
        }
        if !self.headers.contains("connection") {
            write_field(&mut out, "Connection", b"close");
        }
        if !bodiless {
            let length = format!("{}", self.body.len());
            write_field(&mut out, "Content-Length", length.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        if !bodiless && !head_only {
            out.extend_from_slice(&self.body);
        }
        out
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

impl From<&HeadError> for Response {
    fn from(error: &HeadError) -> Self {
        Self::error(error.status(), &format!("{error}"))
    }
}

/// The phrases of RFC 9110 §15; empty for a code without one, which RFC 9112 §4 allows.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::head::tests::response as parse;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_encoder_frames_the_body() {
        let response = Response::new(200)
            .header("X-A", "b")
            .unwrap()
            .header("content-length", "999")
            .unwrap()
            .header("Transfer-Encoding", "chunked")
            .unwrap()
            .body("hello");
        let head = "HTTP/1.1 200 OK\r\nX-A: b\r\nConnection: close\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(response.encode(true), head.as_bytes());
        assert_eq!(response.encode(false), format!("{head}hello").into_bytes());
    }

    #[test]
    fn a_status_without_content_has_no_length() {
        for status in [204, 304] {
            let out = Response::new(status).body("x").encode(false);
            let out = String::from_utf8(out).unwrap();
            assert!(out.ends_with("\r\nConnection: close\r\n\r\n"), "{out}");
            assert!(!out.contains("Content-Length"), "{out}");
        }
    }

    #[test]
    fn the_caller_may_keep_the_connection() {
        let response = Response::new(404)
            .header("connection", "keep-alive")
            .unwrap();
        let out = String::from_utf8(response.encode(false)).unwrap();
        assert!(!out.contains("close"), "{out}");
    }

    #[test]
    fn a_status_that_ends_nothing_becomes_an_error() {
        for status in [0, 100, 101, 199, 600, 1_000, u16::MAX] {
            assert_eq!(Response::new(status).status(), 500);
        }
        assert_eq!(Response::new(299).encode(true)[..14], *b"HTTP/1.1 299 \r");
    }

    #[test]
    fn a_head_error_answers_for_itself() {
        let response = Response::from(&HeadError::TargetTooLong(9));
        assert_eq!(response.status(), 414);
        assert_eq!(
            response.content(),
            "{\"success\":false,\"error\":\"request target is longer than 9 bytes\"}\n"
        );
    }

    proptest! {
        #[test]
        fn no_caller_text_adds_a_line_to_the_head(
            fields in proptest::collection::vec((field_name(), any_text()), 0..6),
            body in any_text(),
        ) {
            let mut response = Response::new(200).body(body);
            let mut intent = Vec::new();
            for (name, value) in fields {
                if let Ok(longer) = response.clone().header(&name, &value) {
                    response = longer;
                    if !is_any_of(&name, &FRAMING) {
                        intent.push((name, value.trim_matches([' ', '\t']).as_bytes().to_vec()));
                    }
                }
            }
            if !response.headers().contains("connection") {
                intent.push(("Connection".into(), b"close".to_vec()));
            }
            let length = format!("{}", response.content().len());
            intent.push(("Content-Length".into(), length.into_bytes()));
            let read = parse(&response.encode(false)).unwrap();
            let read: Vec<_> = read.headers().iter()
                .map(|(name, value)| (String::from(name), value.to_vec())).collect();
            prop_assert_eq!(read, intent);
        }
    }

    pub(in super::super) fn any_text() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z \\t\\r\\n\\x00:,;\"]{0,12}", "\\PC{0,12}", ".{0,6}"]
    }

    pub(in super::super) fn field_name() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "[A-Za-z-]{1,8}",
            1 => Just(String::from("Content-Length")),
            1 => Just(String::from("connection")),
            1 => any_text(),
        ]
    }
}
