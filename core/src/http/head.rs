//! Collects the head of a request or response that may arrive in any pieces.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::headers::{Headers, is_text_byte, is_token_byte};
use super::{Request, Response, url};

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, from its first to the empty line. 8,192 by default.
    pub head_bytes: usize,
    /// Header fields. 64 by default.
    pub headers: usize,
    /// Bytes of the request target (path and query). 2,048 by default.
    pub target: usize,
}

/// Why a head was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadError {
    /// A byte that cannot stand where it was.
    Byte {
        /// The byte.
        found: u8,
        /// What had to be there.
        wanted: &'static str,
    },
    /// A field whose value breaks the field's own grammar.
    Field(&'static str),
    /// `Host` is missing, repeated or not a host.
    Host,
    /// The request target is neither a path nor a URL of the host in `Host`.
    Target,
    /// The head ended early, or its parts do not fit together.
    Malformed,
    /// Another protocol version than HTTP/1.0 and HTTP/1.1.
    Version,
    /// The request target is longer than this many bytes.
    TargetTooLong(usize),
    /// There are more header fields than this.
    TooManyHeaders(usize),
    /// The head is longer than this many bytes.
    TooLarge(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadKind {
    Request,
    Response,
}

/// Looks at every byte once as it arrives and refuses at the first that cannot belong to a head, so
/// that garbage (a TLS ClientHello on a plain port) fails at once and not at the deadline. The one
/// call of the parser at the end then only splits.
pub(crate) struct HeadReader {
    kind: HeadKind,
    limits: HeadLimits,
    head: Vec<u8>,
    place: Place,
    fields: usize,
    #[cfg(test)]
    steps: usize,
}

impl HeadReader {
    pub(crate) fn new(kind: HeadKind, limits: HeadLimits) -> Self {
        Self {
            kind,
            limits: HeadLimits {
                // What `Headers` can tell the places of.
                head_bytes: limits.head_bytes.min(1 << 30),
                ..limits
            },
            head: Vec::new(),
            place: match kind {
                HeadKind::Request => Place::Method(0),
                HeadKind::Response => Place::Version(0),
            },
            fields: 0,
            #[cfg(test)]
            steps: 0,
        }
    }

    /// Takes the next bytes. `Some(n)` says that the head is complete and `data[n..]` follows it.
    pub(crate) fn read(&mut self, data: &[u8]) -> Result<Option<usize>, HeadError> {
        let room = self.limits.head_bytes.saturating_sub(self.head.len());
        for (i, &byte) in data.iter().enumerate() {
            if i == room {
                return Err(HeadError::TooLarge(self.limits.head_bytes));
            }
            #[cfg(test)]
            {
                self.steps += 1;
            }
            self.place = self.after(byte)?;
            if self.place == Place::End {
                self.head.extend_from_slice(&data[..=i]);
                return Ok(Some(i + 1));
            }
        }
        self.head.extend_from_slice(data);
        Ok(None)
    }

    /// The words behind the status of a response, once its head is complete.
    pub(crate) fn reason(&self) -> &[u8] {
        const STATUS: usize = "HTTP/1.1 200".len();
        let rest = self.head.get(STATUS..).unwrap_or_default();
        let end = rest.iter().position(|&byte| byte == b'\r');
        &rest[..end.unwrap_or_default()]
    }

    pub(crate) fn into_request(self) -> Result<Request, HeadError> {
        let mut fields = vec![httparse::EMPTY_HEADER; self.fields];
        let mut parsed = httparse::Request::new(&mut fields);
        if !matches!(parsed.parse(&self.head), Ok(status) if status.is_complete()) {
            return Err(HeadError::Malformed);
        }
        let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
            return Err(HeadError::Malformed);
        };
        let request = Request {
            method: String::from(method),
            target: String::from(target),
            http_1_1: parsed.version == Some(1),
            headers: collect(parsed.headers),
            body: Bytes::new(),
        };
        // RFC 9112 §3.2: HTTP/1.0 may go without, but nothing may have two.
        let named = request.http_1_1 || request.headers.contains("host");
        if named && request.authority().is_none() {
            return Err(HeadError::Host);
        }
        // RFC 9112 §3.2.2: a path, `*`, or a URL. A URL's host takes precedence over `Host`; refusing
        // the two to differ leaves nothing to confuse.
        let host = request.headers.single("host").unwrap_or_default();
        match url::split_absolute(target) {
            _ if target.starts_with('/') || target == "*" => Ok(request),
            Some((_, authority, _)) if authority.as_bytes().eq_ignore_ascii_case(host) => {
                Ok(request)
            }
            Some(_) | None => Err(HeadError::Target),
        }
    }

    pub(crate) fn into_response(self) -> Result<Response, HeadError> {
        let mut fields = vec![httparse::EMPTY_HEADER; self.fields];
        let mut parsed = httparse::Response::new(&mut fields);
        if !matches!(parsed.parse(&self.head), Ok(status) if status.is_complete()) {
            return Err(HeadError::Malformed);
        }
        let status = parsed.code.ok_or(HeadError::Malformed)?;
        // HTTP/1.0 has no interim answers (RFC 9110 §15.2), so it cannot switch protocols.
        if parsed.version == Some(0) && status < 200 {
            return Err(HeadError::Version);
        }
        Ok(Response::received(status, collect(parsed.headers)))
    }

    fn after(&mut self, byte: u8) -> Result<Place, HeadError> {
        let wanted = match self.place {
            Place::Method(n) => match byte {
                b' ' if n > 0 => return Ok(Place::Target(0)),
                _ if is_token_byte(byte) => return Ok(Place::Method(n + 1)),
                _ => "a method",
            },
            Place::Target(n) => match byte {
                b' ' if n > 0 => return Ok(Place::Version(0)),
                // A fragment never travels (RFC 9110 §4.1, RFC 6455 §3).
                b'!'..=b'~' if byte != b'#' => {
                    if n == self.limits.target {
                        return Err(HeadError::TargetTooLong(n));
                    }
                    return Ok(Place::Target(n + 1));
                }
                _ => "a request target",
            },
            Place::Version(n) => match (VERSION.get(n), byte) {
                (Some(&wanted), _) if byte == wanted => return Ok(Place::Version(n + 1)),
                (None, b'0' | b'1') => {
                    return Ok(match self.kind {
                        HeadKind::Request => Place::StartLineEnd,
                        HeadKind::Response => Place::Status(0),
                    });
                }
                (_, b'0'..=b'9') if n >= VERSION_DIGITS => return Err(HeadError::Version),
                _ => "HTTP/1.1",
            },
            Place::Status(n) => match (n, byte) {
                (0, b' ') | (1, b'1'..=b'9') | (2 | 3, b'0'..=b'9') => {
                    return Ok(Place::Status(n + 1));
                }
                (4, b' ') => return Ok(Place::Text),
                (4, b'\r') => return Ok(Place::LineFeed),
                _ => "a status code",
            },
            Place::StartLineEnd => match byte {
                b'\r' => return Ok(Place::LineFeed),
                _ => "the end of the line",
            },
            Place::LineStart => match byte {
                b'\r' => return Ok(Place::LastLineFeed),
                _ if is_token_byte(byte) => {
                    if self.fields == self.limits.headers {
                        return Err(HeadError::TooManyHeaders(self.fields));
                    }
                    self.fields += 1;
                    return Ok(Place::Name);
                }
                // Among the rest are the space and the tab of a folded line (RFC 9112 §5.2).
                _ => "a header name",
            },
            Place::Name => match byte {
                b':' => return Ok(Place::Text),
                _ if is_token_byte(byte) => return Ok(Place::Name),
                // Among the rest is the space before a colon (RFC 9112 §5.1).
                _ => "a header name",
            },
            Place::Text => match byte {
                b'\r' => return Ok(Place::LineFeed),
                _ if is_text_byte(byte) => return Ok(Place::Text),
                _ => "text",
            },
            Place::LineFeed => match byte {
                b'\n' => return Ok(Place::LineStart),
                _ => "a line feed",
            },
            Place::LastLineFeed => match byte {
                b'\n' => return Ok(Place::End),
                _ => "a line feed",
            },
            Place::End => "nothing",
        };
        Err(HeadError::Byte {
            found: byte,
            wanted,
        })
    }
}

impl fmt::Debug for HeadReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bytes may hold cookies and tokens.
        f.debug_struct("HeadReader")
            .field("kind", &self.kind)
            .field("place", &self.place)
            .field("bytes", &self.head.len())
            .finish_non_exhaustive()
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            head_bytes: 8_192,
            headers: 64,
            target: 2_048,
        }
    }
}

