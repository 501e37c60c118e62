//! The client of either runtime, by the names both have.

use std::cell::RefCell;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use smartsocket_core::client::{
    AckTicket, ClientConfig, ClientStats, ConnectError, Event, Incoming, Payload, Priority,
    Provider, RequestError, State,
};
use smartsocket_core::{Json, Message};
use smartsocket_smol::block_on;

use crate::servers::PATIENCE;

/// Where a client runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Runtime {
    Smol,
    Std,
}

/// A client, and all that it told.
pub(crate) struct Client {
    kind: Kind,
    events: RefCell<Vec<Event>>,
}

enum Kind {
    Smol {
        client: Option<smartsocket_smol::client::Client>,
        events: Box<dyn Fn() -> Option<Event>>,
        driver: Option<JoinHandle<()>>,
    },
    Std {
        client: smartsocket_std::client::Client,
        events: smartsocket_std::client::Events,
    },
}

/// What comes by a channel.
pub(crate) enum Subscription {
    Smol(RefCell<smartsocket_smol::client::Subscription>),
    Std(smartsocket_std::client::Subscription),
}

/// Asks again and again: some of it can only be looked at.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "no {what} in time");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The same call on either.
macro_rules! either {
    ($self:ident, $client:ident => $call:expr) => {
        match &$self.kind {
            Kind::Smol {
                client: Some($client),
                ..
            } => $call,
            Kind::Smol { client: None, .. } => unreachable!("it is there until it is dropped"),
            Kind::Std {
                client: $client, ..
            } => $call,
        }
    };
}

/// The same, which is a future on smol.
macro_rules! wait {
    ($self:ident, $client:ident => $call:expr) => {
        match &$self.kind {
            Kind::Smol {
                client: Some($client),
                ..
            } => block_on($call),
            Kind::Smol { client: None, .. } => unreachable!("it is there until it is dropped"),
            Kind::Std {
                client: $client, ..
            } => $call,
        }
    };
}

/// What an application gives when it is asked.
pub(crate) type TokenHook = fn(attempt: usize) -> String;
pub(crate) type ProofHook = fn(channel: &str, socket: &str) -> Option<Json>;

impl Client {
    pub(crate) fn new(runtime: Runtime, provider: Provider, config: ClientConfig) -> Self {
        Self::with_hooks(runtime, provider, config, None, None)
    }

    pub(crate) fn with_hooks(
        runtime: Runtime,
        provider: Provider,
        config: ClientConfig,
        token: Option<TokenHook>,
        proof: Option<ProofHook>,
    ) -> Self {
        let mut attempt = 0;
        let mut next = move |hook: TokenHook| {
            attempt += 1;
            hook(attempt)
        };
        let kind = match runtime {
            Runtime::Smol => {
                use smartsocket_smol::client::Client;
                let mut builder = Client::builder(provider, "").config(|it| *it = config);
                if let Some(hook) = token {
                    builder = builder.token_hook(move || std::future::ready(Some(next(hook))));
                }
                if let Some(hook) = proof {
                    builder = builder.proof_hook(move |channel, socket| {
                        std::future::ready(hook(channel, socket))
                    });
                }
                let (client, driver) = builder.build().unwrap();
                let events = client.events();
                Kind::Smol {
                    client: Some(client),
                    events: Box::new(move || events.try_recv().ok()),
                    driver: Some(thread::spawn(|| block_on(driver))),
                }
            }
            Runtime::Std => {
                use smartsocket_std::client::Client;
                let mut builder = Client::builder(provider, "").config(|it| *it = config);
                if let Some(hook) = token {
                    builder = builder.token_hook(move || Some(next(hook)));
                }
                if let Some(hook) = proof {
                    builder = builder.proof_hook(hook);
                }
                let client = builder.start().unwrap();
                let events = client.events();
                Kind::Std { client, events }
            }
        };
        Self {
            kind,
            events: RefCell::default(),
        }
    }

    pub(crate) fn connect(&self) -> Result<(), ConnectError> {
        wait!(self, client => client.connect())
    }

