//! `smartsocket providers`: whose protocols `connect` speaks, and how to use
//! each of them there.

use std::fmt::Write as _;

use serde::Serialize;
use smartsocket_smol::client::Provider;
use smartsocket_smol::client::form::{self, Field, Kind};

use crate::connect::Method;
use crate::explain::Failure;
use crate::output::print;

const NOTES: &str = "\
Examples:
  smartsocket providers
  smartsocket providers socketio
  smartsocket providers --json
  smartsocket providers --schema >connection.schema.json
  smartsocket connect --form connection.json --check";

/// Options of `providers`.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Providers {
    /// Tell all about this one
    #[arg(value_name = "NAME", value_parser = NAMES)]
    name: Option<String>,
    /// Write JSON to stdout: an array, or the object of the one that is named
    #[arg(long)]
    json: bool,
    /// Write the JSON schema of connection forms, which `connect --form` takes
    #[arg(long, conflicts_with_all = ["name", "json"])]
    schema: bool,
}

/// A provider, as users meet it.
#[derive(Serialize)]
pub(crate) struct About {
    pub(crate) name: &'static str,
    /// What it is.
    about: &'static str,
    /// Where the token goes without `--auth`.
    #[serde(skip)]
    pub(crate) auth: Method,
    authentication: &'static str,
    channels: &'static str,
    events: &'static str,
    /// What a line of stdin is without `--event`.
    #[serde(skip)]
    pub(crate) line: Line,
    lines: &'static str,
    /// Whether it has answers.
    pub(crate) requests: bool,
    example: &'static str,
}

/// What a line is without an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A message as it is.
    Message,
    /// The data of this event.
    Data(&'static str),
    /// A question by itself.
    Question,
}

/// All of them, the order being that of `ALL`.
pub(crate) const NAMES: [&str; 13] = {
    let mut names = [""; 13];
    let mut at = 0;
    while at < names.len() {
        names[at] = ALL[at].name;
        at += 1;
    }
    names
};

const AS_IT_IS: &str = "sent as it is, or with --event as that event's data";

