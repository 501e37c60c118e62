//! What Ignis's servers and emitters say to each other over Redis.

use alloc::string::String;
use alloc::vec::Vec;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::object::{self, Object};
use super::{MessageType, channels};
use crate::json::Json;
use crate::message::Utf8Bytes;

/// An event on its way to the clients of other servers.
///
/// ```
/// use smartsocket_core::Json;
/// use smartsocket_core::dialect::ignis::{Destination, Envelope};
///
/// let envelope = Envelope {
///     server_id: "emitter".into(),
///     to: Destination::User("u1".into()),
///     event: "eu".into(),
///     data: Some(Json::parse(r#"{"z":1}"#).unwrap()),
///     exclude: vec![],
/// };
/// assert_eq!(envelope.to.channel(), "ws:user:u1");
/// let text = envelope.encode();
/// assert_eq!(
///     text,
///     r#"{"serverId":"emitter","type":"user","target":"u1","event":"eu","data":{"z":1}}"#
/// );
/// assert_eq!(Envelope::decode(text), Some(envelope));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Who sent it. A server leaves its own alone; emitters are `emitter`.
    pub server_id: Utf8Bytes,
    /// For whom it is.
    pub to: Destination,
    /// The name of the event.
    pub event: Utf8Bytes,
    /// What it carries.
    pub data: Option<Json>,
    /// The ids of clients that do not get it, in a room or a broadcast.
    pub exclude: Vec<Utf8Bytes>,
}

/// For whom an [`Envelope`] is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// The client of this id.
    Client(Utf8Bytes),
    /// Every client of the user of this id.
    User(Utf8Bytes),
    /// The members of the room of this name.
    Room(Utf8Bytes),
    /// Every authenticated client.
    Broadcast,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(rename = "serverId")]
    server_id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    target: Option<&'a RawValue>,
    event: String,
    #[serde(borrow, default, deserialize_with = "object::present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    exclude: Option<&'a RawValue>,
}

impl Envelope {
    /// What goes to the channel [`Destination::channel`].
    pub fn encode(&self) -> String {
        let exclude = (!self.exclude.is_empty()).then(|| {
            let names: Vec<&str> = self.exclude.iter().map(Utf8Bytes::as_str).collect();
            // Strings always have a JSON form.
            serde_json::to_string(&names).unwrap_or_default()
        });
        Object::new()
            .text("serverId", &self.server_id)
            .text("type", self.to.kind().as_str())
            .maybe("target", self.to.target(), Object::text)
            .text("event", &self.event)
            .maybe("data", self.data.as_ref().map(Json::as_str), Object::json)
            .maybe("exclude", exclude.as_deref(), Object::json)
            .finish()
    }

    /// What a message of a channel says. The body tells for whom it is; the
    /// channel does not count.
    ///
    /// `None` where Ignis's servers would do nothing: it is no JSON object with
    /// strings `serverId` and `event`, is for nobody known, or its `data`
    /// exceeds the bounds of [`Json`].
    pub fn decode(message: impl Into<Utf8Bytes>) -> Option<Self> {
        let message = message.into();
        let fields: Fields<'_> = object::read(&message)?;
        let target = || {
            let name: String = serde_json::from_str(fields.target?.get()).ok()?;
            Some(name.into()).filter(|name: &Utf8Bytes| !name.is_empty())
        };
        let to = match MessageType::parse(&fields.kind)? {
            MessageType::Client => Destination::Client(target()?),
            MessageType::User => Destination::User(target()?),
            MessageType::Room => Destination::Room(target()?),
            MessageType::Broadcast => Destination::Broadcast,
        };
        // Checked alone: what one server may send, the envelope around it must
        // not push over the bounds.
        let data = fields.data.map(|raw| Json::parse(message.slice(raw.get())));
        let exclude = fields
            .exclude
            .and_then(|raw| serde_json::from_str(raw.get()).ok());
        let exclude: Vec<&RawValue> = exclude.unwrap_or_default();
        Some(Self {
            to,
            data: data.transpose().ok()?,
            exclude: exclude
                .into_iter()
                .filter_map(|raw| serde_json::from_str::<String>(raw.get()).ok())
                .map(Into::into)
                .collect(),
            server_id: fields.server_id.into(),
            event: fields.event.into(),
        })
    }
}

impl Destination {
    /// The kind, as an envelope says it.
    pub const fn kind(&self) -> MessageType {
        match self {
            Self::Client(_) => MessageType::Client,
            Self::User(_) => MessageType::User,
            Self::Room(_) => MessageType::Room,
            Self::Broadcast => MessageType::Broadcast,
        }
    }