impl HeadError {
    /// The status to answer with.
    pub fn status(&self) -> u16 {
        match self {
            Self::Byte { .. } | Self::Field(_) | Self::Host | Self::Target | Self::Malformed => 400,
            Self::TargetTooLong(_) => 414,
            Self::TooManyHeaders(_) | Self::TooLarge(_) => 431,
            Self::Version => 505,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte { found, wanted } => {
                write!(f, "byte 0x{found:02x} in the head where {wanted} belongs")
            }
            Self::Field(name) => write!(f, "malformed {name} header"),
            Self::Host => f.write_str("exactly one valid Host is needed"),
            Self::Target => f.write_str("request target is not a path of this host"),
            Self::Malformed => f.write_str("malformed head"),
            Self::Version => f.write_str("only HTTP/1.1 is spoken here"),
            Self::TargetTooLong(limit) => {
                write!(f, "request target is longer than {limit} bytes")
            }
            Self::TooManyHeaders(limit) => write!(f, "more than {limit} header fields"),
            Self::TooLarge(limit) => write!(f, "head is longer than {limit} bytes"),
        }
    }
}

impl core::error::Error for HeadError {}

/// Where in the head the next byte stands; the number counts the bytes of that part so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Method(usize),
    Target(usize),
    Version(usize),
    /// The space and the three digits.
    Status(usize),
    StartLineEnd,
    LineStart,
    Name,
    /// A field value, or the reason of a status line.
    Text,
    LineFeed,
    LastLineFeed,
    End,
}

