//! Ignis's names and numbers.

/// An enum of names on the wire, with what the reference's sets can do.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$about])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// What a name on the wire stands for; case counts.
            pub fn parse(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// Whether this is one of the names.
            pub fn is_valid(name: &str) -> bool {
                Self::parse(name).is_some()
            }
        }
    };
}

names! {
    /// The events with a meaning of their own. Every other name is the
    /// application's.
    Event {
        /// From a client: its credentials.
        Authenticate = "authenticate",
        /// To a client: the credentials were accepted.
        Connected = "connected",
        /// Reserved; never sent.
        Disconnect = "disconnect",
        /// From a client: into rooms.
        Join = "join",
        /// From a client: out of rooms.
        Leave = "leave",
        /// To a client: something went wrong.
        Error = "error",
        /// From a client: it lives.
        Heartbeat = "heartbeat",
        /// Another event, encrypted.
        Encrypted = "encrypted",
    }
}

names! {
    /// For whom a message between servers is.
    MessageType {
        /// One client.
        Client = "client",
        /// Every client of a user.
        User = "user",
        /// The members of a room.
        Room = "room",
        /// Every authenticated client.
        Broadcast = "broadcast",
    }
}

names! {
    /// How far a client has come.
    ClientState {
        /// Connected, and nothing more.
        Unauthorized = "unauthorized",
        /// Its credentials are being looked at.
        Authenticating = "authenticating",
        /// Its credentials were accepted.
        Authenticated = "authenticated",
        /// Gone.
        Disconnected = "disconnected",
    }
}

/// The names of Redis channels between servers.
pub mod channels {
    use alloc::format;
    use alloc::string::String;

    /// For every authenticated client of every server.
    pub const BROADCAST: &str = "ws:broadcast";
    /// Begins the channel of a room.
    pub const ROOM_PREFIX: &str = "ws:room:";
    /// Begins the channel of a client.
    pub const CLIENT_PREFIX: &str = "ws:client:";
    /// Begins the channel of a user.
    pub const USER_PREFIX: &str = "ws:user:";
    /// Subscribes to all rooms, by `PSUBSCRIBE`.
    pub const ROOM_PATTERN: &str = "ws:room:*";
    /// Subscribes to all clients, by `PSUBSCRIBE`.
    pub const CLIENT_PATTERN: &str = "ws:client:*";
    /// Subscribes to all users, by `PSUBSCRIBE`.
    pub const USER_PATTERN: &str = "ws:user:*";

    /// The channel of a room.
    pub fn for_room(room: &str) -> String {
        format!("{ROOM_PREFIX}{room}")
    }

    /// The channel of a client.
    pub fn for_client(client_id: &str) -> String {
        format!("{CLIENT_PREFIX}{client_id}")
    }

    /// The channel of a user.
    pub fn for_user(user_id: &str) -> String {
        format!("{USER_PREFIX}{user_id}")
    }
}

/// What an Ignis server does where it is not told otherwise.
pub mod defaults {
    use core::time::Duration;

    /// Where the WebSocket is.
    pub const PATH: &str = "/ws";
    /// A room that every authenticated client is in.
    pub const ROOM: &str = "ws-default";
    /// The other room that every authenticated client is in.
    pub const NOTIFICATION_ROOM: &str = "ws-notification";
    /// The topic of a broadcast inside one server.
    pub const BROADCAST_TOPIC: &str = "ws:internal:broadcast";
    /// The longest message of a client, in bytes.
    pub const MAX_PAYLOAD_LENGTH: usize = 128 * 1024;
    /// Silence on the transport, pongs included, that ends a connection.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
    /// Unsent bytes from which a client counts as slow.
    pub const BACKPRESSURE_LIMIT: usize = 1024 * 1024;
    /// Whether the transport sends pings.
    pub const SEND_PINGS: bool = true;
    /// Whether what a client publishes comes back to itself.
    pub const PUBLISH_TO_SELF: bool = false;
    /// How long a client may take to send its credentials. While they are
    /// looked at it is three times as long.
    pub const AUTH_TIMEOUT: Duration = Duration::from_secs(5);
    /// How often silent clients are looked for.
    pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);
    /// How long an authenticated client may send no message.
    pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(90);
    /// How many messages are encrypted at a time.
    pub const ENCRYPTED_BATCH_LIMIT: usize = 10;
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::time::Duration;

    use super::*;

    #[test]
    fn names_are_those_of_the_reference() {
        let events: Vec<_> = Event::ALL.iter().map(|event| event.as_str()).collect();
        assert_eq!(
            events,
            [
                "authenticate",
                "connected",
                "disconnect",
                "join",
                "leave",
                "error",
                "heartbeat",
                "encrypted"
            ]
        );
        let types: Vec<_> = MessageType::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(types, ["client", "user", "room", "broadcast"]);
        let states: Vec<_> = ClientState::ALL.iter().map(|is| is.as_str()).collect();
        assert_eq!(
            states,
            [
                "unauthorized",
                "authenticating",
                "authenticated",
                "disconnected"
            ]
        );
    }

    #[test]
    fn a_name_is_valid_when_it_is_one_of_them() {
        for event in Event::ALL {
            assert_eq!(Event::parse(event.as_str()), Some(*event));
        }
        for kind in MessageType::ALL {
            assert_eq!(MessageType::parse(kind.as_str()), Some(*kind));
        }
        for state in ClientState::ALL {
            assert_eq!(ClientState::parse(state.as_str()), Some(*state));
        }
        assert!(Event::is_valid("authenticate") && !Event::is_valid("invalid"));
        assert!(MessageType::is_valid("room") && !MessageType::is_valid("Room"));
        assert!(ClientState::is_valid("authenticated") && !ClientState::is_valid(""));
    }

    #[test]
    fn channels_are_those_of_the_reference() {
        assert_eq!(channels::BROADCAST, "ws:broadcast");
        assert_eq!(channels::for_room("r1"), "ws:room:r1");
        assert_eq!(channels::for_client("c"), "ws:client:c");
        assert_eq!(channels::for_user("u1"), "ws:user:u1");
        assert_eq!(channels::for_room("*"), channels::ROOM_PATTERN);
        assert_eq!(channels::for_client("*"), channels::CLIENT_PATTERN);
        assert_eq!(channels::for_user("*"), channels::USER_PATTERN);
    }

    #[test]
    fn defaults_are_those_of_the_reference() {
        assert_eq!(defaults::PATH, "/ws");
        assert_eq!(defaults::ROOM, "ws-default");
        assert_eq!(defaults::NOTIFICATION_ROOM, "ws-notification");
        assert_eq!(defaults::BROADCAST_TOPIC, "ws:internal:broadcast");
        assert_eq!(defaults::MAX_PAYLOAD_LENGTH, 131_072);
        assert_eq!(defaults::IDLE_TIMEOUT, Duration::from_secs(60));
        assert_eq!(defaults::BACKPRESSURE_LIMIT, 1_048_576);
        assert_eq!(
            (defaults::SEND_PINGS, defaults::PUBLISH_TO_SELF),
            (true, false)
        );
        assert_eq!(defaults::AUTH_TIMEOUT, Duration::from_millis(5_000));
        assert_eq!(defaults::HEARTBEAT_INTERVAL, Duration::from_millis(30_000));
        assert_eq!(defaults::HEARTBEAT_TIMEOUT, Duration::from_millis(90_000));
        assert_eq!(defaults::ENCRYPTED_BATCH_LIMIT, 10);
    }
}
