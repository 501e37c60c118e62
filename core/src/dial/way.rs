//! The way to servers: proxies, and TLS.

use alloc::string::String;
#[cfg(feature = "tls")]
use alloc::vec::Vec;

use crate::http::Url;
use crate::proxy::{Proxies, Proxy, ProxyError};
#[cfg(feature = "tls")]
use crate::tls::{ClientTls, ClientTlsBuilder, TlsError};
use crate::websocket::{ClientError, Config};

/// What the operating system says about ways, where nobody chose.
pub trait System {
    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;

    /// The authorities it trusts, in DER.
    #[cfg(feature = "tls")]
    fn authorities(&self) -> Vec<Vec<u8>>;

    /// TLS that trusts them, made once.
    ///
    /// # Errors
    ///
    /// There are none.
    #[cfg(feature = "tls")]
    fn tls(&self) -> Result<ClientTls, TlsError>;
}

/// The way of a client to its server: the proxy between them, and whom TLS
/// trusts. What is wrong with it is told when it is used.
///
/// ```
/// use smartsocket_core::dial::Way;
///
/// let way = Way::new().proxy("socks5://user:password@proxy.example:1080");
/// # let _ = way;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Way {
    proxies: Option<Result<Proxies, ProxyError>>,
    #[cfg(feature = "tls")]
    tls: Option<Result<ClientTlsBuilder, TlsError>>,
}

impl Way {
    /// As the system has it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes through this proxy: `http://user:password@host:port`, with Basic
    /// credentials, or `socks5://...`; [`Proxy::parse`] has the details.
    /// Default: as the variables of the environment say
    /// ([`Proxies::from_env`]), which never concerns loopback.
    pub fn proxy(mut self, url: &str) -> Self {
        self.proxies = Some(Proxy::parse(url).map(Proxies::from));
        self
    }

    /// Goes through no proxy, whatever the environment says.
    pub fn no_proxy(mut self) -> Self {
        self.proxies = Some(Ok(Proxies::none()));
        self
    }

    /// Trusts the authorities in this PEM text, and no longer the system's; of
    /// several texts, all of them (MB-38). With this or one of the next two,
    /// [`Config::client_tls`] must not be set.
    #[cfg(feature = "tls")]
    pub fn ca(self, pem: &[u8]) -> Self {
        self.tls(|tls| tls.root_pem(pem))
    }

    /// Shows this certificate to servers that ask for one: in PEM, its
    /// intermediates after it, and its private key (MB-36, MB-37).
    #[cfg(feature = "tls")]
    pub fn client_certificate(self, chain: &[u8], key: &[u8]) -> Self {
        self.tls(|tls| tls.client_certificate_pem(chain, key))
    }

    /// Accepts **any** certificate (MB-39): whoever can reach the connection can
    /// pose as the server, read everything and change it. Only for tests; for a
    /// private server give its authority to [`ca`](Self::ca) instead.
    #[cfg(feature = "tls")]
    pub fn dangerous_accept_any_certificate(self) -> Self {
        self.tls(|tls| Ok(tls.dangerous_accept_any()))
    }

    #[cfg(feature = "tls")]
    fn tls(
        mut self,
        option: impl FnOnce(ClientTlsBuilder) -> Result<ClientTlsBuilder, TlsError>,
    ) -> Self {
        let before = self.tls.unwrap_or_else(|| Ok(ClientTls::builder()));
        self.tls = Some(before.and_then(option));
        self
    }

    /// Makes them options of a machine: what is not chosen is as the system has
    /// it. Without a URL it is the machine that tells what is wrong with that.
    ///
    /// # Errors
    ///
    /// What is wrong with the options; or options of TLS are chosen here and
    /// in [`Config::client_tls`].
    pub fn apply(
        self,
        url: Option<&Url>,
        config: &mut Config,
        system: &impl System,
    ) -> Result<(), ClientError> {
        match self.proxies {
            Some(chosen) => config.proxies = Some(chosen?),
            None if config.proxies.is_some() => {}
            None => config.proxies = Some(Proxies::from_env(|name| system.variable(name))),
        }
        #[cfg(feature = "tls")]
        trust(self.tls, url.is_some_and(Url::secure), config, system).map_err(ClientError::Tls)?;
        #[cfg(not(feature = "tls"))]
        if url.is_some_and(Url::secure) {
            return Err(ClientError::NoTls);
        }
        Ok(())
    }
}

/// Uses the system's authorities where nobody else is trusted.
#[cfg(feature = "tls")]
fn trust(
    options: Option<Result<ClientTlsBuilder, TlsError>>,
    secure: bool,
    config: &mut Config,
    system: &impl System,
) -> Result<(), TlsError> {
    let options = options.transpose()?;
    let tls = match (options, &config.client_tls) {
        (Some(_), Some(_)) => return Err(TlsError::ForeignConfig),
        (Some(options), None) if options.trusts() => options.build()?,
        (Some(options), None) if secure => options.roots(system.authorities()).build()?,
        (None, None) if secure => system.tls()?,
        _ => return Ok(()),
    };
    config.client_tls = Some(tls);
    Ok(())
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use alloc::borrow::ToOwned as _;

    use super::*;

    /// It says nothing and trusts nobody.
    struct Silent;

    impl System for Silent {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }

        fn authorities(&self) -> Vec<Vec<u8>> {
            Vec::new()
        }

        fn tls(&self) -> Result<ClientTls, TlsError> {
            Err(TlsError::NoRoots)
        }
    }

    #[test]
    fn options_of_tls_do_not_mix_with_a_configuration_made_elsewhere() {
        let made = ClientTls::builder().dangerous_accept_any().build();
        let mut config = Config {
            client_tls: made.ok(),
            ..Config::default()
        };
        let way = Way::new().dangerous_accept_any_certificate();
        let error = way.apply(None, &mut config, &Silent);
        assert!(matches!(
            error,
            Err(ClientError::Tls(TlsError::ForeignConfig))
        ));
        assert!(Way::default().apply(None, &mut config, &Silent).is_ok());
    }

    #[test]
    fn the_nearest_choice_of_a_proxy_counts() {
        let url = Url::parse("ws://127.0.0.1/").unwrap();
        let chosen = |way: &Way, proxies: Option<Proxies>| {
            let mut config = Config {
                proxies,
                ..Config::default()
            };
            way.clone().apply(Some(&url), &mut config, &Silent).unwrap();
            let proxy = config.proxy(&url).unwrap();
            proxy.map(|proxy| proxy.host().to_owned())
        };
        let configured = || Some(Proxies::from(Proxy::parse("configured").unwrap()));
        let mut way = Way::default();
        assert_eq!(chosen(&way, None), None, "loopback");
        assert_eq!(chosen(&way, configured()).as_deref(), Some("configured"));
        way = way.proxy("named");
        assert_eq!(chosen(&way, configured()).as_deref(), Some("named"));
        way = way.no_proxy();
        assert_eq!(chosen(&way, configured()), None);
    }
}
