//! WebSocket server and client.
