//! Which proxy to take to which server: `HTTPS_PROXY`, `NO_PROXY` and the like.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::http::Url;

use super::{Proxy, ProxyError};

/// Which proxy to take to which server.
///
/// ```
/// use smartsocket_core::http::Url;
/// use smartsocket_core::proxy::Proxies;
///
/// let proxies = Proxies::from_env(|name| {
///     let value = match name {
///         "HTTPS_PROXY" => "http://proxy.example:3128",
///         "NO_PROXY" => ".intern.example,10.0.0.0/8",
///         _ => return None,
///     };
///     Some(value.to_owned())
/// });
/// let port = |url: &str| {
///     let proxy = proxies.of(&Url::parse(url).unwrap()).unwrap();
///     proxy.map(|proxy| proxy.port())
/// };
/// assert_eq!(port("wss://example.com"), Some(3128));
/// assert_eq!(port("ws://example.com"), None);
/// assert_eq!(port("wss://chat.intern.example"), None);
/// assert_eq!(port("wss://10.1.2.3"), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    plain: Way,
    secure: Way,
    /// Servers that no proxy stands before.
    direct: Vec<Direct>,
}

/// What is wrong with a proxy matters to those only who would take it.
type Way = Option<Result<Proxy, ProxyError>>;

impl Proxies {
    /// None at all.
    pub const fn none() -> Self {
        Self {
            plain: None,
            secure: None,
            direct: Vec::new(),
        }
    }

    /// As the environment says, whose variables `lookup` tells.
    ///
    /// For `wss` that is `https_proxy` or `HTTPS_PROXY`; for `ws` `http_proxy`,
    /// in lower case only (a web server can make `HTTP_PROXY` from a client's
    /// header `Proxy`); else `all_proxy` or `ALL_PROXY`. What is empty counts
    /// as not set.
    ///
    /// Never to loopback addresses and `localhost`, nor to those in `no_proxy`
    /// or `NO_PROXY`, a list with commas or spaces: `*` is all; a name, with or
    /// without a leading dot, is that host and all below it; an address is
    /// itself, and a network (`10.0.0.0/8`) all in it; any of them may end with
    /// a port. Names are not looked up for that.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|&name| {
                let value = lookup(name)?;
                (!value.trim().is_empty()).then_some((name, value))
            })
        };
        let way = |names: &[&'static str]| -> Way {
            let (name, value) = first(names)?;
            let proxy = Proxy::parse(&value);
            Some(proxy.map_err(|error| ProxyError::Variable(name, Box::new(error))))
        };
        let except = first(&["no_proxy", "NO_PROXY"]);
        let except = except.map(|(_, list)| list).unwrap_or_default();
        let entries = except.split(|c: char| c == ',' || c.is_ascii_whitespace());
        let mut direct = [Direct::Loopback].to_vec();
        direct.extend(entries.filter_map(Direct::parse));
        Self {
            plain: way(&["http_proxy", "all_proxy", "ALL_PROXY"]),
            secure: way(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            direct,
        }
    }

    /// The proxy to take there, if any.
    ///
    /// # Errors
    ///
    /// The environment names one that cannot be used.
    pub fn of(&self, url: &Url) -> Result<Option<&Proxy>, ProxyError> {
        let way = if url.secure() {
            &self.secure
        } else {
            &self.plain
        };
        let Some(way) = way else {
            return Ok(None);
        };
        let host = Host::of(url);
        if self.direct.iter().any(|direct| direct.holds(&host)) {
            return Ok(None);
        }
        way.as_ref().map(Some).map_err(Clone::clone)
    }
}

/// This one, to every server.
impl From<Proxy> for Proxies {
    fn from(proxy: Proxy) -> Self {
        Self {
            plain: Some(Ok(proxy.clone())),
            secure: Some(Ok(proxy)),
            direct: Vec::new(),
        }
    }
}

/// A server, as it is compared.
struct Host<'a> {
    name: &'a str,
    address: Option<IpAddr>,
    port: u16,
}

impl<'a> Host<'a> {
    fn of(url: &'a Url) -> Self {
        let address = url.host().parse::<IpAddr>();
        Self {
            name: url.host().trim_end_matches('.'),
            address: address.ok().map(|address| address.to_canonical()),
            port: url.port(),
        }
    }
}

/// Servers that are reached without a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Direct {
    All,
    Loopback,
    /// A name in lower case, and those below it.
    Name(String, Option<u16>),
    /// Addresses that have these leading bits.
    Network(IpAddr, u8, Option<u16>),
}

impl Direct {
    /// `None` for what is none of the forms; it holds nothing.
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::All);
        }
        if let Some((address, bits)) = entry.split_once('/') {
            let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?);
            let whole = width(address);
            return (bits <= whole).then_some(Self::Network(address, bits, None));
        }
        if let Some(address) = address(entry) {
            let address = address.to_canonical();
            return Some(Self::Network(address, width(address), None));
        }
        let (name, port) = match entry.rsplit_once(':') {
            None => (entry, None),
            Some((name, port)) => (name, Some(port.parse::<u16>().ok()?)),
        };
        if let Some(address) = address(name) {
            let address = address.to_canonical();
            return Some(Self::Network(address, width(address), port));
        }
        let name = name.strip_prefix('*').unwrap_or(name);
        let name = name.trim_matches('.').to_ascii_lowercase();
        (!name.is_empty()).then_some(Self::Name(name, port))
    }

    fn holds(&self, host: &Host<'_>) -> bool {
        let same = |port: &Option<u16>| port.is_none_or(|port| port == host.port);
        match self {
            Self::All => true,
            Self::Loopback => match host.address {
                Some(address) => address.is_loopback(),
                None => below(host.name, "localhost"),
            },
            Self::Name(name, port) => {
                host.address.is_none() && below(host.name, name) && same(port)
            }
            Self::Network(network, bits, port) => {
                let inside = |address| shares(address, *network, *bits);
                host.address.is_some_and(inside) && same(port)
            }
        }
    }
}

