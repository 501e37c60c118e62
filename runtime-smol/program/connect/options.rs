//! Whose protocol to speak, and as whom.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use smartsocket_smol::client::{
    Auth, Backoff, ClientConfig, Jitter, Ping, Provider, QueueConfig, Secret, SmartSocket, form,
};
use smartsocket_smol::crypt::Key;
use smartsocket_smol::http::Url;
use smartsocket_smol::{Config, Json};

use crate::explain::Failure;
use crate::providers::{About, NAMES};
use crate::target::{Address, read};
use crate::values::positive_seconds;

use super::Connect;
use super::token::{shapes, token_in};

/// What says who we are, where no option does.
const TOKEN: &str = "SMARTSOCKET_TOKEN";
/// What stands for the token in a first message.
const PLACE: &str = "{{token}}";

/// Options of a client that stays connected.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// Whose protocol to speak; see `smartsocket providers`
    #[arg(long, value_name = "NAME", group = "protocol", value_parser = NAMES)]
    provider: Option<String>,
    /// Take provider, URL and the rest from a form: JSON, as `smartsocket
    /// providers --schema` describes it. Other options come on top
    #[arg(long, value_name = "FILE", group = "protocol")]
    form: Option<PathBuf>,
    /// Say what is wrong with the form, field by field, and do not connect
    #[arg(long, requires = "form")]
    pub(super) check: bool,
    /// How to say who we are [default: as the provider's own clients do]
    #[arg(long, value_name = "HOW", requires = "protocol")]
    auth: Option<Method>,
    /// The name of the parameter or header, or the type of the first message
    #[arg(long, value_name = "NAME", requires = "auth")]
    auth_name: Option<String>,
    /// The first message; {{token}} stands for the token
    #[arg(long, value_name = "TEXT", requires = "auth")]
    auth_template: Option<String>,
    /// What says who we are: a token, API key or secret, which is not shown if
    /// it has 7 characters or more. Others on this machine
    /// see it in the list of processes: --token-file, or the environment
    /// variable SMARTSOCKET_TOKEN, keeps it from them
    #[arg(long, value_name = "TOKEN", requires = "protocol", value_parser = secret)]
    token: Option<Secret>,
    /// A file with the token; read again before each attempt
    #[arg(
        long,
        value_name = "FILE",
        requires = "protocol",
        conflicts_with = "token"
    )]
    pub(super) token_file: Option<PathBuf>,
    /// Ask for this channel; more than once for more
    #[arg(long, value_name = "CHANNEL", requires = "protocol")]
    pub(super) subscribe: Vec<String>,
    /// Send to this channel [default: the first of --subscribe]
    #[arg(long, value_name = "CHANNEL", requires = "protocol")]
    pub(super) channel: Option<String>,
    /// Send as this event [default: as `smartsocket providers NAME` tells]
    #[arg(long, value_name = "EVENT", requires = "protocol")]
    pub(super) event: Option<String>,
    /// Ask with each line, and write the answer with the time it took
    #[arg(long, requires = "protocol")]
    pub(super) request: bool,
    /// Answer this to messages that ask for an answer
    #[arg(
        long,
        value_name = "JSON",
        default_value = "null",
        requires = "protocol",
        value_parser = data
    )]
    pub(super) ack: Json,
    /// Who we are in presence channels of pusher, such as {"user_id":"7"}
    #[arg(long, value_name = "JSON", requires = "protocol", value_parser = data)]
    pub(super) member: Option<Json>,
    /// The namespace, for socketio and smartsocket
    #[arg(long, value_name = "NAME", requires = "protocol")]
    namespace: Option<String>,
    /// A file with the key of encrypted sessions, for smartsocket
    #[arg(long, value_name = "FILE", requires = "protocol")]
    key_file: Option<PathBuf>,
    /// Encrypt by a key exchange alone, without a key, for smartsocket; that
    /// keeps out who listens, but not who can change what is sent
    #[arg(long, requires = "protocol", conflicts_with = "key_file")]
    exchange: bool,
    /// End when the connection ends, or does not come about
    #[arg(long, requires = "protocol", conflicts_with_all = ["max_attempts", "reconnect_delay"])]
    no_reconnect: bool,
    /// Give up after so many attempts in a row; 0 never does [default: the
    /// provider's, with its waits]
    #[arg(long, value_name = "NUMBER", requires = "protocol")]
    max_attempts: Option<u32>,
    /// Wait about so long before the first attempt to come back; each further
    /// wait is twice as long, up to 30 s [default: the provider's waits]
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "protocol",
        value_parser = positive_seconds
    )]
    reconnect_delay: Option<Duration>,
    /// Tell figures at the end; at any time, SIGUSR1 has them told
    #[arg(long, requires = "protocol")]
    pub(super) stats: bool,
}

/// How to say who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    /// By a parameter of the URL; servers and proxies write those to their logs
    Query,
    /// By a first message
    FirstMessage,
    /// By a subprotocol, the last one offered
    Subprotocol,
    /// By a header
    Header,
    /// Not at all
    None,
}

