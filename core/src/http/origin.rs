//! Which pages may connect: without this check any page a user opens speaks with the user's cookies
//! (cross-site WebSocket hijacking, RFC 6455 §10.2).

use alloc::string::String;
use alloc::vec::Vec;

use super::Request;
use super::url::{Authority, default_port, split_absolute};

/// The pages a server accepts connections from.
///
/// A request without `Origin` does not come from a page and is always allowed; `Origin: null`
/// (a sandboxed frame, a local file) only by [`Origins::Any`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// Pages from anywhere.
    Any,
    /// Pages of the host and port the client connected to, by `http` or `https`.
    #[default]
    SameHost,
    /// Pages of these origins, such as `https://app.example.com` or `http://localhost:8080`. Scheme,
    /// host and port must all match; there are no wildcards.
    List(Vec<String>),
}

impl Origins {
    /// Whether the request may proceed; `secure` says that it came by TLS.
    pub fn allows(&self, request: &Request, secure: bool) -> bool {
        if matches!(self, Self::Any) || !request.headers().contains("origin") {
            return true;
        }
        let Some(origin) = request.headers().single("origin").and_then(Origin::parse) else {
            return false;
        };
        match self {
            Self::Any => true,
            Self::SameHost => origin.is_host_of(request, secure),
            Self::List(list) => list.iter().any(|entry| {
                let entry = entry.strip_suffix('/').unwrap_or(entry);
                Origin::parse(entry.as_bytes()).is_some_and(|entry| entry == origin)
            }),
        }
    }
}

/// `scheme://host[:port]`, the default port filled in (RFC 6454 §4 and §7).
#[derive(PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    fn parse(value: &[u8]) -> Option<Self> {
        let text = core::str::from_utf8(value).ok()?;
        let (scheme, authority, "") = split_absolute(text)? else {
            return None;
        };
        let scheme = scheme.to_ascii_lowercase();
        let authority = Authority::parse(authority).ok()?;
        let port = authority.port.or(match scheme.as_str() {
            "http" => Some(default_port(false)),
            "https" => Some(default_port(true)),
            _ => None,
        });
        Some(Self {
            scheme,
            host: authority.host,
            port,
        })
    }

    fn is_host_of(&self, request: &Request, secure: bool) -> bool {
        let Some(host) = request.authority() else {
            return false;
        };
        let own_port = match (host.port, secure) {
            (Some(port), _) => port,
            (None, true) => default_port(true),
            // A TLS proxy in front is common: then the page came by https and the port left out
            // is the page's.
            (None, false) => default_port(self.scheme == "https"),
        };
        matches!(self.scheme.as_str(), "http" | "https")
            && self.host == host.host
            && self.port == Some(own_port)
    }
}

#[cfg(test)]
mod tests {
    use super::super::head::tests::request;
    use super::*;
    use alloc::format;
    use alloc::vec;

    fn allows(origins: &Origins, host: &str, origin: &str, secure: bool) -> bool {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\r\n");
        origins.allows(&request(head.as_bytes()).unwrap(), secure)
    }

    #[test]
    fn pages_of_the_same_host_are_allowed() {
        for (host, origin) in [
            ("good.com", "http://good.com"),
            ("good.com", "https://good.com"),
            ("good.com", "https://good.com:443"),
            ("good.com:80", "http://good.com"),
            ("good.com:443", "https://good.com"),
            ("GOOD.com", "HTTPS://Good.COM"),
            ("good.com:8080", "http://good.com:8080"),
            ("good.com:8080", "https://good.com:8080"),
            ("127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("[::1]:3000", "http://[0:0::1]:3000"),
        ] {
            assert!(
                allows(&Origins::SameHost, host, origin, false),
                "{host} {origin}"
            );
        }
    }

    #[test]
    fn other_pages_are_refused() {
        for (host, origin) in [
            ("good.com", "https://evil.com"),
            ("good.com", "https://good.com.evil.com"),
            ("good.com", "https://evilgood.com"),
            ("good.com", "https://sub.good.com"),
            ("good.com", "https://good.com:8443"),
            ("good.com", "http://good.com:443"),
            ("good.com:8080", "http://good.com"),
            ("good.com:443", "http://good.com"),
            ("good.com", "https://evil.com@good.com"),
            ("good.com", "https://good.com@evil.com"),
            ("good.com", "https://good.com/"),
            ("good.com", "https://evil.com/good.com"),
            ("good.com", "https://good.com#"),
            ("good.com", "https://good.com https://evil.com"),
            ("good.com", "https://good.com,https://evil.com"),
            ("good.com", "good.com"),
            ("good.com", "//good.com"),
            ("good.com", "ws://good.com"),
            ("good.com:9", "ws://good.com:9"),
            ("good.com", "file://"),
            ("good.com", "chrome-extension://good.com"),
            ("good.com", "null"),
            ("null", "null"),
            ("good.com", ""),
            ("good.com.", "http://good.com"),
        ] {
            assert!(
                !allows(&Origins::SameHost, host, origin, false),
                "{host} {origin}"
            );
            assert!(
                allows(&Origins::Any, host, origin, false),
                "{host} {origin}"
            );
        }
    }

    #[test]
    fn over_tls_a_plain_page_of_the_same_host_is_another_origin() {
        assert!(allows(
            &Origins::SameHost,
            "good.com",
            "https://good.com",
            true
        ));
        assert!(!allows(
            &Origins::SameHost,
            "good.com",
            "http://good.com",
            true
        ));
    }

    #[test]
    fn listed_origins_match_exactly() {
        let origins = Origins::List(vec![
            "https://Good.com".into(),
            "http://localhost:8080/".into(),
            "chrome-extension://abc".into(),
            "null".into(),
            "*".into(),
        ]);
        for origin in [
            "https://good.com",
            "https://good.com:443",
            "http://localhost:8080",
            "chrome-extension://abc",
        ] {
            assert!(allows(&origins, "other.com", origin, true), "{origin}");
        }
        for origin in [
            "http://good.com",
            "https://good.com:8443",
            "https://good.com.evil.com",
            "https://evil.good.com",
            "http://localhost",
            "http://localhost:80801",
            "https://localhost:8080",
            "chrome-extension://abcd",
            "https://other.com",
            "null",
            "*",
        ] {
            assert!(!allows(&origins, "other.com", origin, true), "{origin}");
        }
    }

    #[test]
    fn a_client_that_is_no_browser_is_allowed() {
        let head = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let request = request(head).unwrap();
        assert!(Origins::SameHost.allows(&request, true));
        assert!(Origins::List(vec![]).allows(&request, true));
    }

    #[test]
    fn two_origins_are_refused() {
        let head = b"GET / HTTP/1.1\r\nHost: h\r\nOrigin: http://h\r\norigin: http://h\r\n\r\n";
        let request = request(head).unwrap();
        assert!(!Origins::SameHost.allows(&request, false));
        assert!(!Origins::List(vec!["http://h".into()]).allows(&request, false));
        let head = b"GET / HTTP/1.0\r\nOrigin: http://h\r\n\r\n";
        assert!(
            !Origins::SameHost.allows(&super::super::head::tests::request(head).unwrap(), false)
        );
    }
}
