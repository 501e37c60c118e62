//! Options that every client has: where to connect, how, and as whom.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smartsocket_smol::deflate::Deflate;
use smartsocket_smol::http::Url;
use smartsocket_smol::proxy::{Proxies, Proxy};
use smartsocket_smol::tls::ClientTls;
use smartsocket_smol::{Config, Connect};

use crate::explain::{self, Failure, Way};
use crate::output::note;
use crate::values::{Header, header, positive_seconds};

/// Shorter words of a header's value are not secret, such as `Basic`.
pub(crate) const SHORTEST_SECRET: usize = 7;

/// Where to connect, as it was typed.
#[derive(Clone)]
pub(crate) struct Address(String);

/// What is not shown, such as the URL of a proxy with a password.
#[derive(Clone)]
struct Hidden(String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

fn hidden(text: &str) -> Result<Hidden, std::convert::Infallible> {
    Ok(Hidden(text.into()))
}

/// How to connect, and as whom.
#[derive(clap::Args)]
pub(crate) struct Target {
    /// Add a header to the request, such as 'Authorization: Bearer ...'
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<Header>,
    /// Offer a subprotocol; the first one is preferred
    #[arg(short = 's', long = "subprotocol", value_name = "NAME")]
    pub(crate) subprotocols: Vec<String>,
    /// Say for which page to connect, as browsers do
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    /// Go through this proxy: http://USER:PASSWORD@HOST:PORT or socks5://...
    /// [default: what HTTPS_PROXY, http_proxy, ALL_PROXY and NO_PROXY say]
    #[arg(long, value_name = "URL", value_parser = hidden)]
    proxy: Option<Hidden>,
    /// Go through no proxy, whatever the environment says
    #[arg(long, conflicts_with = "proxy")]
    no_proxy: bool,
    /// Trust the authorities in this PEM file instead of the system's
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// DANGEROUS: accept any certificate, so that anybody on the way can read
    /// and change everything. For a private server use --ca
    #[arg(long)]
    insecure: bool,
    /// Show this certificate (PEM) to servers that ask for one
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key (PEM) of --cert
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Offer compression (permessage-deflate)
    #[arg(long)]
    deflate: bool,
    /// Give up if the connection is not open after this time
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = positive_seconds)]
    pub(crate) timeout: Duration,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Headers may hold secrets.
        f.debug_struct("Target").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // It may hold secrets.
        f.debug_struct("Address").finish_non_exhaustive()
    }
}

/// An address as it is meant. clap repeats a bad argument on the terminal, so
/// what is wrong with it is judged later.
pub(crate) fn address(text: &str) -> Result<Address, std::convert::Infallible> {
    Ok(Address(if text.contains("://") {
        text.into()
    } else {
        format!("ws://{text}")
    }))
}

impl Address {
    /// With its scheme.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What it says.
    pub(crate) fn url(&self) -> Result<Url, Failure> {
        Url::parse(&self.0).map_err(|error| Failure::usage(format!("bad URL: {error}")))
    }
}

impl Target {
    /// A connection with these options and the rest of `config`.
    pub(crate) fn connect(&self, address: &Address, config: Config) -> Result<Connect, Failure> {
        let usage = |error: smartsocket_smol::Error| Failure::usage(format!("bad option: {error}"));
        let secure = address.url()?.secure();
        let mut connect = Connect::new(address.as_str()).map_err(usage)?;
        for (name, value) in self.headers()? {
            connect = connect.header(name, value).map_err(usage)?;
        }
        for name in &self.subprotocols {
            connect = connect.subprotocol(name).map_err(usage)?;
        }
        let config = self.websocket(secure, config)?;
        Ok(connect.config(config).timeout(self.timeout))
    }

    /// `config` with these options.
    pub(crate) fn websocket(&self, secure: bool, config: Config) -> Result<Config, Failure> {
        Ok(Config {
            handshake_timeout: Some(self.timeout),
            deflate: self.deflate.then(Deflate::default),
            client_tls: if secure { self.tls()? } else { None },
            proxies: Some(self.proxies()?),
            ..config
        })
    }

    /// Which proxies to go through.
    fn proxies(&self) -> Result<Proxies, Failure> {
        if self.no_proxy {
            return Ok(Proxies::none());
        }
        match &self.proxy {
            Some(Hidden(url)) => Proxy::parse(url)
                .map(Proxies::from)
                .map_err(|error| Failure::usage(format!("bad option: {error}"))),
            None => Ok(Proxies::from_env(|name| std::env::var(name).ok())),
        }
    }

