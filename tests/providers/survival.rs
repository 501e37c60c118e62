//! The story that is told of every provider: in, heard, answered, killed, and
//! all of it again.

use std::time::Duration;

use serde_json::{Value, json};
use smartsocket_core::client::{Auth, Backoff, ClientConfig, Jitter, Provider, Secret, State};

use crate::runtimes::{Client, Runtime, data};
use crate::servers::{Server, TOKEN};

/// What is different from provider to provider.
pub(crate) struct Case {
    pub(crate) script: &'static str,
    pub(crate) provider: Provider,
    /// Path and query of the URL.
    pub(crate) path: &'static str,
    pub(crate) auth: Auth,
    pub(crate) options: fn(&mut ClientConfig),
    /// What is subscribed to, by the name that the server tells.
    pub(crate) channel: &'static str,
    pub(crate) told_as: Option<&'static str>,
    /// Whether the client learns by a message that a channel is its own.
    pub(crate) confirmed: bool,
    /// How to say a text to the server.
    pub(crate) say: fn(&Client, &str),
    /// What of a message is what the server sent.
    pub(crate) news: fn(Value) -> Value,
    /// A question and its answer.
    pub(crate) ask: Option<Ask>,
    /// What of an answer is the same each time.
    pub(crate) answer: fn(Value) -> Value,
    /// Whether the provider's own client has to be shown the server.
    pub(crate) scripted: bool,
}

pub(crate) struct Ask {
    pub(crate) channel: Option<&'static str>,
    pub(crate) event: &'static str,
    pub(crate) data: fn() -> Value,
    pub(crate) answer: fn() -> Value,
}

impl Case {
    pub(crate) fn new(script: &'static str, provider: Provider) -> Self {
        Self {
            script,
            provider,
            path: "/",
            auth: Auth::None,
            options: |_| {},
            channel: "*",
            told_as: None,
            confirmed: false,
            say: |client, text| client.publish(None, "say", &json!({ "text": text })),
            news: |data| data,
            ask: None,
            answer: |answer| answer,
            scripted: false,
        }
    }

    pub(crate) fn client(&self, runtime: Runtime, server: &Server) -> Client {
        self.client_with(runtime, server, |_| {})
    }

    pub(crate) fn client_with(
        &self,
        runtime: Runtime,
        server: &Server,
        change: impl Fn(&mut ClientConfig),
    ) -> Client {
        let config = self.config(server, change);
        Client::new(runtime, self.provider.clone(), config)
    }

    pub(crate) fn config(
        &self,
        server: &Server,
        change: impl Fn(&mut ClientConfig),
    ) -> ClientConfig {
        let mut config = self.provider.config(server.url(self.path));
        config.auth = self.auth.clone();
        config.token = Some(Secret::from(TOKEN));
        config.reconnect = Some(backoff());
        (self.options)(&mut config);
        change(&mut config);
        config
    }

    /// The story.
    pub(crate) fn survives(&self, runtime: Runtime) {
        let mut server = Server::start(self.script);
        if self.scripted {
            server.convinces_the_official_client();
        }
        let client = self.client(runtime, &server);
        client.connect().unwrap();
        assert_eq!(client.state(), State::Authenticated);
        server.hear("in ");
        client.becomes(State::Authenticated);
        let subscription = client.subscribe(self.channel);
        let hears = |server: &mut Server, text: &str| {
            server.tell(&format!("push {text}"));
            let incoming = loop {
                let incoming = subscription.next();
                if data(&incoming).contains(text) {
                    break incoming;
                }
            };
            let value = serde_json::from_str(&data(&incoming)).unwrap();
            assert_eq!((self.news)(value), json!({ "text": text }));
        };
        self.subscribed(&mut server);
        hears(&mut server, "one");
        if self.confirmed {
            client.is_subscribed(self.channel);
        }
        (self.say)(&client, "two");
        assert_eq!(server.hear("said "), "two");
        self.asks(&client);

        let grave = server.kill();
        client.becomes(State::Reconnecting);
        let queued = client.stats().queued;
        (self.say)(&client, "three");
        assert_eq!(client.stats().queued, queued + 1);
        let mut server = grave.revive();
        server.hear("in ");
        client.becomes(State::Authenticated);
        self.subscribed(&mut server);
        if server.count("said three") == 0 {
            assert_eq!(server.hear("said "), "three");
        }
        hears(&mut server, "four");
        if self.confirmed {
            client.is_subscribed(self.channel);
        }
        self.asks(&client);
        (self.say)(&client, "five");
        assert_eq!(server.hear("said "), "five");
        assert_eq!(server.count("said three"), 1);
        assert_eq!(server.count("said two"), 0);
        let stats = client.stats();
        assert_eq!((stats.queued, stats.dropped), (0, 0));
        assert!(stats.reconnect_attempts >= 1);
        client.disconnect();
        server.is_content();
    }

    fn subscribed(&self, server: &mut Server) {
        if let Some(name) = self.told_as {
            assert_eq!(server.hear("subscribed "), name);
        }
    }

    fn asks(&self, client: &Client) {
        if let Some(ask) = &self.ask {
            let answer = client.ask(ask.channel, ask.event, &(ask.data)()).unwrap();
            let answer: Value = serde_json::from_str(answer.as_str()).unwrap();
            assert_eq!((self.answer)(answer), (ask.answer)());
        }
    }

    /// Without the right token nobody gets in; why, which does not tell it.
    pub(crate) fn refuses(&self, runtime: Runtime) -> String {
        self.refuses_with(runtime, "not-the-token")
    }

    /// The same, with a token of one's own.
    pub(crate) fn refuses_with(&self, runtime: Runtime, token: &str) -> String {
        let server = Server::start(self.script);
        let client = self.client_with(runtime, &server, |config| {
            config.token = Some(Secret::from(token));
        });
        let error = client.connect().unwrap_err();
        assert!(!error.will_retry(), "{error}");
        client.becomes(State::Error);
        client.tells_nothing_of(token);
        error.to_string()
    }
}

/// A server that was killed is soon there again.
pub(crate) fn backoff() -> Backoff {
    Backoff {
        initial: Duration::from_millis(50),
        cap: Duration::from_millis(200),
        jitter: Jitter::NONE,
        max_attempts: 0,
        ..Backoff::default()
    }
}
