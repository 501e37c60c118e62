//! The client's half: the request, and the check of the answer.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::extension::parse_extensions;
use super::super::headers::{Headers, InvalidHeader, is_any_of, is_token, write_field};
use super::super::url::Authority;
use super::super::{Extension, Response, Url, UrlError};
use super::{VERSION, accept, is_owned, write_extensions};

/// What a client asks for: a URL, subprotocols and headers of its own.
///
/// ```
/// use smartsocket_core::http::UpgradeRequest;
///
/// let request = UpgradeRequest::new("wss://example.com/chat")?
///     .subprotocol("chat.v2")?
///     .header("Authorization", "Bearer 1234")?;
/// assert_eq!(request.url().host(), "example.com");
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct UpgradeRequest {
    url: Url,
    subprotocols: Vec<String>,
    headers: Headers,
    post: bool,
}

/// Why a client did not accept the answer to its upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The server answered with this status and not with 101. Redirects are not followed: they
    /// would carry secrets to another place.
    Status(u16),
    /// The `Upgrade` header does not name websocket.
    Upgrade,
    /// The `Connection` header does not name upgrade.
    Connection,
    /// `Sec-WebSocket-Accept` is missing, repeated, or not the answer to the key that was sent.
    Accept,
    /// The server chose a subprotocol that was not offered, or more than one.
    Subprotocol,
    /// `Sec-WebSocket-Extensions` is malformed.
    Extensions,
    /// The answer announces content, which a 101 cannot have.
    Content,
}

impl UpgradeRequest {
    /// A request for this URL, without subprotocols and further headers.
    pub fn new(url: &str) -> Result<Self, UrlError> {
        Url::parse(url).map(Self::from)
    }

    /// Adds a header. Those the handshake itself writes are refused; `Host` and `Origin` are
    /// replaced, and without an `Authorization` of the caller the URL's credentials give one.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, InvalidHeader> {
        if is_owned(name) {
            return Err(InvalidHeader::new(name, "the handshake writes it"));
        }
        if is_any_of(name, &["host"]) && Authority::parse(value.trim()).is_err() {
            return Err(InvalidHeader::new(name, "the value is not a host"));
        }
        if is_any_of(name, &["host", "origin"]) {
            self.headers.set(name, value)?;
        } else {
            self.headers.push(name, value)?;
        }
        Ok(self)
    }

    /// Offers a subprotocol; those offered first are preferred.
    pub fn subprotocol(mut self, name: &str) -> Result<Self, InvalidHeader> {
        let refused = |why| Err(InvalidHeader::new("sec-websocket-protocol", why));
        if !is_token(name.as_bytes()) {
            return refused("the subprotocol is not a token");
        }
        if self.subprotocols.iter().any(|other| other == name) {
            return refused("the subprotocol is offered already");
        }
        self.subprotocols.push(name.to_string());
        Ok(self)
    }

    /// Says for which page the client acts, as browsers do.
    pub fn origin(self, origin: &str) -> Result<Self, InvalidHeader> {
        self.header("Origin", origin)
    }

    /// Makes it a `POST` without content instead of an upgrade. Whatever the answer, it counts as
    /// a refusal, which has the answer's body.
    #[must_use]
    pub(crate) fn post(mut self) -> Self {
        self.post = true;
        self
    }

    /// Where to connect.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The bytes to send (RFC 6455 §4.1).
    pub(crate) fn encode(&self, key: &[u8; 24], extensions: Option<&str>) -> Vec<u8> {
        let method = if self.post { "POST" } else { "GET" };
        let target = self.url.path_and_query();
        let mut out = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        let authority = self.url.authority();
        let host = self.headers.get_bytes("host");
        write_field(&mut out, "Host", host.unwrap_or(authority.as_bytes()));
        if self.post {
            write_field(&mut out, "Connection", b"close");
            write_field(&mut out, "Content-Length", b"0");
        } else {
            write_field(&mut out, "Upgrade", b"websocket");
            write_field(&mut out, "Connection", b"Upgrade");
            write_field(&mut out, "Sec-WebSocket-Key", key);
            write_field(&mut out, "Sec-WebSocket-Version", VERSION);
            if !self.subprotocols.is_empty() {
                let offered = self.subprotocols.join(", ");
                write_field(&mut out, "Sec-WebSocket-Protocol", offered.as_bytes());
            }
            write_extensions(&mut out, extensions);
        }
        if let Some((user, password)) = self.url.credentials()
            && !self.headers.contains("authorization")
        {
            let basic = STANDARD.encode(format!("{user}:{password}"));
            write_field(
                &mut out,
                "Authorization",
                format!("Basic {basic}").as_bytes(),
            );
        }
        for (name, value) in self.headers.iter() {
            if !is_any_of(name, &["host"]) {
                write_field(&mut out, name, value);
            }
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

impl From<Url> for UpgradeRequest {
    fn from(url: Url) -> Self {
        Self {
            url,
            subprotocols: Vec::new(),
            headers: Headers::new(),
            post: false,
        }
    }
}

impl fmt::Debug for UpgradeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Some services take a token as a subprotocol, so those are not shown.
        f.debug_struct("UpgradeRequest")
            .field("url", &self.url)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status(status) => return write!(f, "server answered {status} instead of 101"),
            Self::Upgrade => "answer does not upgrade to websocket",
            Self::Connection => "answer has no `Connection: Upgrade`",
            Self::Accept => "answer does not have the one right Sec-WebSocket-Accept",
            Self::Subprotocol => "server chose a subprotocol that was not offered",
            Self::Extensions => "answer has a malformed Sec-WebSocket-Extensions",
            Self::Content => "answer 101 announces content",
        })
    }
}

