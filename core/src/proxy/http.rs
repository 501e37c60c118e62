//! HTTP proxies: `CONNECT` (RFC 9110 §9.3.6) with Basic credentials (RFC 7617).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::http::{HeadKind, HeadLimits, HeadReader, Response};

use super::{Credentials, Place, TunnelError};

/// Bytes of a refusal's words that are told.
const WORDS: usize = 120;

/// Waits for the answer to `CONNECT`.
#[derive(Debug)]
pub(crate) struct Connect {
    reader: HeadReader,
    limits: HeadLimits,
    credentials: Option<Credentials>,
}

impl Connect {
    /// Nothing in the request can start a line of its own: the host is one of
    /// a URL, and the credentials are base64.
    pub(super) fn new(
        credentials: Option<&Credentials>,
        host: &str,
        port: u16,
        limits: HeadLimits,
    ) -> (Self, Vec<u8>) {
        let place = Place(host, port);
        let mut head = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n").into_bytes();
        if let Some(credentials) = credentials {
            head.extend_from_slice(b"Proxy-Authorization: Basic ");
            head.extend_from_slice(credentials.basic().as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        let connect = Self {
            reader: HeadReader::new(HeadKind::Response, limits),
            limits,
            credentials: credentials.cloned(),
        };
        (connect, head)
    }

    pub(super) fn read(&mut self, data: &[u8]) -> Result<Option<usize>, TunnelError> {
        let mut used = 0;
        loop {
            let read = self.reader.read(&data[used..]).map_err(TunnelError::Head)?;
            let Some(more) = read else {
                return Ok(None);
            };
            used += more;
            let next = HeadReader::new(HeadKind::Response, self.limits);
            let reader = core::mem::replace(&mut self.reader, next);
            let words = self.words(reader.reason());
            let response = reader.into_response().map_err(TunnelError::Head)?;
            match response.status() {
                // Interim answers come before the one that counts.
                100..=199 => {}
                // Whatever content the head announces: there is none
                // (RFC 9110 §9.3.6).
                200..=299 => return Ok(Some(used)),
                407 => return Err(self.unauthorized(&response)),
                status => return Err(TunnelError::Status(status, words)),
            }
        }
    }

    /// Its words as they can be shown: short, without control characters, and
    /// none if the password is among them.
    fn words(&self, reason: &[u8]) -> Box<str> {
        let reason = reason.trim_ascii();
        if self
            .credentials
            .as_ref()
            .is_some_and(|it| it.are_in(reason))
        {
            return Box::default();
        }
        let cut = &reason[..reason.len().min(WORDS)];
        cut.escape_ascii().to_string().into()
    }

    fn unauthorized(&self, response: &Response) -> TunnelError {
        let ways = ways(response);
        let basic = |way: &String| way.eq_ignore_ascii_case("basic");
        if !ways.is_empty() && !ways.iter().any(basic) {
            TunnelError::Unsupported(ways.join(" or ").into())
        } else if self.credentials.is_some() {
            TunnelError::WrongCredentials
        } else {
            TunnelError::NoCredentials
        }
    }
}

impl Credentials {
    fn basic(&self) -> Zeroizing<String> {
        let pair = Zeroizing::new(format!("{}:{}", self.user, self.password.as_str()));
        Zeroizing::new(STANDARD.encode(pair.as_bytes()))
    }

    fn are_in(&self, text: &[u8]) -> bool {
        let holds = |secret: &str| {
            let secret = secret.as_bytes();
            !secret.is_empty() && text.windows(secret.len()).any(|part| part == secret)
        };
        holds(&self.password) || holds(&self.basic())
    }
}

/// The names of the ways to authenticate; parameters of one follow it, with
/// commas between them too.
fn ways(response: &Response) -> Vec<String> {
    let lines = response.headers().get_all("proxy-authenticate");
    let elements = lines.flat_map(|line| line.split(|&byte| byte == b','));
    let names = elements.filter_map(|element| {
        let name = element.trim_ascii().split(|&byte| byte == b' ').next()?;
        let named = !name.is_empty() && name.iter().all(u8::is_ascii_alphabetic);
        named.then(|| String::from_utf8_lossy(name).into_owned())
    });
    let mut ways: Vec<String> = Vec::new();
    for name in names.filter(|name| name.len() <= 20) {
        if ways.len() < 4 && !ways.contains(&name) {
            ways.push(name);
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::super::tunnel::tests::{Outcome, talk};
    use super::*;

    const ASK: &str = "CONNECT chat.example:443 HTTP/1.1\r\nHost: chat.example:443\r\n";

    fn outcome(proxy: &str, answer: &[u8]) -> Outcome {
        talk(proxy, "wss://chat.example/secret?token=x", &[answer])
    }

    #[test]
    fn the_way_is_asked_for_and_what_follows_the_answer_is_the_servers() {
        for answer in [
            "HTTP/1.1 200 Connection established\r\n\r\n",
            "HTTP/1.0 200 OK\r\nProxy-agent: x\r\n\r\n",
            "HTTP/1.1 200\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 204 \r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            let outcome = outcome("http://proxy", format!("{answer}\x16rest").as_bytes());
            assert_eq!(outcome.said, format!("{ASK}\r\n").as_bytes());
            assert_eq!(outcome.result, Ok(b"\x16rest".to_vec()), "{answer}");
        }
        let six = talk("http://proxy", "ws://[::1]:8080", &[]);
        assert!(six.said.starts_with(b"CONNECT [::1]:8080 HTTP/1.1\r\n"));
        assert_eq!(six.result, Ok(Vec::new()), "nothing yet");
    }

    #[test]
    fn credentials_go_as_basic_authorization() {
        let outcome = outcome("http://Aladdin:open%20sesame@proxy", b"");
        let line = "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n";
        assert_eq!(outcome.said, format!("{ASK}{line}").as_bytes());
    }

    #[test]
    fn refusals_are_told_in_words() {
        for (proxy, answer, error) in [
            (
                "p",
                "403 no",
                "the proxy answered with HTTP status 403 (no)",
            ),
            ("p", "502", "the proxy answered with HTTP status 502"),
            (
                "p",
                "302 \u{17c}\r\nLocation: x",
                "the proxy answered with HTTP status 302 (\\xc5\\xbc)",
            ),
            ("p", "407 x", "the proxy asks for a user and a password"),
            (
                "u:p@p",
                "407 x\r\nProxy-Authenticate: Basic realm=\"a, NTLM b\"",
                "the proxy does not take this user and password",
            ),
            (
                "u:p@p",
                "407 x\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate: NTLM abc=",
                "the proxy asks for Negotiate or NTLM, which is not supported",
            ),
            (
                "u:p@p",
                "407 x\r\nProxy-Authenticate: Digest realm=\"x\", nonce=y",
                "the proxy asks for Digest, which is not supported",
            ),
        ] {
            let answer = format!("HTTP/1.1 {answer}\r\n\r\n");
            let told = outcome(proxy, answer.as_bytes()).result.unwrap_err();
            assert_eq!(told.to_string(), error);
        }
        let long = format!("HTTP/1.1 599 {}\r\n\r\n", "x".repeat(5_000));
        let TunnelError::Status(599, words) = outcome("p", long.as_bytes()).result.unwrap_err()
        else {
            panic!("a status");
        };
        assert_eq!(words.len(), WORDS);
    }

    #[test]
    fn a_proxy_that_repeats_the_password_is_not_quoted() {
        for words in ["hunter2 is wrong", "not dXM6aHVudGVyMg=="] {
            let answer = format!("HTTP/1.1 403 {words}\r\n\r\n");
            let told = outcome("us:hunter2@p", answer.as_bytes()).result;
            assert_eq!(told, Err(TunnelError::Status(403, "".into())));
        }
        let long = format!("HTTP/1.1 403 {}h'2\r\n\r\n", "x".repeat(WORDS - 1));
        let told = outcome("us:h'2@p", long.as_bytes()).result;
        assert_eq!(told, Err(TunnelError::Status(403, "".into())));
        let told = outcome("us:@p", b"HTTP/1.1 403 us\r\n\r\n").result;
        assert_eq!(told, Err(TunnelError::Status(403, "us".into())));
    }

    #[test]
    fn an_answer_that_is_no_head_or_never_ends_is_refused() {
        for answer in [
            &b"SSH-2.0"[..],
            b"\x05\x00",
            b"HTTP/2 200\r\n",
            b"HTTP/1.1 2000",
            b"HTTP/1.1 403 \x07\r\n",
        ] {
            let error = outcome("p", answer).result.unwrap_err();
            assert!(matches!(error, TunnelError::Head(_)), "{error}");
        }
        let mut endless = b"HTTP/1.1 200 OK\r\n".to_vec();
        for _ in 0..60 {
            endless.extend_from_slice(&[b'x'; 200]);
            endless.extend_from_slice(b": y\r\n");
        }
        let error = outcome("p", &endless).result.unwrap_err();
        assert!(matches!(error, TunnelError::Head(_)), "{error}");
    }
}
