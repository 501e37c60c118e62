//! The protocols of providers, one file each.

mod ably;
mod action_cable;
mod aws;
mod binance;
mod echo;
mod graphql;
mod phoenix;
mod protocol_os;
mod pusher;
mod shared;
mod signalr;
mod smartsocket;
mod socket_io;

use alloc::boxed::Box;
use alloc::string::String;

use super::config::ClientConfig;
use super::protocol::Protocol;

pub use pusher::pusher_proof;
pub use smartsocket::SmartSocket;

/// Whose protocol a client speaks.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Provider {
    /// The manager of Protocol OS: JSON messages with a type, requests by id;
    /// channels are sorted out on our side.
    #[default]
    Custom,
    /// Events, acks, namespaces, encryption.
    SmartSocket(Box<SmartSocket>),
    /// Socket.IO 4 (its protocol 5), by WebSocket alone. A channel is a
    /// namespace, such as `/admin`; other names are events of the main one. The
    /// token goes where the server looks for `auth.token`; a first message that
    /// is JSON takes that place, one that begins with `42` follows as an event.
    /// A message as it is makes an event `message`. Binary data that is not an
    /// event's only argument is shown in base64.
    SocketIo,
    /// Pusher Channels (protocol 7), and servers that speak like it. Channels
    /// `private-…` and `presence-…` need a proof, which the application is
    /// asked for; with a token and no [`Auth`](super::Auth), the token is the
    /// application's secret, and private channels are proved with it. Clients
    /// may send events `client-…` to such channels, and `pusher:signin` to
    /// none.
    Pusher,
    /// Ably, in JSON: the token is an API key, or a token; by the default name
    /// of its parameter, it is told which. A request publishes, and its answer
    /// is the acknowledgement. Members that come and go are the events
    /// `presence:enter`, `presence:leave` and so on.
    Ably,
    /// Phoenix channels (`vsn=2.0.0`). A channel is a topic, which is joined;
    /// events need one. A token among the subprotocols is sent as Phoenix's
    /// `authToken`, a first message with each join. Binary answers are shown in
    /// base64.
    Phoenix,
    /// Action Cable (`actioncable-v1-json`). A channel is the identifier of a
    /// subscription, such as `{"channel":"ChatChannel","room":"1"}`, or just the
    /// name of its class. An event for it is an action, with an object as data.
    /// Servers look at the `Origin` header: one of
    /// [`ClientConfig::headers`](super::ClientConfig::headers).
    ActionCable,
    /// SignalR's hub protocol in JSON. Where the URL has `negotiateVersion`, as
    /// in `wss://example.com/hub?negotiateVersion=1`, it is negotiated first, by
    /// an HTTP request; otherwise the connection is made at once. An event is the
    /// target of an invocation, its data the array of arguments; a request's
    /// answer is the result. A channel is a target to hear of, or a stream:
    /// `{"target":"Counter","arguments":[10]}`. The default name of the
    /// parameter with the token is `access_token`.
    SignalR,
    /// GraphQL by the subprotocol `graphql-transport-ws`, that of the library
    /// `graphql-ws`. A channel is the document of a subscription, or a whole
    /// payload (`{"query":…,"variables":…}`); it is given to us when its first
    /// result comes, and its end is the event `complete`. A request is the
    /// document of a query or mutation, with its variables as data; the answer
    /// is the result.
    GraphqlTransportWs,
    /// The same by the older subprotocol `graphql-ws`, that of Apollo's library
    /// `subscriptions-transport-ws`.
    GraphqlWs,
    /// AWS API Gateway: an event is the `action` that chooses the route, and
    /// the fields of its data stand beside it. A request has an `id` besides,
    /// and its answer is a message with the same. The default name of the
    /// parameter with the token is `Authorization`. A `{"action":"ping"}` every
    /// nine minutes keeps the connection.
    AwsApiGateway,
    /// Binance's market streams: a channel is a stream, such as
    /// `btcusdt@aggTrade`; a request is a method, with its parameters as data.
    Binance,
    /// Messages as they are.
    Echo,
}

impl Provider {
    /// Those that need no options.
    pub const PRESETS: [Self; 12] = [
        Self::Custom,
        Self::SocketIo,
        Self::Pusher,
        Self::Ably,
        Self::Phoenix,
        Self::ActionCable,
        Self::SignalR,
        Self::GraphqlTransportWs,
        Self::GraphqlWs,
        Self::AwsApiGateway,
        Self::Binance,
        Self::Echo,
    ];

    /// Options for a URL, with the waits, times and limits of the provider's own
    /// clients.
    pub fn config(&self, url: impl Into<String>) -> ClientConfig {
        let mut config = ClientConfig::new(url);
        self.clone().protocol().defaults(&mut config);
        config
    }

    pub(super) fn protocol(self) -> Box<dyn Protocol> {
        match self {
            Self::Custom => Box::new(protocol_os::ProtocolOs::default()),
            Self::SmartSocket(options) => Box::new(smartsocket::Peer::new(*options)),
            Self::SocketIo => Box::new(socket_io::SocketIo::default()),
            Self::Pusher => Box::new(pusher::Pusher::default()),
            Self::Ably => Box::new(ably::Ably::default()),
            Self::Phoenix => Box::new(phoenix::Phoenix::default()),
            Self::ActionCable => Box::new(action_cable::ActionCable::default()),
            Self::SignalR => Box::new(signalr::SignalR::default()),
            Self::GraphqlTransportWs => Box::new(graphql::Graphql::transport()),
            Self::GraphqlWs => Box::new(graphql::Graphql::legacy()),
            Self::AwsApiGateway => Box::new(aws::Aws::default()),
            Self::Binance => Box::new(binance::Binance::default()),
            Self::Echo => Box::new(echo::Echo),
        }
    }
}
