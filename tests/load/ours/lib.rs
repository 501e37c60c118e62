//! What our realtime servers have in common: `PORT`, and their routes.

use std::time::Duration;

use smartsocket_core::RateLimit;
use smartsocket_core::hub::Route;

/// The room that everybody meets in.
pub const ROOM: &str = "lobby";

/// Connections at a time.
pub const CONNECTIONS: usize = 100_000;

/// Where to listen.
///
/// # Errors
///
/// The first argument is no port.
pub fn address() -> Result<(&'static str, u16), String> {
    let port = std::env::args().nth(1).ok_or("no port")?;
    let port = port.parse().map_err(|error| format!("{port}: {error}"))?;
    Ok(("127.0.0.1", port))
}

/// Events, at `/`. There is a rate limit, as there is by default, which nobody
/// reaches.
#[must_use]
pub fn events() -> Route {
    let mut route = patient(Route::smartsocket("/"));
    route.rate = Some(RateLimit::new(u32::MAX, Duration::from_secs(60)));
    route
}

/// Who gets what is published, as it is.
#[must_use]
pub fn subscribers() -> Route {
    let mut route = patient(Route::raw("/sub"));
    route.default_rooms = vec![ROOM.into()];
    route
}

/// Who publishes.
#[must_use]
pub fn publishers() -> Route {
    patient(Route::raw("/pub"))
}

/// The load generator is asked for no sign of life.
fn patient(mut route: Route) -> Route {
    route.heartbeat = Default::default();
    route.websocket.ping_interval = None;
    route
}