static ALL: [About; 13] = [
    About {
        name: "smartsocket",
        about: "SmartSocket, as `smartsocket serve` speaks it: events, answers both ways, \
                namespaces, encrypted sessions",
        auth: Method::None,
        authentication: "the token is the API key, sent when the connection is open (sealed, with \
                         --key-file); other ways with --auth",
        channels: "names of events; the server is not told. Rooms are joined by events of the \
                   application",
        events: "any name",
        line: Line::Data("message"),
        lines: "the data of an event 'message', or of --event",
        requests: true,
        example: "smartsocket connect --provider smartsocket ws://127.0.0.1:3000 --namespace /chat \
                  --event echo --request",
    },
    About {
        name: "socketio",
        about: "Socket.IO 3 and 4, by WebSocket alone",
        auth: Method::None,
        authentication: "the token goes where the server looks for auth.token; other ways with \
                         --auth",
        channels: "namespaces, which begin with '/'; other names are events of the main one",
        events: "any name; one with several arguments has an array as data",
        line: Line::Data("message"),
        lines: "the data of an event 'message', or of --event",
        requests: true,
        example: "smartsocket connect --provider socketio ws://127.0.0.1:3000 --token-file token \
                  --namespace /admin --event hello",
    },
    About {
        name: "custom",
        about: "JSON messages with a type, as the client of Protocol OS sends them, and any other \
                messages",
        auth: Method::FirstMessage,
        authentication: "by a first message {\"type\":\"authenticate\",\"token\":...}; its type is \
                         --auth-name, another message --auth-template",
        channels: "the field channel, or the type; the server is not told",
        events: "the field type",
        line: Line::Message,
        lines: AS_IT_IS,
        requests: true,
        example: "smartsocket connect --provider custom ws://127.0.0.1:3000 --token-file token \
                  --subscribe prices --event publish",
    },
    About {
        name: "pusher",
        about: "Pusher Channels, protocol 7, and servers that speak like it",
        auth: Method::None,
        authentication: "the key is in the URL's path; the token is the application's secret, \
                         which proves that private channels are ours",
        channels: "channels; private-... need the secret, presence-... --member as well",
        events: "client-... on private channels",
        line: Line::Data("client-message"),
        lines: "the data of an event 'client-message', or of --event",
        requests: false,
        example: "smartsocket connect --provider pusher \
                  wss://ws-eu.pusher.com/app/KEY --token-file secret --subscribe private-room",
    },
    About {
        name: "ably",
        about: "Ably realtime, in JSON",
        auth: Method::Query,
        authentication: "an API key or a token, by a parameter of the URL",
        channels: "channels, which are attached to; presence too",
        events: "names of messages",
        line: Line::Data("message"),
        lines: "the data of a message 'message', or of --event; needs a channel",
        requests: true,
        example: "smartsocket connect --provider ably wss://main.realtime.ably.net \
                  --token-file key --subscribe room --request",
    },
    About {
        name: "phoenix",
        about: "Phoenix channels, protocol 2",
        auth: Method::Query,
        authentication: "by a parameter of the URL; as Phoenix's authToken with --auth \
                         subprotocol; with each join by --auth first-message",
        channels: "topics, which are joined",
        events: "any name, with a topic",
        line: Line::Data("new_msg"),
        lines: "the data of an event 'new_msg', or of --event; needs a topic",
        requests: true,
        example: "smartsocket connect --provider phoenix ws://127.0.0.1:4000/socket \
                  --subscribe room:lobby --event new_msg",
    },
    About {
        name: "actioncable",
        about: "Action Cable of Rails (actioncable-v1-json)",
        auth: Method::Query,
        authentication: "as the application has it: by a parameter of the URL, or -H 'Cookie: \
                         ...'; servers look at --origin too",
        channels: "classes such as ChatChannel, or identifiers such as \
                   {\"channel\":\"ChatChannel\",\"room\":\"1\"}",
        events: "actions",
        line: Line::Data("receive"),
        lines: "the data of an action 'receive', or of --event; needs a channel",
        requests: false,
        example: "smartsocket connect --provider actioncable ws://127.0.0.1:3000/cable \
                  --origin http://127.0.0.1:3000 --subscribe ChatChannel --event speak",
    },
    About {
        name: "signalr",
        about: "SignalR's hub protocol of ASP.NET Core, in JSON",
        auth: Method::Query,
        authentication: "by the parameter access_token, or --auth header",
        channels: "targets to hear of, or streams: {\"target\":\"Counter\",\"arguments\":[10]}",
        events: "methods of the hub; an array is their arguments",
        line: Line::Data("Send"),
        lines: "the argument of a method 'Send', or of --event; several as a JSON array",
        requests: true,
        example: "smartsocket connect --provider signalr \
                  'wss://example.com/hub?negotiateVersion=1' --event Echo --request",
    },
    About {
        name: "graphql-ws",
        about: "GraphQL by graphql-transport-ws, the subprotocol of the library graphql-ws",
        auth: Method::FirstMessage,
        authentication: "in the payload of connection_init, which --auth-template changes; or \
                         --auth header",
        channels: "documents of subscriptions: 'subscription { greetings }'",
        events: "documents, with --event; a line is then their variables",
        line: Line::Question,
        lines: "a document of a query or mutation, whose result is written",
        requests: true,
        example: "smartsocket connect --provider graphql-ws ws://127.0.0.1:4000/graphql \
                  --subscribe 'subscription { greetings }'",
    },
    About {
        name: "subscriptions-transport-ws",
        about: "GraphQL by the older subprotocol graphql-ws, that of Apollo's library",
        auth: Method::FirstMessage,
        authentication: "as with graphql-ws",
        channels: "as with graphql-ws",
        events: "as with graphql-ws",
        line: Line::Question,
        lines: "as with graphql-ws",
        requests: true,
        example: "smartsocket connect --provider subscriptions-transport-ws \
                  ws://127.0.0.1:4000/graphql --subscribe 'subscription { greetings }'",
    },
    About {
        name: "aws-apigw",
        about: "AWS API Gateway's WebSocket APIs",
        auth: Method::Query,
        authentication: "by the parameter Authorization, or --auth header, as its authorizer has \
                         it",
        channels: "the field channel of messages; the server is not told",
        events: "actions, which choose the route",
        line: Line::Message,
        lines: AS_IT_IS,
        requests: true,
        example: "smartsocket connect --provider aws-apigw \
                  wss://ID.execute-api.eu-west-1.amazonaws.com/prod --event sendmessage",
    },
    About {
        name: "binance",
        about: "Binance's market streams",
        auth: Method::Query,
        authentication: "not needed",
        channels: "streams such as btcusdt@aggTrade",
        events: "methods; a line is their parameters",
        line: Line::Message,
        lines: AS_IT_IS,
        requests: true,
        example: "smartsocket connect --provider binance wss://stream.binance.com:9443/ws \
                  --subscribe btcusdt@aggTrade",
    },
    About {
        name: "echo",
        about: "messages as they are, with any server",
        auth: Method::Header,
        authentication: "by the header Authorization: Bearer ..., or any other way with --auth",
        channels: "none",
        events: "none",
        line: Line::Message,
        lines: "sent as it is",
        requests: false,
        example: "smartsocket connect --provider echo ws://127.0.0.1:3000/echo",
    },
];

