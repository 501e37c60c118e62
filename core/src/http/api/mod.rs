//! The small HTTP API beside the WebSockets: rooms, clients, figures.
//!
//! | route | body | answer |
//! |---|---|---|
//! | `GET /websocket/rooms` | | `{"success":true,"rooms":[…],"count":n}`; with `?namespace=/chat` those of another namespace than the API's |
//! | `GET /websocket/rooms/{roomId}` | | `{"success":true,"room":{…}}` or 404 |
//! | `POST /websocket/rooms` | `{name,description?,maxConnections?}` | `{"success":true,"roomId":"…"}` |
//! | `POST /websocket/rooms/{roomId}/message` | `{message}` | `{"success":bool}` |
//! | `POST /websocket/rooms/{roomId}/join`, `/leave` | `{connectionId}` | `{"success":bool}` |
//! | `GET /websocket/clients/{connectionId}` | | `{"success":true,"client":{…}}` or 404 |
//! | `GET /websocket/clients/{connectionId}/rooms` | | `{"success":true,"rooms":[…],"count":n}` |
//! | `GET /metrics` | | JSON, or Prometheus text to who accepts only that |
//! | `GET /metrics/prometheus` | | Prometheus text |
//! | `GET /smartsocket/stats` | | SmartSocket's figures |
//! | `GET /smartsocket/poll` | | that the server is there; open to all |
//! | `GET /client.js` | | the browser client; open to all |
//!
//! An error is `{"success":false,"error":"…"}`. What a request asks for is one
//! matter ([`parse`]), what it gets another: the hub does it and picks the
//! answer of [`Reply`].

mod reply;
#[cfg(test)]
mod tests;

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use serde::Deserialize;
use serde_json::value::RawValue;
use subtle::ConstantTimeEq as _;

use super::route::segments;
use super::{Origins, Request, Response};

use crate::json::Json;
use crate::message::Utf8Bytes;

pub(crate) use reply::Reply;
use reply::with;
pub use reply::{ClientInfo, RoomInfo};

/// Who may use the HTTP API.
///
/// `Debug` does not show the token.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiConfig {
    /// Who names it in `Authorization: Bearer …` may do everything. An empty
    /// one is nobody's. Default none.
    pub token: Option<String>,
    /// Where there is no token, answer only peers on this machine, who
    /// moreover must call it by a name of its own (`localhost`, `127.0.0.1`,
    /// `[::1]`): so neither a proxy here nor a page in a browser here lets
    /// others in. Default `true`.
    pub loopback_only_without_token: bool,
    /// Pages of which other origins may use the API from a browser. With
    /// [`Origins::Any`] and no token, any page may that somebody opens on this
    /// machine. Default: none but its own.
    pub cors: Origins,
    /// The longest body, in bytes. More than
    /// [`Config::max_body`](crate::Config::max_body) never comes. Default 64 KiB.
    pub max_body: usize,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            token: None,
            loopback_only_without_token: true,
            cors: Origins::SameHost,
            max_body: 64 << 10,
        }
    }
}

impl fmt::Debug for ApiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiConfig")
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field(
                "loopback_only_without_token",
                &self.loopback_only_without_token,
            )
            .field("cors", &self.cors)
            .field("max_body", &self.max_body)
            .finish()
    }
}