    pub(crate) fn disconnect(&self) {
        wait!(self, client => client.disconnect());
        assert_eq!(self.state(), State::Disconnected);
    }

    pub(crate) fn state(&self) -> State {
        either!(self, client => client.state())
    }

    pub(crate) fn stats(&self) -> ClientStats {
        either!(self, client => client.stats())
    }

    pub(crate) fn subscribe(&self, channel: &str) -> Subscription {
        match &self.kind {
            Kind::Smol { client, .. } => {
                let client = client.as_ref().unwrap();
                Subscription::Smol(RefCell::new(client.subscribe(channel)))
            }
            Kind::Std { client, .. } => Subscription::Std(client.subscribe(channel)),
        }
    }

    pub(crate) fn publish(&self, channel: Option<&str>, event: &str, data: &Value) {
        either!(self, client => client
            .publish(channel, event, data, Priority::Normal)
            .unwrap());
    }

    pub(crate) fn send(&self, message: impl Into<Message>) {
        let message = message.into();
        either!(self, client => client.send(message));
    }

    pub(crate) fn ask(
        &self,
        channel: Option<&str>,
        event: &str,
        data: &Value,
    ) -> Result<Json, RequestError> {
        wait!(self, client => client.request(channel, event, data, None))
    }

    pub(crate) fn acknowledge(&self, ticket: AckTicket, data: &Value) {
        either!(self, client => client.acknowledge(ticket, data).unwrap());
    }

    /// The next event that is there.
    fn event(&self) -> Option<Event> {
        match &self.kind {
            Kind::Smol { events, .. } => events(),
            Kind::Std { events, .. } => events.recv_timeout(Duration::ZERO),
        }
    }

    /// Waits for an event that was not waited for before, among those that
    /// came after the last of these.
    pub(crate) fn hear<T>(&self, what: &str, wanted: impl Fn(&Event) -> Option<T>) -> T {
        until(what, || {
            let event = self.event()?;
            let found = wanted(&event);
            self.events.borrow_mut().push(event);
            found
        })
    }

    pub(crate) fn becomes(&self, state: State) {
        self.hear(state.as_str(), |event| {
            matches!(event, Event::State(it) if *it == state).then_some(())
        });
    }

    pub(crate) fn is_subscribed(&self, channel: &str) {
        self.hear(channel, |event| match event {
            Event::Subscribed(it) => (it.as_str() == channel).then_some(()),
            Event::SubscriptionRefused(it, words) if it.as_str() == channel => panic!("{words}"),
            _ => None,
        });
    }

    /// Nothing that it told so far, itself included, shows this.
    pub(crate) fn tells_nothing_of(&self, secret: &str) {
        let told = format!("{:?}", self.events.borrow());
        assert!(!told.contains(secret), "{told}");
        let shown = either!(self, client => format!("{client:?}"));
        assert!(!shown.contains(secret), "{shown}");
    }

    /// Why a channel is refused.
    pub(crate) fn is_refused(&self, channel: &str) -> String {
        self.hear("refusal", |event| match event {
            Event::SubscriptionRefused(it, words) => {
                (it.as_str() == channel).then(|| words.to_string())
            }
            _ => None,
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if thread::panicking() {
            let more: Vec<_> = std::iter::from_fn(|| self.event()).collect();
            eprintln!("{:?}, then {more:?}", self.events.borrow());
            return;
        }
        if let Kind::Smol { client, driver, .. } = &mut self.kind {
            // The last handle ends the driver.
            drop(client.take());
            driver.take().unwrap().join().unwrap();
        }
    }
}

impl Subscription {
    pub(crate) fn next(&self) -> Incoming {
        match self {
            Self::Smol(it) => until("message", || it.borrow_mut().try_next()),
            Self::Std(it) => it.recv_timeout(PATIENCE).expect("a message in time"),
        }
    }

    /// The data of the next message.
    pub(crate) fn json(&self) -> String {
        data(&self.next())
    }
}

pub(crate) fn data(incoming: &Incoming) -> String {
    match &incoming.data {
        Payload::Json(json) => json.to_string(),
        Payload::Message(message) => message.as_text().expect("text").to_owned(),
    }
}
