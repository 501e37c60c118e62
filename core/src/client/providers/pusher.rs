//! Pusher Channels, by the seventh version of their protocol.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use core::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::Sha256;

use crate::http::UpgradeRequest;
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};
use crate::time::Tick;
use crate::websocket::Cause;

use super::super::backoff::{Backoff, Jitter};
use super::super::config::{Auth, ClientConfig, Ping};
use super::super::protocol::{Attempt, Cx, NO_BYTES, NO_REQUESTS, Protocol, Saying};
use super::super::utilities::parse_message;
use super::super::verdict::{Ending, Verdict};
use super::super::{ConfigError, Incoming, Payload, RequestId};
use super::shared;

/// How long it may be silent until we ask, and then.
const ACTIVITY: Ping = Ping {
    interval: Duration::from_secs(120),
    timeout: Duration::from_secs(30),
};

#[derive(Debug)]
pub(super) struct Pusher {
    /// What the application wants of it; the server may want it sooner.
    ping: Option<Ping>,
    /// The server's name for the connection.
    socket: Option<Utf8Bytes>,
    channels: BTreeMap<Utf8Bytes, Phase>,
    /// How long it may be silent.
    silence: Duration,
    due: Tick,
    /// When a ping went out that has no answer, by the wall clock.
    pinged: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The application looks for a proof.
    Proving,
    Asked,
}

#[derive(Deserialize)]
struct Fields<'a> {
    event: String,
    channel: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl Default for Pusher {
    fn default() -> Self {
        Self {
            ping: None,
            socket: None,
            channels: BTreeMap::new(),
            silence: Duration::MAX,
            due: Tick::MAX,
            pinged: None,
        }
    }
}

impl Protocol for Pusher {
    fn defaults(&self, config: &mut ClientConfig) {
        config.ping = Some(ACTIVITY);
        config.reconnect = Some(Backoff {
            factor: 1.0,
            jitter: Jitter::NONE,
            max_attempts: 0,
            ..Backoff::default()
        });
    }

    fn prepare(&mut self, config: &mut ClientConfig) {
        // Pings depend on silence here, so they are not left to the machine.
        self.ping = config.ping.take();
    }

    fn upgrade(&mut self, attempt: &Attempt<'_>) -> Result<UpgradeRequest, ConfigError> {
        let version = env!("CARGO_PKG_VERSION");
        let client = [
            ("protocol", "7"),
            ("client", "smartsocket"),
            ("version", version),
        ];
        shared::upgrade_with(attempt, &client)
    }

    fn opened(&mut self, _: &mut Cx<'_>, _: Option<&str>) {
        self.socket = None;
        self.channels.clear();
        self.due = Tick::MAX;
        self.pinged = None;
    }

