//! `ws://` and `wss://` URLs (RFC 6455 §3, RFC 3986).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv6Addr;

/// Where a client connects to.
///
/// Neither `Display` nor `Debug` shows the credentials, nor the query, where tokens travel.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    host: String,
    port: u16,
    resource: String,
    credentials: Option<(String, String)>,
}

/// Why a text is not a URL to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// The scheme is none of `ws`, `wss`, `http` and `https`.
    Scheme,
    /// The host is missing or has a character no host name has. An internationalised name must be
    /// given in its ASCII form (`xn--...`).
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
    /// The user name or password is not percent-encoded UTF-8.
    Credentials,
    /// A space, control character or character outside ASCII: it must be percent-encoded.
    Character,
    /// A fragment, which RFC 6455 §3 forbids.
    Fragment,
}

impl Url {
    /// Reads `ws://host:port/path?query`; `http` stands for `ws` and `https` for `wss`.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.contains('#') {
            return Err(UrlError::Fragment);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UrlError::Character);
        }
        let (scheme, authority, resource) = split_absolute(text).ok_or(UrlError::Scheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return Err(UrlError::Scheme),
        };
        let (userinfo, authority) = match authority.split_once('@') {
            Some((userinfo, authority)) => (Some(userinfo), authority),
            None => (None, authority),
        };
        let Authority { host, port } = Authority::parse(authority)?;
        Ok(Self {
            secure,
            host,
            port: port.unwrap_or(default_port(secure)),
            resource: if resource.starts_with('/') {
                resource.to_string()
            } else {
                format!("/{resource}")
            },
            credentials: userinfo.map(credentials).transpose()?,
        })
    }

    /// Whether the connection is to be encrypted.
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// The host in lower case, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 80 or 443 if the URL has none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The request target: path and query.
    pub fn path_and_query(&self) -> &str {
        &self.resource
    }

    /// Host and port as the `Host` header has them: the port only if it is not the default one.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == default_port(self.secure) {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// User name and password, percent-decoded.
    pub fn credentials(&self) -> Option<(&str, &str)> {
        let (user, password) = self.credentials.as_ref()?;
        Some((user, password))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        write!(f, "{scheme}://{}", self.authority())?;
        match self.resource.split_once('?') {
            Some((path, _)) => write!(f, "{path}?..."),
            None => f.write_str(&self.resource),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "url does not start with ws:// or wss://",
            Self::Host => "url has no valid host, which is ASCII or an IPv6 address in brackets",
            Self::Port => "port of the url is not a number from 1 to 65535",
            Self::Credentials => "user or password of the url is not percent-encoded UTF-8",
            Self::Character => "url has a character that must be percent-encoded",
            Self::Fragment => "url has a fragment, which a websocket url cannot have",
        })
    }
}

impl core::error::Error for UrlError {}

/// `host [ ":" port ]`, as in URLs, `Host` and `Origin`: the host in lower case without brackets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

impl Authority {
    pub(crate) fn parse(text: &str) -> Result<Self, UrlError> {
        let (host, port) = if let Some(text) = text.strip_prefix('[') {
            let (address, port) = text.split_once(']').ok_or(UrlError::Host)?;
            let address: Ipv6Addr = address.parse().map_err(|_| UrlError::Host)?;
            let port = match port {
                "" => None,
                port => Some(port.strip_prefix(':').ok_or(UrlError::Host)?),
            };
            (address.to_string(), port)
        } else {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            if host.is_empty() || host.len() > MAX_HOST || !host.bytes().all(named) {
                return Err(UrlError::Host);
            }
            (host.to_ascii_lowercase(), port)
        };
        let port = port.map(|port| {
            // `parse` alone would take a sign.
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|&port| digits && port != 0);
            port.ok_or(UrlError::Port)
        });
        Ok(Self {
            host,
            port: port.transpose()?,
        })
    }
}

/// Splits `scheme://authority/path?query` after the scheme and after the authority.
pub(super) fn split_absolute(text: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, resource) = rest.split_at(end);
    Some((scheme, authority, resource))
}

pub(super) fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// A DNS name has at most 253 characters and may end with a dot.
const MAX_HOST: usize = 254;

fn credentials(userinfo: &str) -> Result<(String, String), UrlError> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let decode = |text| percent_decode(text).ok_or(UrlError::Credentials);
    Ok((decode(user)?, decode(password)?))
}

