//! A whole connection, seen from the client: see `connection`.

use smartsocket_core::websocket::Role;

/// Plays one connection of a client.
pub fn run(data: &[u8]) {
    crate::connection::run(Role::Client, data);
}