    fn received(&mut self, cx: &mut Cx<'_>, message: Message) {
        let Some(whole) = parse_message(&message) else {
            return;
        };
        let Ok(fields) = serde_json::from_str::<Fields<'_>>(whole.as_str()) else {
            return;
        };
        let data = fields.data.map_or(Json::NULL, |data| whole.part(data));
        let (event, channel, data) = (fields.event, fields.channel, plain(data));
        if self.socket.is_none() {
            return self.greeted(cx, &event, &data);
        }
        let sent = self.pinged.take();
        self.due = self.after(cx, self.silence);
        match (event.as_str(), channel) {
            ("pusher:connection_established", _) => {}
            ("pusher:ping", _) => cx.send(Message::text(PONG)),
            ("pusher:pong", _) => {
                if let Some(sent) = sent {
                    cx.pong(cx.unix_ms.saturating_sub(sent));
                }
            }
            ("pusher_internal:subscription_succeeded", Some(channel)) => {
                if self.channels.get(&*channel) == Some(&Phase::Asked) {
                    cx.subscribed(channel.as_str());
                    // Who is there: of presence channels only.
                    if !matches!(data.as_str(), "{}" | "null" | "\"\"") {
                        hear(cx, Some(channel), event, data);
                    }
                }
            }
            ("pusher:subscription_error", Some(channel)) => {
                if self.channels.remove(&*channel).is_some() {
                    cx.refused(channel, words(&data));
                }
            }
            (_, channel) => hear(cx, channel, event, data),
        }
    }

    /// Events of clients are for members, who are asked for first.
    fn speaks_when_subscribed(&self) -> bool {
        true
    }

    fn subscribe(&mut self, cx: &mut Cx<'_>, channel: &str) {
        let Some(socket) = &self.socket else {
            return;
        };
        let mut phase = Phase::Asked;
        if !is_private(channel) {
            cx.send(ask(channel, "\"\"", None));
        } else if let (Auth::None, Some(secret)) = (&cx.config.auth, cx.token)
            && !channel.starts_with("presence-")
        {
            let key = app_key(&cx.config.url);
            let auth = proof(key, secret.reveal(), socket, channel, None);
            cx.send(ask(channel, Json::string(&auth).as_str(), None));
        } else {
            phase = Phase::Proving;
            cx.authorize(channel, socket);
        }
        self.channels.insert(channel.into(), phase);
    }

    fn unsubscribe(&mut self, cx: &mut Cx<'_>, channel: &str) {
        if self.channels.remove(channel) == Some(Phase::Asked) {
            let name = Json::string(channel);
            cx.send(Message::text(format!(
                r#"{{"event":"pusher:unsubscribe","data":{{"channel":{name}}}}}"#
            )));
        }
    }

    fn authorized(&mut self, cx: &mut Cx<'_>, channel: &str, socket: &str, proof: Option<&Json>) {
        #[derive(Deserialize)]
        struct Proof<'a> {
            #[serde(borrow)]
            auth: &'a RawValue,
            #[serde(borrow)]
            channel_data: Option<&'a RawValue>,
        }
        let current = self.socket.as_deref() == Some(socket);
        let Some(phase) = self.channels.get_mut(channel).filter(|_| current) else {
            return;
        };
        if *phase != Phase::Proving {
            return;
        }
        let proof = proof.and_then(|it| serde_json::from_str::<Proof<'_>>(it.as_str()).ok());
        match proof {
            Some(proof) => {
                *phase = Phase::Asked;
                let data = proof.channel_data.map(RawValue::get);
                cx.send(ask(channel, proof.auth.get(), data));
            }
            None => {
                self.channels.remove(channel);
                cx.refused(channel, "there is no proof that we may have it");
            }
        }
    }

    fn say(&mut self, cx: &mut Cx<'_>, what: &Saying, answer: Option<RequestId>) {
        if answer.is_some() {
            return cx.refuse(answer, NO_REQUESTS);
        }
        let (channel, name, data) = match what {
            Saying::Raw(Message::Text(text)) => return cx.send(Message::Text(text.clone())),
            Saying::Raw(Message::Binary(_)) | Saying::Bytes { .. } => {
                return cx.refuse(None, NO_BYTES);
            }
            Saying::Event {
                channel,
                name,
                data,
            } => (channel, name, data),
        };
        let data = data.as_ref().map_or("{}", Json::as_str);
        let event = Json::string(name);
        let said = match channel {
            // Such as `pusher:signin`.
            None if name.starts_with("pusher:") => {
                format!("{{\"event\":{event},\"data\":{data}}}")
            }
            Some(channel) if name.starts_with("client-") && is_private(channel) => {
                let channel = Json::string(channel);
                format!("{{\"event\":{event},\"channel\":{channel},\"data\":{data}}}")
            }
            None | Some(_) => {
                let words = "clients may send events client-... to private and presence channels";
                return cx.refuse(None, words);
            }
        };
        cx.send(Message::text(said));
    }

    fn next_timeout(&self) -> Tick {
        self.due
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        if self.due > cx.now {
            return;
        }
        if self.pinged.is_some() {
            self.due = Tick::MAX;
            cx.end(Verdict::Now, "no pong came in time");
        } else {
            self.ping(cx);
        }
    }

    fn ping(&mut self, cx: &mut Cx<'_>) {
        if let Some(ping) = self.ping {
            cx.send(Message::text(PING));
            self.pinged = Some(cx.unix_ms);
            self.due = self.after(cx, ping.timeout);
        }
    }

    fn verdict(&self, ending: &Ending) -> Verdict {
        if let Ending::Closed(closed) = ending
            && matches!(closed.cause, Cause::Peer)
        {
            return of_code(closed.code.into());
        }
        ending.verdict()
    }
}

const PING: &str = r#"{"event":"pusher:ping","data":{}}"#;
const PONG: &str = r#"{"event":"pusher:pong","data":{}}"#;

impl Pusher {
    /// The first message.
    fn greeted(&mut self, cx: &mut Cx<'_>, event: &str, data: &Json) {
        #[derive(Deserialize)]
        struct Greeting {
            socket_id: String,
            /// In seconds.
            activity_timeout: Option<u32>,
        }
        #[derive(Deserialize)]
        struct Refusal {
            code: Option<u16>,
        }
        if event == "pusher:error" {
            let code = data.to::<Refusal>().ok().and_then(|it| it.code);
            return cx.end(code.map_or(Verdict::Backoff, of_code), words(data));
        }
        if event != "pusher:connection_established" {
            return;
        }
        let Ok(greeting) = data.to::<Greeting>() else {
            return;
        };
        let own = self.ping.map_or(Duration::MAX, |ping| ping.interval);
        let servers = greeting.activity_timeout.map_or(own, |seconds| {
            Duration::from_secs(u64::from(seconds.max(1)))
        });
        self.silence = own.min(servers);
        self.socket = Some(greeting.socket_id.into());
        self.due = self.after(cx, self.silence);
        cx.ready();
    }