/// An address, in brackets or not.
fn address(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    inner.unwrap_or(text).parse().ok()
}

/// Whether a host is the one of this name, or one below it.
fn below(host: &str, name: &str) -> bool {
    let rest = host.strip_suffix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// Whether two addresses have the first `bits` in common.
fn shares(a: IpAddr, b: IpAddr, bits: u8) -> bool {
    // As numbers that begin with the address.
    let left = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    };
    let differ = left(a) ^ left(b);
    width(a) == width(b) && differ.leading_zeros() >= u32::from(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned as _;
    use alloc::format;
    use alloc::string::ToString as _;

    fn chosen(variables: &[(&str, &str)], url: &str) -> Result<Option<String>, String> {
        let proxies = Proxies::from_env(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        let proxy = proxies.of(&Url::parse(url).unwrap());
        let proxy = proxy.map_err(|error| error.to_string())?;
        Ok(proxy.map(|proxy| proxy.host().to_owned()))
    }

    #[test]
    fn each_scheme_has_its_variables_in_order() {
        for (variables, ws, wss) in [
            (&[][..], None, None),
            (&[("https_proxy", "a")], None, Some("a")),
            (&[("HTTPS_PROXY", "a")], None, Some("a")),
            (
                &[("HTTPS_PROXY", "a"), ("https_proxy", "b")],
                None,
                Some("b"),
            ),
            (&[("http_proxy", "a")], Some("a"), None),
            (&[("HTTP_PROXY", "a")], None, None),
            (&[("all_proxy", "socks5://a")], Some("a"), Some("a")),
            (
                &[("ALL_PROXY", "a"), ("http_proxy", "b")],
                Some("b"),
                Some("a"),
            ),
            (
                &[("ALL_PROXY", "a"), ("https_proxy", " ")],
                Some("a"),
                Some("a"),
            ),
        ] {
            for (url, proxy) in [("ws://h", ws), ("wss://h", wss)] {
                let expected = Ok(proxy.map(str::to_owned));
                assert_eq!(chosen(variables, url), expected, "{variables:?} {url}");
            }
        }
    }

    #[test]
    fn an_unusable_proxy_is_an_error_for_those_only_who_need_it() {
        let variables = [("https_proxy", "https://user:hunter2@p"), ("no_proxy", "b")];
        let error = chosen(&variables, "wss://a").unwrap_err();
        assert!(
            error.contains("https_proxy") && !error.contains("hunter2"),
            "{error}"
        );
        assert_eq!(chosen(&variables, "ws://a"), Ok(None));
        assert_eq!(chosen(&variables, "wss://b"), Ok(None));
    }

    #[test]
    fn loopback_is_never_reached_by_way_of_the_environment() {
        for host in [
            "localhost",
            "a.localhost",
            "LOCALHOST.",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
        ] {
            let url = format!("ws://{host}:8080");
            assert_eq!(chosen(&[("all_proxy", "p")], &url), Ok(None), "{host}");
            let proxies = Proxies::from(Proxy::parse("p").unwrap());
            assert!(proxies.of(&Url::parse(&url).unwrap()).unwrap().is_some());
        }
        for host in ["localhost.example", "notlocalhost", "128.0.0.1", "[::2]"] {
            let url = format!("ws://{host}:8080");
            assert!(chosen(&[("all_proxy", "p")], &url).unwrap().is_some());
        }
    }

    #[test]
    fn exceptions_are_names_addresses_networks_and_ports() {
        for (list, inside, outside) in [
            ("*", &["a", "1.2.3.4"][..], &[][..]),
            ("", &[], &["a"]),
            ("a, b\tc", &["a", "b", "c"], &["d"]),
            (
                "example.com",
                &["example.com", "Sub.Example.com", "example.com."],
                &["notexample.com", "example.com.evil", "com"],
            ),
            (
                ".example.com",
                &["a.example.com", "example.com"],
                &["aexample.com"],
            ),
            ("*.example.com", &["a.example.com"], &["aexample.com"]),
            ("a:8080", &["a:8080", "b.a:8080"], &["a", "a:80"]),
            (
                "1.2.3.4",
                &["1.2.3.4", "[::ffff:1.2.3.4]"],
                &["1.2.3.5", "a"],
            ),
            ("1.2.3.4:81", &["1.2.3.4:81"], &["1.2.3.4"]),
            ("10.0.0.0/8", &["10.9.9.9"], &["11.0.0.0", "10.example"]),
            ("10.1.2.3/0", &["9.9.9.9"], &["[2001:db8::1]"]),
            ("2001:db8::/33", &["[2001:db8::1]"], &["[2001:db8:8000::]"]),
            ("2001:db8::1", &["[2001:db8::1]"], &["[2001:db8::2]"]),
            (
                "[2001:db8::1]:81",
                &["[2001:db8::1]:81"],
                &["[2001:db8::1]"],
            ),
            ("10.0.0.0/33,a/8,:,., ,x:y", &[], &["10.0.0.0", "a", "x"]),
            // The end of an address is no domain.
            ("3.4", &[], &["1.2.3.4"]),
        ] {
            let variables = [("all_proxy", "p"), ("no_proxy", list)];
            for (hosts, direct) in [(inside, true), (outside, false)] {
                for host in hosts {
                    let proxy = chosen(&variables, &format!("ws://{host}/")).unwrap();
                    assert_eq!(proxy.is_none(), direct, "{host} in {list:?}");
                }
            }
        }
    }
}