    /// The id or name, of all but a broadcast.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Client(name) | Self::User(name) | Self::Room(name) => Some(name),
            Self::Broadcast => None,
        }
    }

    /// The Redis channel it goes over.
    pub fn channel(&self) -> String {
        match self {
            Self::Client(id) => channels::for_client(id),
            Self::User(id) => channels::for_user(id),
            Self::Room(name) => channels::for_room(name),
            Self::Broadcast => channels::BROADCAST.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::dialect::object::tests::any_json;
    use crate::json::MAX_DEPTH;

    const SERVER: &str = "7f0c1c6e-6a04-4f3b-9d0a-0e6f6f9f2b11";

    fn envelope(server: &str, to: Destination, event: &str, data: &str) -> Envelope {
        Envelope {
            server_id: server.into(),
            to,
            event: event.into(),
            data: Some(Json::parse(data).unwrap()),
            exclude: vec![],
        }
    }

    /// As the real servers and emitters were heard to say it.
    #[test]
    fn envelopes_are_byte_for_byte_those_of_ignis() {
        use Destination::{Broadcast, Client, Room, User};
        let mut excluding = envelope("emitter", Room("r1".into()), "er", "{\"z\":1}");
        excluding.exclude = vec!["nobody".into()];
        for (envelope, channel, text) in [
            (
                envelope(SERVER, Room("r1".into()), "t2", "{\"k\":1}"),
                "ws:room:r1",
                format!(
                    r#"{{"serverId":"{SERVER}","type":"room","target":"r1","event":"t2","data":{{"k":1}}}}"#
                ),
            ),
            (
                envelope(SERVER, Broadcast, "t3", "{\"k\":1}"),
                "ws:broadcast",
                format!(
                    r#"{{"serverId":"{SERVER}","type":"broadcast","event":"t3","data":{{"k":1}}}}"#
                ),
            ),
            (
                envelope(SERVER, Client("c7".into()), "t5", "1"),
                "ws:client:c7",
                format!(
                    r#"{{"serverId":"{SERVER}","type":"client","target":"c7","event":"t5","data":1}}"#
                ),
            ),
            (
                envelope("emitter", User("u1".into()), "eu", "{\"z\":1}"),
                "ws:user:u1",
                r#"{"serverId":"emitter","type":"user","target":"u1","event":"eu","data":{"z":1}}"#
                    .into(),
            ),
            (
                excluding,
                "ws:room:r1",
                r#"{"serverId":"emitter","type":"room","target":"r1","event":"er","data":{"z":1},"exclude":["nobody"]}"#.into(),
            ),
        ] {
            assert_eq!(envelope.encode(), text);
            assert_eq!(envelope.to.channel(), channel);
            assert_eq!(Envelope::decode(text), Some(envelope));
        }
    }

    #[test]
    fn what_ignis_drops_is_dropped() {
        for text in [
            "",
            "nope",
            "null",
            "1",
            "[\"s\",\"broadcast\",\"t\",\"e\"]",
            "{}",
            r#"{"type":"broadcast","event":"e"}"#,
            r#"{"serverId":"s","type":"broadcast"}"#,
            r#"{"serverId":1,"type":"broadcast","event":"e"}"#,
            r#"{"serverId":"s","type":"broadcast","event":null}"#,
            r#"{"serverId":"s","type":"broadcast","event":["e"]}"#,
            // Known to it, but for nobody.
            r#"{"serverId":"s","event":"e"}"#,
            r#"{"serverId":"s","type":"all","event":"e"}"#,
            r#"{"serverId":"s","type":"room","event":"e"}"#,
            r#"{"serverId":"s","type":"user","target":"","event":"e"}"#,
            r#"{"serverId":"s","type":"client","target":7,"event":"e"}"#,
            // Said twice: refused everywhere.
            r#"{"serverId":"s","serverId":"t","type":"broadcast","event":"e"}"#,
        ] {
            assert_eq!(Envelope::decode(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_missing_or_unknown_does_no_harm() {
        let decoded = |text: &str| Envelope::decode(text).unwrap();
        let plain = decoded(r#" {"x":[],"event":"\u0065","serverId":"s","type":"broadcast"}"#);
        assert_eq!(plain.event, "e");
        assert_eq!(plain.data, None);
        let null = decoded(
            r#"{"serverId":"s","type":"broadcast","target":"t","event":"","data":null,"exclude":null}"#,
        );
        assert_eq!(null.data, Some(Json::NULL));
        assert_eq!((null.to, null.exclude), (Destination::Broadcast, vec![]));
        let some = decoded(
            r#"{"serverId":"s","type":"broadcast","event":"e","exclude":["a",1,null,"\u0062"]}"#,
        );
        assert_eq!(some.exclude, ["a", "b"]);
        let none = decoded(r#"{"serverId":"s","type":"broadcast","event":"e","exclude":"a"}"#);
        assert_eq!(none.exclude, vec![] as Vec<Utf8Bytes>);
    }

    #[test]
    fn any_data_that_one_server_takes_reaches_the_others() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let deepest = envelope("s", Destination::Broadcast, "e", &nested(MAX_DEPTH));
        assert_eq!(Envelope::decode(deepest.encode()), Some(deepest));
        let deeper = nested(MAX_DEPTH + 1);
        for text in [
            format!(r#"{{"serverId":"s","type":"broadcast","event":"e","data":{deeper}}}"#),
            format!(
                r#"{{"serverId":"s","type":"broadcast","event":"e","data":{}}}"#,
                nested(100_000)
            ),
        ] {
            assert_eq!(Envelope::decode(text), None);
        }
    }

    fn destination() -> impl Strategy<Value = Destination> {
        let name = || "\\PC{1,12}".prop_map(Utf8Bytes::from);
        prop_oneof![
            name().prop_map(Destination::Client),
            name().prop_map(Destination::User),
            name().prop_map(Destination::Room),
            Just(Destination::Broadcast),
        ]
    }

    proptest! {
        #[test]
        fn an_envelope_survives_the_wire(
            server_id: String,
            to in destination(),
            event: String,
            data in proptest::option::of(any_json()),
            exclude: Vec<String>,
        ) {
            let envelope = Envelope {
                server_id: server_id.into(),
                to,
                event: event.into(),
                data,
                exclude: exclude.into_iter().map(Into::into).collect(),
            };
            prop_assert_eq!(Envelope::decode(envelope.encode()), Some(envelope));
        }

        #[test]
        fn no_text_panics(text: String) {
            prop_assert_eq!(Envelope::decode(text), None);
        }
    }
}