/// What to be, all options judged.
pub(super) struct Plan {
    pub(super) provider: Provider,
    pub(super) about: &'static About,
    pub(super) config: ClientConfig,
    pub(super) url: Url,
    /// What is asked for.
    pub(super) channels: Vec<String>,
    /// Where lines go.
    pub(super) channel: Option<String>,
    /// What nobody is to see.
    pub(super) secrets: Vec<String>,
}

impl Options {
    /// Whether a provider is named.
    pub(super) const fn are_asked_for(&self) -> bool {
        self.provider.is_some() || self.form.is_some()
    }
}

impl Plan {
    /// What these options come to.
    pub(super) fn new(connect: &Connect) -> Result<Self, Failure> {
        let options = &connect.options;
        let token = options.token()?;
        let (mut provider, mut config) = match &options.form {
            Some(path) => {
                let mut form = read_form(path, token.as_ref())?;
                if let Some(address) = &connect.url {
                    form.1.url = address.as_str().into();
                }
                form
            }
            None => {
                let name = options.provider.as_deref().unwrap_or_default();
                let url = connect.url.as_ref().map_or("", Address::as_str);
                let provider = Provider::by_name(name)
                    .unwrap_or_else(|| Provider::SmartSocket(Box::default()));
                let config = provider.config(url);
                (provider, config)
            }
        };
        let about = About::of(&provider);
        options.authenticate(about, token, &mut provider, &mut config)?;
        options.encrypt(&mut provider)?;
        let namespace = options.namespaced(about, &mut provider)?;
        if options.member.is_some() && !matches!(provider, Provider::Pusher) {
            return Err(Failure::usage("--member goes with --provider pusher"));
        }
        options.come_back(&mut config);

        let url =
            Url::parse(&config.url).map_err(|error| Failure::usage(format!("bad URL: {error}")))?;
        let headers = connect.target.headers()?;
        let headers = headers.map(|(name, value)| (name.into(), Secret::from(value)));
        config.headers.extend(headers);
        let subprotocols = connect.target.subprotocols.iter().cloned();
        config.subprotocols.extend(subprotocols);
        config.connect_timeout = connect.target.timeout;
        // Lines wait here only as far as the session lets them.
        config.queue = QueueConfig {
            max_bytes: usize::MAX,
            ..QueueConfig::default()
        };
        let websocket = Config {
            max_message: connect.max_message,
            ..(*config.websocket).clone()
        };
        config.websocket = Arc::new(connect.target.websocket(url.secure(), websocket)?);
        if let Some(interval) = connect.ping_interval {
            ping(&mut config, &provider, interval);
        }

        let mut secrets = Vec::new();
        if let Some(token) = &config.token {
            secrets.extend(shapes(token.reveal()));
        }
        if let Provider::SmartSocket(own) = &provider
            && let Some(key) = &own.api_key
        {
            secrets.extend(shapes(key.reveal()));
        }
        let (channel, channels) = options.channels(&provider, namespace);
        Ok(Self {
            channel,
            provider,
            about,
            config,
            url,
            channels,
            secrets,
        })
    }
}

impl Options {
    /// The token, wherever it is.
    fn token(&self) -> Result<Option<Secret>, Failure> {
        if self.auth == Some(Method::None) {
            return Ok(None);
        }
        match (&self.token, &self.token_file) {
            (Some(token), _) => Ok(Some(token.clone())),
            (None, Some(path)) => {
                let text = String::from_utf8(read(path, "--token-file")?);
                let text = text.map_err(|_| {
                    Failure::new(format!("--token-file {}: it is no text", path.display()))
                })?;
                Ok(Some(token_in(&text)))
            }
            (None, None) => Ok(std::env::var(TOKEN).ok().map(Secret::from)),
        }
    }

    /// Says who we are.
    fn authenticate(
        &self,
        about: &About,
        token: Option<Secret>,
        provider: &mut Provider,
        config: &mut ClientConfig,
    ) -> Result<(), Failure> {
        let Some(method) = self.auth.or_else(|| token.as_ref().map(|_| about.auth)) else {
            return Ok(());
        };
        if self.form.is_some() && self.auth.is_none() {
            // The form says how.
            return Ok(());
        }
        if self.auth.is_some_and(|it| it != Method::None) && token.is_none() {
            return Err(Failure::usage(format!(
                "--auth needs a token: give it with --token-file, or in {TOKEN}"
            )));
        }
        if let Provider::SmartSocket(own) = provider
            && method == Method::None
        {
            own.api_key = token;
            return Ok(());
        }
        let name = self.auth_name.clone();
        config.auth = match method {
            Method::None => Auth::None,
            Method::Query => name.map_or_else(Auth::query, |name| Auth::Query { name }),
            Method::Subprotocol => Auth::Subprotocol,
            Method::Header => match name {
                Some(name) if !name.eq_ignore_ascii_case("authorization") => Auth::Header {
                    name,
                    prefix: String::new(),
                },
                Some(_) | None => Auth::bearer(),
            },
            Method::FirstMessage => self.first_message(name)?,
        };
        config.token = token;
        Ok(())
    }

