//! The HTTP/1.1 part of the protocol: heads, and the upgrade of RFC 6455 §4 in both roles.
//!
//! Heads are read strictly, because a head that two programs read differently is how requests are
//! smuggled: no folded lines, no bare CR or LF, no space before a colon. Whatever is written was
//! checked when the caller handed it in, so no caller string can start a header of its own.

mod api;
mod extension;
mod head;
mod headers;
mod origin;
mod request;
mod response;
mod route;
mod upgrade;
mod url;

pub use api::{ApiConfig, ClientInfo, RoomInfo};
pub use head::{HeadError, HeadLimits};
pub use headers::{Headers, InvalidHeader};
pub use origin::Origins;
pub use request::Request;
pub use response::Response;
pub use route::{Params, Pattern, PatternError, Router, Taken};
pub use upgrade::{HandshakeError, UpgradeRequest};
pub use url::{Url, UrlError};

pub(crate) use api::{Api, ApiCall, Reply, parse as parse_api};
pub(crate) use extension::Extension;
#[cfg(feature = "internals")]
pub(crate) use extension::parse_extensions;
pub(crate) use head::{HeadKind, HeadReader};
pub(crate) use upgrade::{
    Upgrade, check_response, choose_subprotocol, encode_key, encode_switching_protocols,
    switching_protocols, upgrade,
};
pub(crate) use url::{Authority, percent_decode};
