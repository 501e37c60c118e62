//! The realtime server: dialects, rooms and handlers on top of a hub.
//!
//! `builder` is what an application says before it serves, `handlers` and
//! `hooks` what of it is called when, `shard` the threads between sockets and
//! the hub, `workers` the threads that call handlers, `socket` and `io` what
//! handlers hold.

mod builder;
mod handlers;
mod hooks;
mod io;
mod shard;
mod socket;
mod workers;

pub use builder::{Builder, Realtime, Routes};
pub use io::{Io, To};
pub use smartsocket_core::hub::{EventData, EventResult};
pub use socket::{Ack, AckError, Data, Socket, WaitError};