    /// The way to a server.
    pub(crate) fn way(&self, url: Url) -> Result<Way, Failure> {
        let proxies = self.proxies()?;
        let proxy = proxies.of(&url).map(Option::<&Proxy>::cloned);
        Ok(Way {
            proxy: proxy.map_err(|error| Failure::usage(error.to_string()))?,
            url,
            timeout: self.timeout,
        })
    }

    /// The headers to send.
    pub(crate) fn headers(&self) -> Result<impl Iterator<Item = (&str, &str)>, Failure> {
        if self.headers.iter().any(|header| header.name.is_empty()) {
            return Err(Failure::usage("a header has the form 'Name: value'"));
        }
        let headers = self.headers.iter();
        let headers = headers.map(|Header { name, value }| (&**name, &**value));
        let origin = self.origin.iter().map(|origin| ("Origin", &**origin));
        Ok(headers.chain(origin))
    }

    /// Names that a user gave and that may be shown: those of headers.
    pub(crate) fn header_names(&self) -> impl Iterator<Item = &str> {
        let origin = self.origin.iter().map(|_| "Origin");
        self.headers
            .iter()
            .map(|header| &*header.name)
            .chain(origin)
    }

    /// Words of the headers' values, which a server may repeat, and what opens
    /// the proxy.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let values = self.headers.iter().map(|header| &*header.value);
        let userinfo = self.proxy.as_ref().and_then(|Hidden(url)| {
            let rest = url.split_once("://").map_or(&**url, |(_, rest)| rest);
            rest.rsplit_once('@').map(|(userinfo, _)| userinfo)
        });
        let basic = userinfo.map(|userinfo| STANDARD.encode(userinfo));
        let password = userinfo.and_then(|it| it.split_once(':'));
        let password = password.map(|(_, password)| password);
        values
            .flat_map(str::split_whitespace)
            .chain(basic.as_deref())
            .chain(password)
            .filter(|word| word.len() >= SHORTEST_SECRET)
            .map(String::from)
            .collect()
    }

    /// Why a connection did not open, without secrets the server may have repeated.
    pub(crate) fn explain(&self, error: &smartsocket_smol::Error, way: &Way) -> Failure {
        let Failure { text, code } = explain::opening(error, way);
        let text = redact(&text, &self.secrets());
        Failure { text, code }
    }

    /// What to trust and to show; `None` trusts the system's authorities and
    /// shows nothing.
    fn tls(&self) -> Result<Option<ClientTls>, Failure> {
        let mut builder = ClientTls::builder();
        if self.insecure {
            note("warning: --insecure accepts any certificate, so anybody can pose as the server");
            builder = builder.dangerous_accept_any();
        } else if let Some(ca) = &self.ca {
            builder = builder
                .root_pem(&read(ca, "--ca")?)
                .map_err(|error| Failure::new(format!("--ca {}: {error}", ca.display())))?;
        } else if self.cert.is_none() {
            return Ok(None);
        } else {
            builder = builder.roots(smartsocket_smol::roots::certificates());
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            builder = builder
                .client_certificate_pem(&read(cert, "--cert")?, &read(key, "--key")?)
                .map_err(|error| {
                    Failure::new(format!(
                        "--cert {} with --key {}: {error}",
                        cert.display(),
                        key.display()
                    ))
                })?;
        }
        let tls = builder.build().map_err(|error| {
            Failure::new(format!(
                "{error}: install ca-certificates, or give --ca FILE"
            ))
        })?;
        Ok(Some(tls))
    }
}

/// The text without these words.
pub(crate) fn redact(text: &str, secrets: &[String]) -> String {
    secrets
        .iter()
        .fold(text.to_string(), |text, secret| text.replace(secret, "***"))
}

/// Reads a file that an option names.
pub(crate) fn read(path: &Path, option: &str) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| {
        // An open set of kinds: the rest is told in the system's words.
        #[expect(clippy::wildcard_enum_match_arm)]
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".into(),
            std::io::ErrorKind::PermissionDenied => "no permission to read it".into(),
            std::io::ErrorKind::IsADirectory => "it is a directory".into(),
            _ => error.to_string(),
        };
        Failure::new(format!("{option} {}: {why}", path.display()))
    })
}