impl About {
    /// What there is to know about a provider.
    pub(crate) fn of(provider: &Provider) -> &'static Self {
        let about = ALL.iter().find(|it| it.name == provider.name());
        about.expect("each provider is told of")
    }

    /// Why an event cannot be sent, as far as it can be told beforehand.
    pub(crate) fn refusal(&self, channel: Option<&str>, event: &str) -> Option<String> {
        let name = self.name;
        match (name, channel) {
            ("ably" | "phoenix" | "actioncable", None) => {
                Some(format!("{name} sends to channels: give one with --channel"))
            }
            ("socketio", Some(channel)) if !channel.starts_with('/') => Some(format!(
                "{name} sends to namespaces, which begin with '/': --event is for names of events"
            )),
            ("pusher", channel)
                if !event.starts_with("client-")
                    || !channel.is_some_and(|channel| {
                        channel.starts_with("private-") || channel.starts_with("presence-")
                    }) =>
            {
                Some(format!(
                    "clients of {name} may send events client-... to channels private-... and \
                     presence-..., and no others"
                ))
            }
            _ => None,
        }
    }

    /// Its names, and those of what it takes, in columns.
    fn details(&self) -> String {
        let mut text = format!("{}: {}\n", self.name, self.about);
        let requests = if self.requests {
            "--request asks, and writes answers"
        } else {
            "none"
        };
        for (name, what) in [
            ("authentication", self.authentication),
            ("channels", self.channels),
            ("events", self.events),
            ("lines of stdin", self.lines),
            ("requests", requests),
        ] {
            let _ = write!(text, "\n  {name:<15} {what}");
        }
        let _ = write!(text, "\n\nExample:\n  {}\n", self.example);
        text.push_str("\nFields of its connection form, which `connect --form FILE` takes:\n");
        for field in &form::FIELDS {
            let _ = writeln!(text, "  {:<21} {}", field.id, describe(field));
        }
        text
    }
}

/// What a field takes, its default, and what it is for.
fn describe(field: &Field) -> String {
    let takes = match field.kind {
        Kind::Url => "a URL".into(),
        Kind::Select(options) => options.join("|"),
        Kind::Secret | Kind::Text => "a text".into(),
        Kind::Number(least) => format!("a number from {least}"),
        Kind::Boolean => "true or false".into(),
    };
    let default = match field.default {
        Some(default) => format!(", default {default}"),
        None if field.required => ", required".into(),
        None => String::new(),
    };
    format!("{}: {takes}{default}", field.about)
}

impl Providers {
    /// Tells.
    pub(crate) fn run(self) -> Result<u8, Failure> {
        let one = ALL.iter().find(|it| Some(it.name) == self.name.as_deref());
        let json = |value: Result<String, serde_json::Error>| {
            let text = value.map_err(|error| Failure::new(error.to_string()))?;
            print(&(text + "\n"))
        };
        if self.schema {
            let schema: serde_json::Value = serde_json::from_str(form::schema().as_str())
                .map_err(|error| Failure::new(error.to_string()))?;
            json(serde_json::to_string_pretty(&schema))?;
        } else if let Some(one) = one {
            if self.json {
                json(serde_json::to_string_pretty(one))?;
            } else {
                print(&one.details())?;
            }
        } else if self.json {
            json(serde_json::to_string_pretty(&ALL))?;
        } else {
            let mut text = String::new();
            for About { name, about, .. } in &ALL {
                let _ = writeln!(text, "{name:<26}  {about}");
            }
            text.push_str("\n`smartsocket providers NAME` tells how to use one.\n");
            print(&text)?;
        }
        Ok(0)
    }
}

/// The commands that show how to use each.
#[cfg(test)]
pub(crate) fn examples() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|about| about.example)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_provider_is_told_of() {
        for provider in Provider::PRESETS {
            assert_eq!(About::of(&provider).name, provider.name());
        }
        let own = Provider::SmartSocket(Box::default());
        assert_eq!(About::of(&own).name, "smartsocket");
        assert_eq!(NAMES.len(), Provider::PRESETS.len() + 1);
    }
}
