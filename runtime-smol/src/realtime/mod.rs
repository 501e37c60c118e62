//! The realtime server: dialects, rooms and handlers on top of a hub.
//!
//! `builder` is what an application says before it serves, `handlers` what of
//! it is called when, `shard` the loop between sockets and the hub, `socket`
//! and `io` what handlers hold.

mod builder;
mod handlers;
mod hooks;
mod io;
mod shard;
mod socket;

pub use builder::{Builder, Realtime, Routes};
pub use handlers::{EventData, EventResult};
pub use io::{Io, Remote, To};
pub use socket::{Ack, AckError, Data, Socket, WaitError};