    fn after(&self, cx: &Cx<'_>, wait: Duration) -> Tick {
        self.ping.map_or(Tick::MAX, |_| cx.now + wait)
    }
}

/// The provider's table of codes, as its own client reads it.
fn of_code(code: u16) -> Verdict {
    match code {
        4100..=4199 => Verdict::After(Duration::from_secs(1)),
        4200..=4299 => Verdict::Now,
        4000.. => Verdict::Fatal,
        _ => Verdict::Backoff,
    }
}

/// Data is mostly JSON in a JSON string.
fn plain(data: Json) -> Json {
    let inner = data.to_text().and_then(|text| Json::parse(text).ok());
    inner.unwrap_or(data)
}

fn hear(cx: &mut Cx<'_>, channel: Option<String>, event: String, data: Json) {
    let channel = channel.map(Utf8Bytes::from);
    cx.heard(Incoming::new(
        channel,
        Some(event.into()),
        Payload::Json(data),
    ));
}

/// What an error says.
fn words(data: &Json) -> Utf8Bytes {
    #[derive(Deserialize)]
    struct Error {
        #[serde(alias = "error")]
        message: String,
    }
    data.to()
        .map_or("refused".into(), |it: Error| it.message.into())
}

fn is_private(channel: &str) -> bool {
    channel.starts_with("private-") || channel.starts_with("presence-")
}

fn ask(channel: &str, auth: &str, data: Option<&str>) -> Message {
    let channel = Json::string(channel);
    let data = data.map_or(String::new(), |data| format!("\"channel_data\":{data},"));
    Message::text(format!(
        r#"{{"event":"pusher:subscribe","data":{{"auth":{auth},{data}"channel":{channel}}}}}"#
    ))
}

/// The last part of a path is the application's key.
fn app_key(url: &str) -> &str {
    let path = url[shared::path(url)].trim_end_matches('/');
    path.rsplit_once('/').map_or(path, |(_, key)| key)
}

/// Shows Pusher that who holds `socket` may have a private or presence
/// channel; the latter needs `channel_data`, a JSON text with the `user_id`.
/// It is what an authorisation endpoint answers, and what
/// [`Client::handle_authorized`](super::super::Client::handle_authorized)
/// takes. `secret` is the application's: it belongs on servers.
///
/// ```
/// use smartsocket_core::client::pusher_proof;
///
/// let (key, secret) = ("278d425bdf160c739803", "7ad3773142a6692b25b8");
/// let proof = pusher_proof(key, secret, "1234.1234", "private-foobar", None);
/// assert!(proof.as_str().starts_with(r#"{"auth":"278d425bdf160c739803:58df8b0c36d6"#));
/// ```
pub fn pusher_proof(
    key: &str,
    secret: &str,
    socket: &str,
    channel: &str,
    channel_data: Option<&str>,
) -> Json {
    let auth = Json::string(&proof(key, secret, socket, channel, channel_data));
    Json::trusted(match channel_data {
        None => format!("{{\"auth\":{auth}}}"),
        Some(data) => {
            let data = Json::string(data);
            format!("{{\"auth\":{auth},\"channel_data\":{data}}}")
        }
    })
}

fn proof(key: &str, secret: &str, socket: &str, channel: &str, data: Option<&str>) -> String {
    let data = data.map_or(String::new(), |data| format!(":{data}"));
    let signature = sign(secret, &format!("{socket}:{channel}{data}"));
    format!("{key}:{signature}")
}

fn sign(secret: &str, text: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
    let mut mac = mac.expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    base16ct::lower::encode_string(&mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the provider's documentation.
    #[test]
    fn signatures_are_those_of_the_provider() {
        let (key, secret) = ("278d425bdf160c739803", "7ad3773142a6692b25b8");
        assert_eq!(
            proof(key, secret, "1234.1234", "private-foobar", None),
            "278d425bdf160c739803:\
             58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
        );
        let data = r#"{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#;
        assert_eq!(
            proof(key, secret, "1234.1234", "presence-foobar", Some(data)),
            "278d425bdf160c739803:\
             31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80"
        );
        assert_eq!(
            sign(secret, r#"1234.1234::user::{"id":"12345"}"#),
            "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba"
        );
    }
}