impl core::error::Error for HandshakeError {}

/// What the server chose. Whether the extensions were offered is for their negotiation to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) subprotocol: Option<String>,
    pub(crate) extensions: Vec<Extension>,
}

/// Judges a server's answer by RFC 6455 §4.1.
pub(crate) fn check_response(
    head: &Response,
    key: &[u8; 24],
    request: &UpgradeRequest,
) -> Result<Agreed, HandshakeError> {
    let headers = head.headers();
    if head.status() != 101 {
        return Err(HandshakeError::Status(head.status()));
    }
    if !headers.lists("upgrade", "websocket") {
        return Err(HandshakeError::Upgrade);
    }
    if !headers.lists("connection", "upgrade") {
        return Err(HandshakeError::Connection);
    }
    if headers.single("sec-websocket-accept") != Some(&accept(key)) {
        return Err(HandshakeError::Accept);
    }
    if headers.announce_content() {
        return Err(HandshakeError::Content);
    }
    let mut subprotocol = None;
    if headers.contains("sec-websocket-protocol") {
        let chosen = headers.single("sec-websocket-protocol");
        let mut offered = request.subprotocols.iter();
        let known = offered.find(|name| Some(name.as_bytes()) == chosen);
        subprotocol = Some(known.ok_or(HandshakeError::Subprotocol)?.clone());
    }
    let extensions = parse_extensions(headers.get_all("sec-websocket-extensions"))
        .map_err(|_| HandshakeError::Extensions)?;
    Ok(Agreed {
        subprotocol,
        extensions,
    })
}

/// The value of `Sec-WebSocket-Key` for 16 random bytes.
pub(crate) fn encode_key(random: [u8; 16]) -> [u8; 24] {
    let mut key = [0; 24];
    STANDARD
        .encode_slice(random, &mut key)
        .expect("16 bytes are 24 characters of base64");
    key
}