/// `None` for what is not percent-encoded UTF-8 (RFC 3986 §2.1).
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => break,
            [b'%', high, low, rest @ ..] => {
                let (high, low) = digit(*high).zip(digit(*low))?;
                out.push((high << 4 | low) as u8);
                rest
            }
            [b'%', ..] => return None,
            [byte, rest @ ..] => {
                out.push(*byte);
                rest
            }
        };
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, secure, host, port, resource, authority) in [
            ("ws://h", false, "h", 80, "/", "h"),
            ("wss://h", true, "h", 443, "/", "h"),
            (
                "WSS://Host.Example:443/A?B=c",
                true,
                "host.example",
                443,
                "/A?B=c",
                "host.example",
            ),
            ("ws://h:443", false, "h", 443, "/", "h:443"),
            ("http://h:8080/x", false, "h", 8080, "/x", "h:8080"),
            ("https://h?a=b/c", true, "h", 443, "/?a=b/c", "h"),
            ("ws://[::1]:3000/x", false, "::1", 3000, "/x", "[::1]:3000"),
            ("ws://[0:0:0:0:0:0:0:1]", false, "::1", 80, "/", "[::1]"),
            (
                "ws://127.0.0.1:1/?",
                false,
                "127.0.0.1",
                1,
                "/?",
                "127.0.0.1:1",
            ),
            ("ws://u:p@h/a@b:c", false, "h", 80, "/a@b:c", "h"),
            ("ws://h//a/../b%20", false, "h", 80, "//a/../b%20", "h"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.secure(), secure, "{text}");
            assert_eq!(url.host(), host, "{text}");
            assert_eq!(url.port(), port, "{text}");
            assert_eq!(url.path_and_query(), resource, "{text}");
            assert_eq!(url.authority(), authority, "{text}");
        }
    }

    #[test]
    fn what_is_no_websocket_url_is_refused() {
        for (text, error) in [
            ("", UrlError::Scheme),
            ("h", UrlError::Scheme),
            ("//h", UrlError::Scheme),
            ("ws:/h", UrlError::Scheme),
            ("ftp://h", UrlError::Scheme),
            ("ws ://h", UrlError::Character),
            ("ws://", UrlError::Host),
            ("ws:///path", UrlError::Host),
            ("ws://:80", UrlError::Host),
            ("ws://u@good.com@evil.com", UrlError::Host),
            ("ws://a*b", UrlError::Host),
            ("ws://a%2eb", UrlError::Host),
            ("ws://a\\b", UrlError::Host),
            ("ws://::1", UrlError::Host),
            ("ws://[::1", UrlError::Host),
            ("ws://[::1]x", UrlError::Host),
            ("ws://[::1%25lo]", UrlError::Host),
            ("ws://[127.0.0.1]", UrlError::Host),
            ("ws://żółw", UrlError::Character),
            ("ws://h:", UrlError::Port),
            ("ws://h:0", UrlError::Port),
            ("ws://h:+80", UrlError::Port),
            ("ws://h:65536", UrlError::Port),
            ("ws://h:80:80", UrlError::Port),
            ("ws://h/a b", UrlError::Character),
            ("ws://h/a\r\nX: y", UrlError::Character),
            ("ws://h/\0", UrlError::Character),
            ("ws://h/#f", UrlError::Fragment),
            ("ws://h#", UrlError::Fragment),
            ("ws://%zz@h", UrlError::Credentials),
            ("ws://%4@h", UrlError::Credentials),
            ("ws://%ff@h", UrlError::Credentials),
        ] {
            assert_eq!(Url::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(
            Url::parse(&format!("ws://{}", "a".repeat(255))),
            Err(UrlError::Host)
        );
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let url = Url::parse("wss://us%40er:hunter2%3A:x@h:9/p?token=hunter2").unwrap();
        assert_eq!(url.credentials(), Some(("us@er", "hunter2::x")));
        assert_eq!(url.to_string(), "wss://h:9/p?...");
        assert_eq!(format!("{url:?}"), "Url(wss://h:9/p?...)");
        let url = Url::parse("ws://user@h").unwrap();
        assert_eq!(url.credentials(), Some(("user", "")));
        assert_eq!(Url::parse("ws://h").unwrap().credentials(), None);
    }

    proptest! {
        #[test]
        fn a_parsed_url_can_be_put_on_a_request_line(text in "(ws|wss)://[ -~\\r\\n]{0,40}") {
            if let Ok(url) = Url::parse(&text) {
                let out = url.path_and_query().to_string() + &url.authority();
                prop_assert!(url.path_and_query().starts_with('/'));
                prop_assert!(out.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
