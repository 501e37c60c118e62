//! RNode's callbacks, by their names.

use std::sync::Arc;

use smartsocket_core::hub::{EventData, EventResult, Interest};

use super::builder::Routes;

/// RNode's fourteen callbacks. Each is told what happened before it does, and
/// decides whether it does; one that takes longer than
/// [`HubConfig::handler_timeout`](smartsocket_core::hub::HubConfig::handler_timeout)
/// or panics cancels it.
impl Routes {
    /// RNode's `onConnect` (RN-14): may this client connect?
    pub fn on_connect<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(EventData) -> EventResult + Send + Sync + 'static,
    {
        self.hook(Interest::CONNECT, handler)
    }

    /// RNode's `onMessage` (RN-15).
    pub fn on_message<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(EventData) -> EventResult + Send + Sync + 'static,
    {
        self.hook(Interest::EVENT, handler)
    }

    /// RNode's `onClose` (RN-16).
    pub fn on_close<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(EventData) -> EventResult + Send + Sync + 'static,
    {
        self.hook(Interest::CLOSED, handler)
    }

    /// RNode's `onError` (RN-17): a client sent too much.
    pub fn on_error<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(EventData) -> EventResult + Send + Sync + 'static,
    {
        self.hook(Interest::RATE_LIMITED, handler)
    }

    /// RNode's `onJoinRoom` (RN-18).
    pub fn on_join_room<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(EventData) -> EventResult + Send + Sync + 'static,
    {
        self.hook(Interest::JOIN, handler)
    }

    /// RNode's `onLeaveRoom` (RN-19).
    pub fn on_leave_room<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(EventData) -> EventResult + Send + Sync + 'static,
    {
        self.hook(Interest::LEAVE, handler)
    }

    /// RNode's `onPing` (RN-20).
    pub fn on_ping<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(EventData) -> EventResult + Send + Sync + 'static,
    {
        self.hook(Interest::PING, handler)
    }

    /// RNode's `onPong` (RN-21).
    pub fn on_pong<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(EventData) -> EventResult + Send + Sync + 'static,
    {
        self.hook(Interest::PONG, handler)
    }

    /// RNode's `onBinaryMessage` (RN-22).
    pub fn on_binary_message<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(EventData) -> EventResult + Send + Sync + 'static,
    {
        self.hook(Interest::BINARY, handler)
    }

    /// RNode's `onWelcome` (RN-23).
    pub fn on_welcome<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(EventData) -> EventResult + Send + Sync + 'static,
    {
        self.hook(Interest::WELCOME, handler)
    }

    /// RNode's `onMessageAck` (RN-24).
    pub fn on_message_ack<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(EventData) -> EventResult + Send + Sync + 'static,
    {
        self.hook(Interest::MESSAGE_ACK, handler)
    }

    /// RNode's `onRoomMessage` (RN-25).
    pub fn on_room_message<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(EventData) -> EventResult + Send + Sync + 'static,
    {
        self.hook(Interest::ROOM_MESSAGE, handler)
    }

    /// RNode's `onDirectMessage` (RN-26).
    pub fn on_direct_message<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(EventData) -> EventResult + Send + Sync + 'static,
    {
        self.hook(Interest::DIRECT, handler)
    }

    /// RNode's `onServerError` (RN-27): a client is about to be told of an
    /// error.
    pub fn on_server_error<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(EventData) -> EventResult + Send + Sync + 'static,
    {
        self.hook(Interest::ERROR, handler)
    }

    fn hook<H>(&mut self, interest: Interest, handler: H) -> &mut Self
    where
        H: Fn(EventData) -> EventResult + Send + Sync + 'static,
    {
        self.handlers.hooks.insert(interest, Arc::new(handler));
        self
    }
}
