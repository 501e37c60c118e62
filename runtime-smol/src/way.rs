//! The way to servers: proxies, and TLS.

use smartsocket_core::Config;
use smartsocket_core::http::Url;
use smartsocket_core::proxy::{Proxies, Proxy, ProxyError};
#[cfg(feature = "tls")]
use smartsocket_core::tls::{ClientTls, ClientTlsBuilder, TlsError};
use smartsocket_core::websocket::ClientError;

/// Options of a client that are no options of its machine. What is wrong with
/// them is told when they are used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Way {
    proxies: Option<Result<Proxies, ProxyError>>,
    #[cfg(feature = "tls")]
    tls: Option<Result<ClientTlsBuilder, TlsError>>,
}

impl Way {
    pub(crate) fn proxy(&mut self, url: &str) {
        self.proxies = Some(Proxy::parse(url).map(Proxies::from));
    }

    pub(crate) fn no_proxy(&mut self) {
        self.proxies = Some(Ok(Proxies::none()));
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls(
        &mut self,
        option: impl FnOnce(ClientTlsBuilder) -> Result<ClientTlsBuilder, TlsError>,
    ) {
        let before = self.tls.take().unwrap_or_else(|| Ok(ClientTls::builder()));
        self.tls = Some(before.and_then(option));
    }

    /// Makes them options of a machine: what is not chosen is as the system has
    /// it. Without a URL it is the machine that tells what is wrong with that.
    pub(crate) fn apply(self, url: Option<&Url>, config: &mut Config) -> Result<(), ClientError> {
        match self.proxies {
            Some(chosen) => config.proxies = Some(chosen?),
            None if config.proxies.is_some() => {}
            None => config.proxies = Some(Proxies::from_env(|name| std::env::var(name).ok())),
        }
        #[cfg(feature = "tls")]
        trust(self.tls, url.is_some_and(Url::secure), config).map_err(ClientError::Tls)?;
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
) -> Result<(), TlsError> {
    let options = options.transpose()?;
    let tls = match (options, &config.client_tls) {
        (Some(_), Some(_)) => return Err(TlsError::ForeignConfig),
        (Some(options), None) if options.trusts() => options.build()?,
        (Some(options), None) if secure => options.roots(crate::roots::certificates()).build()?,
        (None, None) if secure => crate::roots::system()?,
        _ => return Ok(()),
    };
    config.client_tls = Some(tls);
    Ok(())
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;

    #[test]
    fn options_of_tls_do_not_mix_with_a_configuration_made_elsewhere() {
        let made = ClientTls::builder().dangerous_accept_any().build();
        let mut config = Config {
            client_tls: made.ok(),
            ..Config::default()
        };
        let mut way = Way::default();
        way.tls(|tls| Ok(tls.dangerous_accept_any()));
        let error = way.apply(None, &mut config);
        assert!(matches!(
            error,
            Err(ClientError::Tls(TlsError::ForeignConfig))
        ));
        assert!(Way::default().apply(None, &mut config).is_ok());
    }

    #[test]
    fn the_nearest_choice_of_a_proxy_counts() {
        let url = Url::parse("ws://127.0.0.1/").unwrap();
        let chosen = |way: &Way, proxies: Option<Proxies>| {
            let mut config = Config {
                proxies,
                ..Config::default()
            };
            way.clone().apply(Some(&url), &mut config).unwrap();
            let proxy = config.proxy(&url).unwrap();
            proxy.map(|proxy| proxy.host().to_owned())
        };
        let configured = || Some(Proxies::from(Proxy::parse("configured").unwrap()));
        let mut way = Way::default();
        assert_eq!(chosen(&way, None), None, "loopback");
        assert_eq!(chosen(&way, configured()).as_deref(), Some("configured"));
        way.proxy("named");
        assert_eq!(chosen(&way, configured()).as_deref(), Some("named"));
        way.no_proxy();
        assert_eq!(chosen(&way, configured()), None);
    }
}
