//! A whole connection, seen from the server: see `connection`.

use smartsocket_core::websocket::Role;

/// Plays one connection of a server.
pub fn run(data: &[u8]) {
    crate::connection::run(Role::Server, data);
}