    fn first_message(&self, name: Option<String>) -> Result<Auth, Failure> {
        let mut auth = Auth::first_message();
        if let Auth::FirstMessage { kind, template } = &mut auth {
            if let Some(name) = name {
                *kind = name;
            }
            if let Some(text) = &self.auth_template {
                if !text.contains(PLACE) {
                    let text = format!("--auth-template has no {PLACE}, so the token is not sent");
                    return Err(Failure::usage(text));
                }
                template.clone_from(text);
            }
        }
        Ok(auth)
    }

    fn encrypt(&self, provider: &mut Provider) -> Result<(), Failure> {
        if let (true, Provider::SmartSocket(own)) = (self.exchange, &mut *provider) {
            own.exchange_alone = true;
            return Ok(());
        }
        if self.exchange {
            return Err(Failure::usage(
                "--exchange goes with --provider smartsocket",
            ));
        }
        let Some(path) = &self.key_file else {
            return Ok(());
        };
        let Provider::SmartSocket(own) = provider else {
            return Err(Failure::usage(
                "--key-file goes with --provider smartsocket",
            ));
        };
        let text = String::from_utf8(read(path, "--key-file")?).unwrap_or_default();
        let key: Result<Key, _> = text.trim().parse();
        own.encryption = Some(key.map_err(|error| {
            let path = path.display();
            Failure::usage(format!(
                "--key-file {path}: {error} (`smartsocket keygen` makes one)"
            ))
        })?);
        Ok(())
    }

    /// The channel that the namespace is, where it is one.
    fn namespaced(
        &self,
        about: &About,
        provider: &mut Provider,
    ) -> Result<Option<String>, Failure> {
        let Some(name) = &self.namespace else {
            return Ok(None);
        };
        let name = if name.starts_with('/') {
            name.clone()
        } else {
            format!("/{name}")
        };
        if let Provider::SmartSocket(own) = provider {
            let SmartSocket { namespace, .. } = &mut **own;
            *namespace = name;
            return Ok(None);
        }
        if matches!(provider, Provider::SocketIo) {
            return Ok(Some(name).filter(|name| name != "/"));
        }
        let who = about.name;
        Err(Failure::usage(format!(
            "{who} has no namespaces: --namespace is for socketio and smartsocket"
        )))
    }

    /// Where lines go, and what is asked for.
    fn channels(
        &self,
        provider: &Provider,
        namespace: Option<String>,
    ) -> (Option<String>, Vec<String>) {
        // Of Socket.IO's channels, only namespaces are known to the server.
        let takes =
            |name: &&String| !matches!(provider, Provider::SocketIo) || name.starts_with('/');
        let channel = self.channel.clone().or(namespace);
        let channel = channel.or_else(|| self.subscribe.iter().find(takes).cloned());
        let mut channels = self.subscribe.clone();
        if matches!(provider, Provider::SocketIo)
            && let Some(channel) = &channel
            && !channels.contains(channel)
        {
            // Who says something there has to be there.
            channels.push(channel.clone());
        }
        (channel, channels)
    }

    fn come_back(&self, config: &mut ClientConfig) {
        if self.no_reconnect {
            config.reconnect = None;
        }
        if let Some(backoff) = &mut config.reconnect {
            if let Some(initial) = self.reconnect_delay {
                // A second of jitter would be more than a short wait itself.
                let jitter = Jitter {
                    less: 0.25,
                    more: 0.25,
                    ..Jitter::NONE
                };
                *backoff = Backoff {
                    initial,
                    jitter,
                    max_attempts: backoff.max_attempts,
                    ..Backoff::default()
                };
            }
            if let Some(most) = self.max_attempts {
                backoff.max_attempts = most;
            }
        }
    }
}

/// Pings in the provider's way, or by WebSocket where it has none.
fn ping(config: &mut ClientConfig, provider: &Provider, interval: Duration) {
    let interval = Some(interval).filter(|interval| !interval.is_zero());
    if interval.is_none() || matches!(provider, Provider::Echo) {
        Arc::make_mut(&mut config.websocket).ping_interval = interval;
    }
    config.ping = interval.map(|interval| Ping {
        interval,
        ..Ping::default()
    });
}

/// The form in a file. A token given beside it takes the place of its own.
fn read_form(
    path: &std::path::Path,
    token: Option<&Secret>,
) -> Result<(Provider, ClientConfig), Failure> {
    let wrong = |words: &str| Failure::usage(format!("--form {}: {words}", path.display()));
    let text = read(path, "--form")?;
    // What is at the place of an error may be a secret: only the place is told.
    let mut form: serde_json::Value = serde_json::from_slice(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        wrong(&format!("line {line}, column {column} is no JSON"))
    })?;
    if let (Some(token), Some(fields)) = (token, form.as_object_mut()) {
        fields.insert("authToken".into(), token.reveal().into());
    }
    let form = Json::from_value(&form).map_err(|error| wrong(&error.to_string()))?;
    form::read(&form).map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(form::Problem::to_string).collect();
        wrong(&format!("\n  {}", problems.join("\n  ")))
    })
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::from(text))
}

fn data(text: &str) -> Result<Json, String> {
    Json::parse(text.to_owned()).map_err(|_| "expected JSON, such as {\"ok\":true}".into())
}
