//! Proxies on the client's way: which to take, and how to get through it.
//!
//! A [`Proxy`] is one of them, [`Proxies`] the rules of an environment. Getting
//! through is a stage of [`WebSocket`](crate::WebSocket) below TLS and the
//! upgrade: an adapter opens a stream to the proxy instead of the server, and
//! moves bytes as ever. `http` speaks with HTTP proxies (RFC 9110 §9.3.6),
//! `socks` with SOCKS5 (RFC 1928, RFC 1929).

mod error;
mod http;
mod rules;
mod socks;
mod tunnel;

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use zeroize::Zeroizing;

use crate::http::{Authority, UrlError, percent_decode};

pub use error::{ProxyError, TunnelError};
pub use rules::Proxies;
pub(crate) use tunnel::Tunnel;

/// A proxy: where it is, what it speaks, and who we are to it.
///
/// Neither `Display` nor `Debug` shows the credentials.
///
/// ```
/// use smartsocket_core::proxy::Proxy;
///
/// let proxy: Proxy = "http://user:p%40ss@proxy.example:3128".parse()?;
/// assert_eq!((proxy.host(), proxy.port()), ("proxy.example", 3128));
/// assert_eq!(proxy.to_string(), "http://proxy.example:3128");
/// # Ok::<(), smartsocket_core::proxy::ProxyError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: Kind,
    host: String,
    port: u16,
    credentials: Option<Credentials>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    Socks5,
}

#[derive(Clone, PartialEq, Eq)]
struct Credentials {
    user: String,
    password: Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Proxy {
    /// Reads `http://user:password@host:port` or `socks5://...`; without a
    /// scheme it is one of HTTP. User and password are percent-encoded. The
    /// port is by default 80, or 1080 for SOCKS. The proxy looks names up;
    /// `socks5h` says so and is the same.
    ///
    /// # Errors
    ///
    /// It is no such URL; or it names a kind of proxy that is not spoken:
    /// one behind TLS (`https://`), or SOCKS 4. The error holds nothing of the
    /// text.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        let text = text.trim();
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UrlError::Character.into());
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let (kind, default) = match &*scheme.to_ascii_lowercase() {
            "http" => (Kind::Http, 80),
            "socks5" | "socks5h" => (Kind::Socks5, 1080),
            "https" => return Err(ProxyError::OverTls),
            "socks" | "socks4" | "socks4a" => return Err(ProxyError::Socks4),
            _ => return Err(ProxyError::Scheme),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if !matches!(path, "" | "/") {
            return Err(ProxyError::Path);
        }
        // The last: many passwords have one that is not encoded.
        let (userinfo, authority) = match authority.rsplit_once('@') {
            Some((userinfo, authority)) => (Some(userinfo), authority),
            None => (None, authority),
        };
        let Authority { host, port } = Authority::parse(authority)?;
        let credentials = userinfo.map(|it| Credentials::parse(it, kind));
        Ok(Self {
            kind,
            host,
            port: port.unwrap_or(default),
            credentials: credentials.transpose()?,
        })
    }

    /// Where to open the stream: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// And the port.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl Credentials {
    fn parse(userinfo: &str, kind: Kind) -> Result<Self, ProxyError> {
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let decode = |text| percent_decode(text).ok_or(UrlError::Credentials);
        let user = decode(user)?;
        let password = Zeroizing::new(decode(password)?);
        let sayable = match kind {
            // RFC 7617 §2.
            Kind::Http => {
                let plain = |text: &str| !text.chars().any(char::is_control);
                !user.contains(':') && plain(&user) && plain(&password)
            }
            // RFC 1929 §2; an empty password is let through.
            Kind::Socks5 => (1..=255).contains(&user.len()) && password.len() <= 255,
        };
        if sayable {
            Ok(Self { user, password })
        } else {
            Err(ProxyError::Credentials)
        }
    }
}

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        Self::parse(text)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            Kind::Http => "http",
            Kind::Socks5 => "socks5",
        };
        write!(f, "{scheme}://{}", Place(&self.host, self.port))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Host and port as URLs have them.
struct Place<'a>(&'a str, u16);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(host, port) = *self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString as _;

    #[test]
    fn urls_of_proxies_are_taken_apart() {
        for (text, shown) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("proxy:3128", "http://proxy:3128"),
            ("Proxy.Example", "http://proxy.example:80"),
            ("HTTP://proxy/", "http://proxy:80"),
            (" http://10.0.0.1:1\n", "http://10.0.0.1:1"),
            ("socks5://proxy", "socks5://proxy:1080"),
            ("socks5h://[::1]:9", "socks5://[::1]:9"),
        ] {
            let proxy = Proxy::parse(text).unwrap();
            assert_eq!(proxy.to_string(), shown, "{text}");
            assert!(proxy.credentials.is_none());
        }
    }

    #[test]
    fn what_is_no_proxy_of_ours_is_refused() {
        for (text, error) in [
            ("https://proxy", ProxyError::OverTls),
            ("socks4://proxy", ProxyError::Socks4),
            ("socks://proxy", ProxyError::Socks4),
            ("ftp://proxy", ProxyError::Scheme),
            ("", ProxyError::Url(UrlError::Host)),
            ("http://", ProxyError::Url(UrlError::Host)),
            ("http://a b", ProxyError::Url(UrlError::Character)),
            ("http://a\r\nb", ProxyError::Url(UrlError::Character)),
            ("http://h:0", ProxyError::Url(UrlError::Port)),
            ("http://h/path", ProxyError::Path),
            ("http://h?q", ProxyError::Path),
            ("http://%ff@h", ProxyError::Url(UrlError::Credentials)),
            ("http://a%3Ab:c@h", ProxyError::Credentials),
            ("http://a:c%0d%0aX@h", ProxyError::Credentials),
            ("socks5://:c@h", ProxyError::Credentials),
        ] {
            assert_eq!(Proxy::parse(text), Err(error), "{text:?}");
        }
        let long = format!("socks5://u:{}@h", "x".repeat(256));
        assert_eq!(Proxy::parse(&long), Err(ProxyError::Credentials));
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let proxy = Proxy::parse("http://us%40er:hunter2:%2F@x@proxy:3").unwrap();
        let credentials = proxy.credentials.as_ref().unwrap();
        assert_eq!(credentials.user, "us@er");
        assert_eq!(&**credentials.password, "hunter2:/@x");
        assert_eq!(proxy.to_string(), "http://proxy:3");
        assert_eq!(format!("{proxy:?}"), "Proxy(http://proxy:3)");
        let long = format!("http://user:{}@proxy:x", "hunter2");
        let error = Proxy::parse(&long).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