const VERSION: &[u8] = b"HTTP/1.";
/// From here on a wrong digit is another version and not garbage.
const VERSION_DIGITS: usize = 5;

/// Copies the fields to their exact size: a request may be kept as long as its connection.
fn collect(fields: &[httparse::Header<'_>]) -> Headers {
    let text = fields
        .iter()
        .map(|field| field.name.len() + field.value.len());
    let mut headers = Headers::with_capacity(text.sum(), fields.len());
    for field in fields {
        headers.push_checked(field.name, field.value);
    }
    headers
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;
    use proptest::prelude::*;

    pub(in super::super) fn request(head: &[u8]) -> Result<Request, HeadError> {
        let mut reader = HeadReader::new(HeadKind::Request, HeadLimits::default());
        match reader.read(head)? {
            Some(_) => reader.into_request(),
            None => Err(HeadError::Malformed),
        }
    }

    pub(in super::super) fn response(head: &[u8]) -> Result<Response, HeadError> {
        let mut reader = HeadReader::new(HeadKind::Response, HeadLimits::default());
        match reader.read(head)? {
            Some(_) => reader.into_response(),
            None => Err(HeadError::Malformed),
        }
    }

    /// Everything a reader says about pieces: the outcome, and how many bytes of all it took.
    fn outcome(kind: HeadKind, pieces: &[&[u8]]) -> Result<Option<(String, usize)>, HeadError> {
        let mut reader = HeadReader::new(kind, HeadLimits::default());
        let mut before = 0;
        for piece in pieces {
            if let Some(taken) = reader.read(piece)? {
                let shown = match kind {
                    HeadKind::Request => {
                        let request = reader.into_request()?;
                        format!("{} {request:?}", request.target())
                    }
                    HeadKind::Response => format!("{:?}", reader.into_response()?),
                };
                return Ok(Some((shown, before + taken)));
            }
            before += piece.len();
        }
        Ok(None)
    }

    const REQUESTS: [&[u8]; 17] = [
        b"GET /chat?x=y HTTP/1.1\r\nHost: a\r\nUpgrade:websocket\r\nX:\t b \t\r\n\r\n\x81\x05tail",
        b"GET / HTTP/1.1\r\nhost: [::1]\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"OPTIONS * HTTP/1.0\r\na: \xff\r\n\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
        b"GET / HTTP/1.1\r\n: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET relative HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ];

    const RESPONSES: [&[u8]; 8] = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x00",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.0 200 \r\n\r\n",
        b"HTTP/1.0 101 Old\r\n\r\n",
        b"HTTP/1.1 1010 X\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 a\0\r\n\r\n",
    ];

    fn heads() -> impl Iterator<Item = (HeadKind, &'static [u8])> {
        let requests = REQUESTS.iter().map(|&head| (HeadKind::Request, head));
        let responses = RESPONSES.iter().map(|&head| (HeadKind::Response, head));
        requests.chain(responses)
    }

    #[test]
    fn every_cut_gives_the_same_outcome() {
        for (kind, head) in heads() {
            let whole = outcome(kind, &[head]);
            for cut in 0..=head.len() {
                let (left, right) = head.split_at(cut);
                assert_eq!(
                    outcome(kind, &[left, right]),
                    whole,
                    "{cut} {}",
                    head.escape_ascii()
                );
            }
            let bytes: Vec<_> = head.chunks(1).collect();
            assert_eq!(outcome(kind, &bytes), whole, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn bytes_after_the_head_are_left_to_the_caller() {
        let (_, taken) = outcome(HeadKind::Request, &[REQUESTS[0]]).unwrap().unwrap();
        assert_eq!(&REQUESTS[0][taken..], b"\x81\x05tail");
        let (_, taken) = outcome(HeadKind::Response, &[RESPONSES[0]])
            .unwrap()
            .unwrap();
        assert_eq!(&RESPONSES[0][taken..], b"\x81\x00");
    }

    #[test]
    fn a_parsed_request_has_its_parts() {
        let request = request(REQUESTS[0]).unwrap();
        assert_eq!(request.method(), "GET");
        assert_eq!(request.target(), "/chat?x=y");
        assert_eq!(request.host(), Some("a"));
        assert_eq!(request.header("x"), Some("b"));
        assert!(request.is_upgrade() && request.http_1_1);
        assert_eq!(response(RESPONSES[1]).unwrap().status(), 200);
    }

    #[test]
    fn malformed_heads_are_refused_with_their_status() {
        for (head, status) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\tfolded\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHo st: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\x7f\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nH\u{f6}st: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n:\r\n\r\n", 400),
            ("GET / HTTP/1.1 \r\n\r\n", 400),
            ("GET / http/1.1\r\n\r\n", 400),
            ("GET /\tHTTP/1.1\r\n\r\n", 400),
            ("GET /a b HTTP/1.1\r\n\r\n", 400),
            ("GET /# HTTP/1.1\r\n\r\n", 400),
            ("GET /\u{f6} HTTP/1.1\r\n\r\n", 400),
            ("GET\r\n\r\n", 400),
            ("GET / \r\n\r\n", 400),
            ("\r\nGET / HTTP/1.1\r\n\r\n", 400),
            (" GET / HTTP/1.1\r\n\r\n", 400),
            ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 400),
            ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 400),
            ("GET / HTTP/1.2\r\n\r\n", 505),
            ("GET / HTTP/1.11\r\n\r\n", 400),
            ("GET / HTTP/11\r\n\r\n", 505),
            ("GET / HTTP/0.9\r\n\r\n", 505),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ] {
            let error = request(head.as_bytes()).unwrap_err();
            assert_eq!(error.status(), status, "{head:?} {error}");
            assert_ne!(error, HeadError::Host, "{head:?}");
        }
        assert!(request(b"GET HTTP://A/x HTTP/1.1\r\nHost: a\r\n\r\n").is_ok());
    }

    #[test]
    fn status_lines() {
        let status = |line: &str| {
            let head = format!("{line}\r\nA: b\r\n\r\n");
            response(head.as_bytes()).map(|response| response.status())
        };
        assert_eq!(status("HTTP/1.1 101 Switching Protocols"), Ok(101));
        assert_eq!(status("HTTP/1.1 999 \u{f6} \t!"), Ok(999));
        assert_eq!(status("HTTP/1.1 407"), Ok(407));
        assert_eq!(status("HTTP/1.0 200 OK"), Ok(200));
        assert_eq!(status("HTTP/1.0 101 Switching"), Err(HeadError::Version));
        assert_eq!(status("HTTP/2.0 200 OK"), Err(HeadError::Version));
        for line in [
            "HTTP/1.1",
            "HTTP/1.1 ",
            "HTTP/1.1 20",
            "HTTP/1.1 2000",
            "HTTP/1.1 012",
            "HTTP/1.1  200",
            "HTTP/1.1 2x0",
            "HTTP/1.1\t200",
            "HTTP/1.1 200\tOK",
            "HTTP/1.1 200 a\0",
            "ICY 200 OK",
        ] {
            assert_eq!(
                status(line).map_err(|error| error.status()),
                Err(400),
                "{line:?}"
            );
        }
    }

    #[test]
    fn exactly_one_valid_host_is_needed() {
        for host in ["h", "H:80", "[::1]:9", "a-b.c.", "a_b", " 10.0.0.1\t"] {
            let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert!(request(head.as_bytes()).is_ok(), "{host:?}");
            let twice = head.replace("\r\n\r\n", "\r\nhOST: h\r\n\r\n");
            assert_eq!(request(twice.as_bytes()).unwrap_err(), HeadError::Host);
        }
        for host in [
            "", "a b", "a,b", "a/b", "u@h", "h:", "h:x", "h:99999", "[::1", "::1", "http://h",
            "\u{f6}",
        ] {
            for version in ["1.0", "1.1"] {
                let head = format!("GET / HTTP/{version}\r\nHost: {host}\r\n\r\n");
                assert_eq!(
                    request(head.as_bytes()).unwrap_err(),
                    HeadError::Host,
                    "{host:?}"
                );
            }
        }
        assert_eq!(
            request(b"GET / HTTP/1.1\r\n\r\n").unwrap_err(),
            HeadError::Host
        );
        assert!(request(b"GET / HTTP/1.0\r\n\r\n").is_ok());
    }

    #[test]
    fn garbage_fails_at_its_first_byte() {
        for garbage in [
            &b"\x16\x03\x01"[..],
            b"\0",
            b"\r",
            b"\n",
            b" ",
            b"{",
            b"\x80",
            b"\xff",
        ] {
            let mut reader = HeadReader::new(HeadKind::Request, HeadLimits::default());
            let error = reader.read(&garbage[..1]).unwrap_err();
            assert_eq!(error.status(), 400);
        }
        let mut reader = HeadReader::new(HeadKind::Response, HeadLimits::default());
        assert_eq!(
            reader.read(b"\x15").unwrap_err().to_string(),
            "byte 0x15 in the head where HTTP/1.1 belongs"
        );
    }

    #[test]
    fn limits_are_exact() {
        let limits = HeadLimits {
            head_bytes: 64,
            headers: 2,
            target: 4,
        };
        let read = |head: &str| {
            HeadReader::new(HeadKind::Request, limits)
                .read(head.as_bytes())
                .map_err(|error| error.status())
        };
        let padded = |n: usize| format!("GET /abc HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(n - 26));
        assert_eq!(read(&padded(64)), Ok(Some(64)));
        assert_eq!(read(&padded(65)), Err(431));
        assert_eq!(read("GET /abcd HTTP/1.1\r\n"), Err(414));
        assert_eq!(read("GET / HTTP/1.1\r\nA:\r\nB:\r\n\r\n"), Ok(Some(26)));
        assert_eq!(read("GET / HTTP/1.1\r\nA:\r\nB:\r\nC"), Err(431));
        // What follows the head does not count.
        assert_eq!(read(&(padded(64) + &"y".repeat(100))), Ok(Some(64)));
    }

    #[test]
    fn a_trickled_head_costs_one_step_a_byte() {
        let line = "X-Long: ".to_string() + &"x".repeat(500) + "\r\n";
        let head = "GET / HTTP/1.1\r\n".to_string() + &line.repeat(16);
        for len in [10, 100, 1_000, 4_000, 8_000] {
            let mut reader = HeadReader::new(HeadKind::Request, HeadLimits::default());
            for byte in head[..len].bytes() {
                assert_eq!(reader.read(&[byte]), Ok(None));
            }
            assert_eq!(reader.steps, len);
        }
    }

    #[test]
    fn no_number_of_headers_hides_the_upgrade() {
        for count in 0..200 {
            for place in 0..=count {
                let filler = |n| "X-A: b\r\n".repeat(n);
                let head = format!(
                    "GET / HTTP/1.1\r\nHost: h\r\n{}Upgrade: websocket\r\n{}\r\n",
                    filler(place),
                    filler(count - place)
                );
                match request(head.as_bytes()) {
                    Ok(request) => {
                        assert!(count <= 62 && request.is_upgrade());
                        assert_eq!(request.headers().len(), count + 2);
                    }
                    Err(error) => {
                        assert!(count > 62);
                        assert_eq!(error, HeadError::TooManyHeaders(64));
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn changed_heads_never_panic_and_cuts_never_matter(
            which in 0usize..25,
            changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
            cuts in proptest::collection::vec(any::<usize>(), 0..5),
        ) {
            let (kind, head) = heads().nth(which).unwrap();
            let mut head = head.to_vec();
            for (at, byte) in changes {
                let at = at % head.len();
                head[at] = byte;
            }
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % head.len()).collect();
            cuts.push(0);
            cuts.push(head.len());
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &head[cut[0]..cut[1]]).collect();
            prop_assert_eq!(outcome(kind, &pieces), outcome(kind, &[&head]));
        }
    }
}
