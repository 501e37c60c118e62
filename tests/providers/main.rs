//! Clients of both runtimes against the servers of each provider: the provider's
//! own where it can be installed, otherwise scripts which the provider's own
//! client was shown to take for one. All are processes of their own, so that
//! they can be killed.
//!
//! `tests/setup` installs the servers (`tests/interop/providers`), and `run.sh`
//! runs this. Without a server nothing is skipped: it fails.

#![allow(missing_docs, clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod ably;
mod action_cable;
mod certificates;
mod graphql;
mod ours;
mod phoenix;
mod plain;
mod pusher;
mod runtimes;
mod servers;
mod services;
mod signalr;
mod smartsocket;
mod socket_io;
mod survival;

use runtimes::Runtime;

/// One test for each runtime.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn smol() {
                super::$name(crate::Runtime::Smol);
            }

            #[test]
            fn std() {
                super::$name(crate::Runtime::Std);
            }
        }
    )+};
}
pub(crate) use on_both;