/// What to do with a plain HTTP request.
#[derive(Debug)]
pub(crate) enum Api {
    /// Something else: its path is none of these.
    NotOurs,
    /// Do this, and answer by that.
    Call(ApiCall, Reply),
    /// Answer this.
    Refused(Response),
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiCall {
    /// Those of a namespace, or of the API's own.
    ListRooms {
        namespace: Option<String>,
    },
    Room(String),
    CreateRoom {
        name: String,
        description: Option<String>,
        max_connections: Option<usize>,
    },
    RoomMessage {
        room: String,
        message: String,
    },
    JoinRoom {
        room: String,
        connection: String,
    },
    LeaveRoom {
        room: String,
        connection: String,
    },
    Client(String),
    ClientRooms(String),
    Metrics {
        prometheus: bool,
    },
    Poll,
    Stats,
    ClientScript,
}

/// Understands a request of a peer (`None` for one on a Unix socket); `secure`
/// says that it came by TLS.
pub(crate) fn parse(
    request: &Request,
    config: &ApiConfig,
    peer: Option<IpAddr>,
    secure: bool,
) -> Api {
    let path = segments(request.path());
    let Some(resource) = path.as_deref().and_then(Resource::of) else {
        return Api::NotOurs;
    };
    if request.is_upgrade() {
        return Api::NotOurs;
    }
    let allows = config.cors.allows(request, secure);
    let reply = Reply::new(request, config, allows);
    if !allows {
        return Api::Refused(reply.error(403, "Origin not allowed"));
    }
    if request.method() == "OPTIONS" {
        return Api::Refused(reply.preflight(resource.methods()));
    }
    if let Err(response) = admit(&resource, request, config, peer, &reply) {
        return Api::Refused(response);
    }
    if request.body().len() > config.max_body {
        return Api::Refused(reply.error(413, "Body too large"));
    }
    let allowed = resource.methods();
    match resource.call(request) {
        Some(Ok(call)) => Api::Call(call, reply),
        Some(Err(why)) => Api::Refused(reply.error(400, why)),
        None => {
            let response = reply.error(405, "Method not allowed");
            Api::Refused(with(response, "Allow", allowed))
        }
    }
}

/// Whether the peer may ask for this.
fn admit(
    resource: &Resource<'_>,
    request: &Request,
    config: &ApiConfig,
    peer: Option<IpAddr>,
    reply: &Reply,
) -> Result<(), Response> {
    if matches!(resource, Resource::Poll | Resource::ClientScript) {
        return Ok(());
    }
    match &config.token {
        Some(token) if bears(request, token) => Ok(()),
        Some(_) => {
            let response = reply.error(401, "Unauthorized");
            Err(with(response, "WWW-Authenticate", "Bearer"))
        }
        None if config.loopback_only_without_token && !is_local(request, peer) => {
            Err(reply.error(403, "Without a token, the API is for this machine only"))
        }
        None => Ok(()),
    }
}

/// Whether the request has the token, found out in a time that does not tell
/// how much of it is right.
fn bears(request: &Request, token: &str) -> bool {
    let shown = request.headers().single("authorization").and_then(|value| {
        let (scheme, token) = value.split_at_checked("Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
    });
    !token.is_empty() && shown.is_some_and(|shown| shown.ct_eq(token.as_bytes()).into())
}

/// Whether the peer is on this machine, and means it: the name in `Host` is
/// that of the page, if a page of elsewhere was led here by its name server.
fn is_local(request: &Request, peer: Option<IpAddr>) -> bool {
    let Some(peer) = peer else {
        return true;
    };
    let named = request.authority().is_none_or(|host| {
        let address = host.host.parse::<IpAddr>();
        host.host == "localhost"
            || host.host.ends_with(".localhost")
            || address.is_ok_and(|address| address.to_canonical().is_loopback())
    });
    peer.to_canonical().is_loopback() && named
}

/// What a path names.
enum Resource<'a> {
    Rooms,
    Room(&'a str),
    Message(&'a str),
    Join(&'a str),
    Leave(&'a str),
    Client(&'a str),
    ClientRooms(&'a str),
    Metrics,
    Prometheus,
    Poll,
    Stats,
    ClientScript,
}

impl<'a> Resource<'a> {
    fn of(path: &'a [Cow<'a, str>]) -> Option<Self> {
        let path: Vec<&str> = path.iter().map(|segment| &**segment).collect();
        Some(match path[..] {
            ["websocket", "rooms"] => Self::Rooms,
            ["websocket", "rooms", room] => Self::Room(room),
            ["websocket", "rooms", room, "message"] => Self::Message(room),
            ["websocket", "rooms", room, "join"] => Self::Join(room),
            ["websocket", "rooms", room, "leave"] => Self::Leave(room),
            ["websocket", "clients", client] => Self::Client(client),
            ["websocket", "clients", client, "rooms"] => Self::ClientRooms(client),
            ["metrics"] => Self::Metrics,
            ["metrics", "prometheus"] => Self::Prometheus,
            ["smartsocket", "poll", ..] => Self::Poll,
            ["smartsocket", "stats", ..] => Self::Stats,
            ["client.js"] => Self::ClientScript,
            _ => return None,
        })
    }

    const fn methods(&self) -> &'static str {
        match self {
            Self::Rooms => "GET, HEAD, POST, OPTIONS",
            Self::Message(_) | Self::Join(_) | Self::Leave(_) => "POST, OPTIONS",
            Self::Room(_)
            | Self::Client(_)
            | Self::ClientRooms(_)
            | Self::Metrics
            | Self::Prometheus
            | Self::Poll
            | Self::Stats
            | Self::ClientScript => "GET, HEAD, OPTIONS",
        }
    }

    /// What a request wants of it, or what about its body is wrong; `None` for
    /// another method.
    fn call(self, request: &Request) -> Option<Result<ApiCall, &'static str>> {
        let is_read = matches!(request.method(), "GET" | "HEAD");
        let is_post = request.method() == "POST";
        if is_post && matches!(self, Self::Rooms) {
            return Some(Fields::with(request, create));
        }
        let post = |call: fn(&Fields<'_>, &str) -> Result<ApiCall, &'static str>, room| {
            is_post.then(|| Fields::with(request, |fields| call(fields, room)))
        };
        let call = match self {
            Self::Message(room) => return post(message, room),
            Self::Join(room) => return post(join, room),
            Self::Leave(room) => return post(leave, room),
            Self::Rooms => ApiCall::ListRooms {
                namespace: request.parameter("namespace"),
            },
            Self::Room(room) => ApiCall::Room(room.into()),
            Self::Client(client) => ApiCall::Client(client.into()),
            Self::ClientRooms(client) => ApiCall::ClientRooms(client.into()),
            Self::Metrics => ApiCall::Metrics {
                prometheus: wants_text(request),
            },
            Self::Prometheus => ApiCall::Metrics { prometheus: true },
            Self::Poll => ApiCall::Poll,
            Self::Stats => ApiCall::Stats,
            Self::ClientScript => ApiCall::ClientScript,
        };
        is_read.then_some(Ok(call))
    }
}

/// Whether the client accepts Prometheus text by name, but not JSON. (Who wants
/// JSON often takes any text as well.)
fn wants_text(request: &Request) -> bool {
    let accepts = |wanted: &[&str]| {
        let values = request.headers().get_all("accept");
        let ranges = values.flat_map(|value| value.split(|&byte| byte == b','));
        let mut types = ranges.filter_map(|range| range.split(|&byte| byte == b';').next());
        types.any(|one| {
            let one = one.trim_ascii();
            wanted
                .iter()
                .any(|wanted| one.eq_ignore_ascii_case(wanted.as_bytes()))
        })
    };
    accepts(&["text/plain", "application/openmetrics-text"]) && !accepts(&["application/json"])
}

/// What a body can hold.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Fields<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    description: Option<&'a RawValue>,
    #[serde(borrow)]
    max_connections: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    connection_id: Option<&'a RawValue>,
}

impl Fields<'_> {
    /// Reads a request's body; an empty one is one without fields.
    fn with<T>(
        request: &Request,
        read: impl FnOnce(&Fields<'_>) -> Result<T, &'static str>,
    ) -> Result<T, &'static str> {
        let body = request.body().clone();
        if body.is_empty() {
            return read(&Fields::default());
        }
        let text = Utf8Bytes::try_from(body).map_err(|_| "Body is not UTF-8")?;
        // First of all, it is held against the bounds of all JSON.
        let json = Json::parse(text).map_err(|_| "Invalid JSON")?;
        if !json.as_str().starts_with('{') {
            return Err("Body must be a JSON object");
        }
        // What is left to be wrong is a field that is there twice.
        read(&serde_json::from_str(json.as_str()).map_err(|_| "Invalid JSON")?)
    }
}

fn create(fields: &Fields<'_>) -> Result<ApiCall, &'static str> {
    let positive = |number: &usize| *number > 0;
    Ok(ApiCall::CreateRoom {
        name: text(fields.name).ok_or("Room name is required")?,
        description: (fields.description)
            .map(|text| to(text).ok_or("Description must be a string"))
            .transpose()?,
        max_connections: (fields.max_connections)
            .map(|number| to(number).filter(positive))
            .map(|number| number.ok_or("maxConnections must be a positive integer"))
            .transpose()?,
    })
}

fn message(fields: &Fields<'_>, room: &str) -> Result<ApiCall, &'static str> {
    Ok(ApiCall::RoomMessage {
        room: room.into(),
        message: text(fields.message).ok_or("Message is required")?,
    })
}

fn join(fields: &Fields<'_>, room: &str) -> Result<ApiCall, &'static str> {
    Ok(ApiCall::JoinRoom {
        room: room.into(),
        connection: connection(fields)?,
    })
}

fn leave(fields: &Fields<'_>, room: &str) -> Result<ApiCall, &'static str> {
    Ok(ApiCall::LeaveRoom {
        room: room.into(),
        connection: connection(fields)?,
    })
}

fn connection(fields: &Fields<'_>) -> Result<String, &'static str> {
    text(fields.connection_id).ok_or("Connection ID is required")
}

/// A text with something in it.
fn text(value: Option<&RawValue>) -> Option<String> {
    to(value?).filter(|text: &String| !text.trim().is_empty())
}

fn to<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}
