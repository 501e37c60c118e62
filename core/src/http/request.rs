//! The request a server received.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::Response;
use super::headers::{Headers, trim};
use super::url::{self, Authority};

/// An HTTP request.
///
/// `Debug` shows neither the query nor the body nor the values of headers that carry secrets.
#[derive(Clone)]
pub struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) http_1_1: bool,
    pub(super) headers: Headers,
    pub(super) body: Bytes,
}

impl Request {
    /// A request that another HTTP implementation read, for
    /// [`negotiate`](crate::websocket::negotiate).
    pub fn new(method: impl Into<String>, target: impl Into<String>, headers: Headers) -> Self {
        Self {
            method: method.into(),
            target: target.into(),
            http_1_1: true,
            headers,
            body: Bytes::new(),
        }
    }

    /// Replaces the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The method, as sent: methods are case-sensitive.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The request target, as sent.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The path of the target, still percent-encoded.
    pub fn path(&self) -> &str {
        let resource = self.resource();
        match resource.split_once('?').map_or(resource, |(path, _)| path) {
            "" => "/",
            path => path,
        }
    }

    /// What follows the first `?` of the target, still percent-encoded.
    pub fn query(&self) -> Option<&str> {
        self.resource().split_once('?').map(|(_, query)| query)
    }

    /// A parameter of the query, decoded as what forms encode.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        self.query()?.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then(|| form_decode(value)).flatten()
        })
    }

    /// The header fields.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The first value of a header, if it is there and is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The content that came with the request; empty unless
    /// [`Config::max_body`](crate::Config::max_body) lets it be read.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The `Host` header: host and port as the client knows them.
    pub fn host(&self) -> Option<&str> {
        self.header("host")
    }

    /// The `Origin` header: the page a browser acts for.
    pub fn origin(&self) -> Option<&str> {
        self.header("origin")
    }

    /// The value of the first cookie of this name, as sent.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.headers
            .get_all("cookie")
            .flat_map(|value| value.split(|&byte| byte == b';'))
            .filter_map(|pair| core::str::from_utf8(trim(pair)).ok()?.split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// Whether the client asks to speak WebSocket.
    pub fn is_upgrade(&self) -> bool {
        self.headers.lists("upgrade", "websocket")
    }

    /// How many bytes of content follow the head (RFC 9112 §6.3), at most `max`; or the answer that
    /// refuses them. Content whose length is not known before is not read.
    pub(crate) fn content_length(&self, max: usize) -> Result<usize, Response> {
        let refuse = |status, why: &str| Err(Response::error(status, why));
        let announced = self.headers.contains("content-length");
        if self.headers.contains("transfer-encoding") {
            return match announced {
                // To two readers this may be two different requests.
                true => refuse(400, "content has two lengths"),
                false => refuse(411, "content needs a Content-Length"),
            };
        }
        if !announced {
            return match self.method.as_str() {
                "POST" | "PUT" | "PATCH" => refuse(411, "content needs a Content-Length"),
                _ => Ok(0),
            };
        }
        let length = self.headers.single("content-length").unwrap_or_default();
        if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
            return refuse(400, "Content-Length is not a number");
        }
        let length = core::str::from_utf8(length).ok();
        // What is not even a number of bytes is too many of them.
        match length.and_then(|length| length.parse().ok()) {
            Some(length) if length <= max => Ok(length),
            _ => refuse(413, &format!("content is longer than {max} bytes")),
        }
    }

    /// Whether the client waits for a word before it sends the content (RFC 9110 §10.1.1), or the
    /// answer that refuses what else it expects.
    pub(crate) fn expects_continue(&self) -> Result<bool, Response> {
        match self.headers.get_bytes("expect") {
            Some(expected) if self.http_1_1 => {
                if expected.eq_ignore_ascii_case(b"100-continue") {
                    Ok(true)
                } else {
                    Err(Response::error(417, "only 100-continue can be expected"))
                }
            }
            // HTTP/1.0 knows no interim answers.
            _ => Ok(false),
        }
    }

    /// What the one `Host` header names, if it is valid.
    pub(super) fn authority(&self) -> Option<Authority> {
        let host = core::str::from_utf8(self.headers.single("host")?).ok()?;
        Authority::parse(host).ok()
    }

    /// The target without the scheme and host a proxy's client puts before it.
    fn resource(&self) -> &str {
        match url::split_absolute(&self.target) {
            Some((_, _, resource)) if !self.target.starts_with('/') => resource,
            Some(_) | None => &self.target,
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path())
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// Percent-decodes what a form encodes; `None` unless UTF-8 comes out.
fn form_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                (digit()? << 4 | digit()?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::super::head::tests::request;
    use super::*;
    use alloc::format;

    #[test]
    fn target_is_split_at_the_first_question_mark() {
        for (target, path, query) in [
            ("/", "/", None),
            ("/a/b%20c", "/a/b%20c", None),
            ("/a?b=c?d", "/a", Some("b=c?d")),
            ("/?", "/", Some("")),
            ("/?u=http://x/y", "/", Some("u=http://x/y")),
            ("/a://b/c", "/a://b/c", None),
            ("http://h/a?b", "/a", Some("b")),
            ("http://H?b", "/", Some("b")),
            ("http://h", "/", None),
            ("*", "*", None),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
            let request = request(head.as_bytes()).unwrap();
            assert_eq!((request.path(), request.query()), (path, query), "{target}");
            assert_eq!(request.target(), target);
        }
    }

    #[test]
    fn cookies_are_found_in_every_cookie_header() {
        let request = request(
            b"GET / HTTP/1.1\r\nHost: h\r\nCookie: a=1; b=x=y;c=\xff ;empty=\r\ncookie: bb=2;a=3\r\n\r\n",
        )
        .unwrap();
        assert_eq!(request.cookie("a"), Some("1"));
        assert_eq!(request.cookie("b"), Some("x=y"));
        assert_eq!(request.cookie("bb"), Some("2"));
        assert_eq!(request.cookie("empty"), Some(""));
        assert_eq!(request.cookie("A"), None);
        assert_eq!(request.cookie("c"), None);
    }

    #[test]
    fn debug_shows_neither_query_nor_cookies() {
        let request =
            request(b"GET /chat?token=hunter2 HTTP/1.1\r\nHost: h\r\nCookie: s=hunter2\r\n\r\n")
                .unwrap();
        let text = format!("{request:?}");
        assert!(
            text.contains("/chat") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn can_cross_threads() {
        fn sendable<T: Send + Sync + Clone>() {}
        sendable::<Request>();
    }
}
