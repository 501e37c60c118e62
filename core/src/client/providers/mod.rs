//! The protocols of providers, one file each.

mod echo;
mod protocol_os;
mod shared;
mod smartsocket;

use alloc::boxed::Box;

use super::protocol::Protocol;

pub use smartsocket::SmartSocket;

/// Whose protocol a client speaks.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Provider {
    /// The manager of Protocol OS: JSON messages with a type, requests by id;
    /// channels are sorted out on our side.
    #[default]
    Custom,
    /// Messages as they are.
    Echo,
    /// Events, acks, namespaces, encryption.
    SmartSocket(Box<SmartSocket>),
}

impl Provider {
    pub(super) fn protocol(self) -> Box<dyn Protocol> {
        match self {
            Self::Custom => Box::new(protocol_os::ProtocolOs::default()),
            Self::Echo => Box::new(echo::Echo),
            Self::SmartSocket(options) => Box::new(smartsocket::Peer::new(*options)),
        }
    }
}