#[cfg(test)]
mod tests {
    use super::super::super::head::tests::{request as parse_request, response as parse_response};
    use super::super::super::response::tests::{any_text, field_name};
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    const KEY: &[u8; 24] = b"dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &[u8; 28] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn answer(edit: impl Fn(&mut Vec<(&'static str, String)>)) -> Result<Agreed, HandshakeError> {
        let accept = String::from_utf8(ACCEPT.to_vec()).unwrap();
        let mut fields = vec![
            ("Upgrade", "websocket".to_string()),
            ("Connection", "Upgrade".to_string()),
            ("Sec-WebSocket-Accept", accept),
        ];
        edit(&mut fields);
        let mut head = "HTTP/1.1 101 Switching Protocols\r\n".to_string();
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        judge((head + "\r\n").as_bytes())
    }

    fn judge(head: &[u8]) -> Result<Agreed, HandshakeError> {
        let request = UpgradeRequest::new("ws://h/").unwrap();
        let request = request
            .subprotocol("chat")
            .unwrap()
            .subprotocol("b")
            .unwrap();
        check_response(&parse_response(head).unwrap(), KEY, &request)
    }

    #[test]
    fn a_client_takes_the_one_right_answer() {
        let agreed = answer(|_| {}).unwrap();
        assert_eq!((agreed.subprotocol, agreed.extensions), (None, vec![]));
        let agreed = answer(|fields| {
            fields[0].1 = "WebSocket".into();
            fields[1].1 = "keep-alive, upgrade".into();
            fields.push(("Sec-WebSocket-Protocol", "b".into()));
            fields.push(("Sec-WebSocket-Extensions", "x; y=1".into()));
            fields.push(("Content-Length", "0".into()));
        })
        .unwrap();
        assert_eq!(agreed.subprotocol.as_deref(), Some("b"));
        assert_eq!(agreed.extensions.len(), 1);
    }

    #[test]
    fn a_client_refuses_every_other_answer() {
        for (index, error) in [
            HandshakeError::Upgrade,
            HandshakeError::Connection,
            HandshakeError::Accept,
        ]
        .into_iter()
        .enumerate()
        {
            let missing = answer(|fields| drop(fields.remove(index)));
            assert_eq!(missing, Err(error.clone()));
            assert_eq!(answer(|fields| fields[index].1 = "x".into()), Err(error));
        }
        assert_eq!(
            answer(|fields| fields.push(fields[2].clone())),
            Err(HandshakeError::Accept)
        );
        assert_eq!(
            answer(|fields| fields[2].1.make_ascii_lowercase()),
            Err(HandshakeError::Accept)
        );
        for (name, value, error) in [
            ("Sec-WebSocket-Protocol", "c", HandshakeError::Subprotocol),
            (
                "Sec-WebSocket-Protocol",
                "Chat",
                HandshakeError::Subprotocol,
            ),
            (
                "Sec-WebSocket-Protocol",
                "chat, b",
                HandshakeError::Subprotocol,
            ),
            ("Sec-WebSocket-Protocol", "", HandshakeError::Subprotocol),
            ("Sec-WebSocket-Extensions", "x;", HandshakeError::Extensions),
            ("Transfer-Encoding", "chunked", HandshakeError::Content),
            ("Content-Length", "5", HandshakeError::Content),
        ] {
            let refused = answer(|fields| fields.push((name, value.into())));
            assert_eq!(refused, Err(error), "{name}: {value}");
        }
        let twice = answer(|fields| {
            fields.push(("Sec-WebSocket-Protocol", "b".into()));
            fields.push(("Sec-WebSocket-Protocol", "b".into()));
        });
        assert_eq!(twice, Err(HandshakeError::Subprotocol));
    }

    #[test]
    fn a_redirect_is_not_followed() {
        for status in [200, 301, 302, 307, 401, 403, 426, 503] {
            let head = format!("HTTP/1.1 {status} X\r\nLocation: ws://evil.com/\r\n\r\n");
            assert_eq!(judge(head.as_bytes()), Err(HandshakeError::Status(status)));
        }
    }

    #[test]
    fn a_client_cannot_write_what_the_handshake_writes() {
        let request = || UpgradeRequest::new("ws://h").unwrap();
        for name in [
            "upgrade",
            "Connection",
            "sec-websocket-key",
            "SEC-WEBSOCKET-ANYTHING",
            "Sec-WebSocket-",
            "content-length",
            "Transfer-Encoding",
        ] {
            assert!(request().header(name, "x").is_err(), "{name}");
        }
        assert!(request().header("host", "a b").is_err());
        assert!(request().subprotocol("a b").is_err());
        assert!(
            request()
                .subprotocol("a")
                .unwrap()
                .subprotocol("a")
                .is_err()
        );
        let named = request().header("Host", "other:1").unwrap();
        let read = parse_request(&named.encode(KEY, None)).unwrap();
        assert!(read.headers().get_all("host").eq([b"other:1"]));
        let own = UpgradeRequest::new("ws://u:p@h").unwrap();
        let own = own.header("authorization", "Bearer x").unwrap();
        let read = parse_request(&own.encode(KEY, None)).unwrap();
        assert!(read.headers().get_all("authorization").eq([b"Bearer x"]));
    }

    #[test]
    fn debug_shows_no_secret() {
        let request = UpgradeRequest::new("ws://u:hunter2@h/p?t=hunter2").unwrap();
        let request = request.header("Cookie", "hunter2").unwrap();
        let request = request.subprotocol("hunter2").unwrap();
        let text = format!("{request:?}");
        assert!(
            text.contains("ws://h/p") && !text.contains("hunter2"),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn no_caller_text_adds_a_line_to_a_request(
            fields in proptest::collection::vec((field_name(), any_text()), 0..6),
            protocols in proptest::collection::vec(any_text(), 0..4),
            origin in any_text(),
            extensions in any_text(),
            resource in any_text(),
        ) {
            let mut request = UpgradeRequest::new(&format!("ws://h/{resource}"))
                .unwrap_or_else(|_| UpgradeRequest::new("ws://h/").unwrap());
            let mut intent = Vec::new();
            for (name, value) in fields.iter().map(|(name, value)| (name.as_str(), value)) {
                if let Ok(longer) = request.clone().header(name, value) {
                    request = longer;
                    intent.push((name.to_string(), value.trim_matches([' ', '\t']).to_string()));
                }
            }
            if let Ok(named) = request.clone().origin(&origin) {
                request = named;
                intent.retain(|(name, _)| !name.eq_ignore_ascii_case("origin"));
                intent.push(("Origin".into(), origin.trim_matches([' ', '\t']).into()));
            }
            let mut offered = Vec::new();
            for name in protocols {
                if let Ok(longer) = request.clone().subprotocol(&name) {
                    request = longer;
                    offered.push(name);
                }
            }
            let read = parse_request(&request.encode(KEY, Some(&extensions))).unwrap();
            prop_assert_eq!(read.target(), request.url().path_and_query());
            let own: Vec<_> = read.headers().iter()
                .filter(|(name, _)| !is_owned(name) && *name != "Host")
                .map(|(name, value)| (
                    name.to_string(), String::from_utf8(value.to_vec()).unwrap()))
                .collect();
            prop_assert_eq!(own, intent);
            prop_assert_eq!(read.host(), Some("h"));
            let listed = (!offered.is_empty()).then(|| offered.join(", "));
            prop_assert_eq!(read.header("sec-websocket-protocol"), listed.as_deref());
        }
    }
}
