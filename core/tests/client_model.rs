//! The client machine under any sequence of inputs and commands, with every
//! provider, against a server that says what such a server may say, or anything.
#![allow(clippy::wildcard_enum_match_arm)]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::client::{World, seconds};
use proptest::prelude::*;
use smartsocket_core::client::{
    Auth, ClientConfig, Event, Priority, Provider, QueueConfig, Secret, SmartSocket, State,
    SubscriptionId,
};
use smartsocket_core::{CloseCode, Config, Fault, Json, Message, RateLimit};

/// What servers say: to their own clients it means something.
const SAID: &[&[&str]] = &[
    // SmartSocket
    &[
        r#"{"event":"CONNECT_ACK","data":{}}"#,
        r#"{"event":"ping","data":{"timestamp":1}}"#,
        r#"{"event":"__ack__","data":{"ackId":1,"response":[1]}}"#,
        r#"{"event":"__rate-limited__","data":{"retryAfter":1500}}"#,
        r#"{"event":"__rate-limited__","data":{"retryAfter":18446744073709551615}}"#,
        r#"{"event":"error","data":{"code":"ERR_CONN_004","message":"no"}}"#,
        r#"{"event":"news","data":{"__ackId":"a1"}}"#,
    ],
    // Socket.IO
    &[
        r#"0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}"#,
        r#"0{"sid":"a","upgrades":[],"pingInterval":0,"pingTimeout":0}"#,
        r#"40{"sid":"x","pid":"p"}"#,
        r#"40/c,{"sid":"y"}"#,
        "2",
        r#"42["news",1,"offset"]"#,
        r#"421["news",1]"#,
        "430[1]",
        "431[]",
        r#"44{"message":"no"}"#,
        r#"44/c,{"message":"no"}"#,
        "41",
        r#"451-["b",{"_placeholder":true,"num":0}]"#,
        "1",
    ],
    // Pusher
    &[
        r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.1\",\"activity_timeout\":5}"}"#,
        r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.1\",\"activity_timeout\":0}"}"#,
        r#"{"event":"pusher_internal:subscription_succeeded","channel":"c","data":"{}"}"#,
        r#"{"event":"pusher:subscription_error","channel":"private-c","data":{"status":401}}"#,
        r#"{"event":"pusher:error","data":{"code":4201,"message":"late"}}"#,
        r#"{"event":"pusher:error","data":{"code":4001,"message":"no"}}"#,
        r#"{"event":"pusher:ping","data":"{}"}"#,
        r#"{"event":"pusher:pong","data":"{}"}"#,
        r#"{"event":"e","channel":"c","data":"1"}"#,
    ],
    // Ably
    &[
        r#"{"action":4,"connectionId":"c","connectionDetails":{"connectionKey":"k","maxIdleInterval":15000,"connectionStateTtl":120000}}"#,
        r#"{"action":4,"connectionId":"c","connectionDetails":{"maxIdleInterval":1}}"#,
        r#"{"action":0}"#,
        r#"{"action":1,"msgSerial":0,"count":1}"#,
        r#"{"action":2,"msgSerial":0,"count":9,"error":{"message":"no","code":1}}"#,
        r#"{"action":6,"error":{"code":80003,"statusCode":400,"message":"bye"}}"#,
        r#"{"action":9,"error":{"code":40142,"statusCode":401,"message":"token expired"}}"#,
        r#"{"action":9,"channel":"c","error":{"code":1,"statusCode":400,"message":"no"}}"#,
        r#"{"action":11,"channel":"c"}"#,
        r#"{"action":13,"channel":"c"}"#,
        r#"{"action":15,"channel":"c","messages":[{"name":"e","data":"x"}]}"#,
        r#"{"action":17}"#,
    ],
    // Phoenix
    &[
        r#"["1","1","c","phx_reply",{"status":"ok","response":{}}]"#,
        r#"["1","2","c","phx_reply",{"status":"error","response":{"reason":"no"}}]"#,
        r#"[null,"1","phoenix","phx_reply",{"status":"ok","response":{}}]"#,
        r#"["1",null,"c","phx_error",{}]"#,
        r#"["1",null,"c","phx_close",{}]"#,
        r#"[null,null,"c","news",{}]"#,
    ],
    // Action Cable
    &[
        r#"{"type":"welcome"}"#,
        r#"{"type":"ping","message":1}"#,
        r#"{"type":"confirm_subscription","identifier":"{\"channel\":\"c\"}"}"#,
        r#"{"type":"reject_subscription","identifier":"{\"channel\":\"c\"}"}"#,
        r#"{"type":"disconnect","reason":"unauthorized","reconnect":false}"#,
        r#"{"type":"disconnect","reason":"server_restart","reconnect":true}"#,
        r#"{"identifier":"{\"channel\":\"c\"}","message":1}"#,
    ],
    // SignalR
    &[
        "{}\u{1e}",
        "{\"error\":\"no\"}\u{1e}",
        "{}\u{1e}{\"type\":6}\u{1e}",
        "{\"type\":1,\"target\":\"c\",\"arguments\":[1]}\u{1e}",
        "{\"type\":2,\"invocationId\":\"1\",\"item\":1}\u{1e}",
        "{\"type\":3,\"invocationId\":\"1\",\"result\":1}\u{1e}",
        "{\"type\":3,\"invocationId\":\"2\",\"error\":\"no\"}\u{1e}",
        "{\"type\":7}\u{1e}",
        "{\"type\":7,\"error\":\"x\",\"allowReconnect\":true}\u{1e}",
    ],
    // GraphQL
    &[
        r#"{"type":"connection_ack"}"#,
        r#"{"type":"connection_error","payload":{"message":"no"}}"#,
        r#"{"type":"ka"}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"next","id":"1","payload":{"data":1}}"#,
        r#"{"type":"data","id":"1","payload":{"data":1}}"#,
        r#"{"type":"error","id":"1","payload":[{"message":"no"}]}"#,
        r#"{"type":"complete","id":"1"}"#,
    ],
    // AWS
    &[
        r#"{"message":"Forbidden","connectionId":"c","requestId":"r"}"#,
        r#"{"id":"1","body":1}"#,
    ],
    // Binance
    &[
        r#"{"result":null,"id":1}"#,
        r#"{"error":{"code":2,"msg":"no"},"id":1}"#,
        r#"{"stream":"c","data":{}}"#,
        r#"{"e":"serverShutdown","E":1}"#,
        r#"{"e":"trade"}"#,
    ],
    // Anything
    &[
        "",
        "{}",
        "[",
        "null",
        "{\"type\":\"pong\",\"timestamp\":1}",
        "{\"type\":\"ping\"}",
        "\u{1e}\u{1e}",
        "[null,null,null,null,null]",
        "{\"id\":1,\"type\":3,\"action\":99}",
    ],
];

#[derive(Clone, Debug)]
enum Op {
    Connect,
    Disconnect,
    Dialed,
    Refused(u16, Option<&'static str>),
    DialFailed,
    Token(bool),
    Prove(bool),
    Drop,
    Eof,
    Close(u16),
    Say(usize, prop::sample::Index),
    SayBinary(Vec<u8>),
    Send(usize, Priority),
    Publish,
    Request(u64),
    Subscribe(&'static str),
    Unsubscribe,
    Suspend,
    Resume,
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let codes = vec![
        1000_u16, 1001, 1008, 1012, 3000, 3003, 4001, 4100, 4201, 4400, 4401, 4429,
    ];
    let statuses = vec![200_u16, 301, 401, 403, 429, 500, 503];
    let hints = vec![
        None,
        Some("5"),
        Some("99999999999999999999"),
        Some("18446744073709551615"),
    ];
    let channels = vec!["c", "private-c", "/c", "*", "c*", "", r#"{"channel":"c"}"#];
    let priority = prop::sample::select(vec![Priority::Low, Priority::Normal, Priority::High]);
    prop_oneof![
        1 => Just(Op::Connect),
        1 => Just(Op::Disconnect),
        5 => Just(Op::Dialed),
        1 => (prop::sample::select(statuses), prop::sample::select(hints))
            .prop_map(|(status, hint)| Op::Refused(status, hint)),
        1 => Just(Op::DialFailed),
        2 => any::<bool>().prop_map(Op::Token),
        1 => any::<bool>().prop_map(Op::Prove),
        1 => Just(Op::Drop),
        1 => Just(Op::Eof),
        1 => prop::sample::select(codes).prop_map(Op::Close),
        12 => (0..SAID.len() * 3, any::<prop::sample::Index>())
            .prop_map(|(list, text)| Op::Say(list, text)),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Op::SayBinary),
        2 => (0_usize..300, priority).prop_map(|(len, priority)| Op::Send(len, priority)),
        2 => Just(Op::Publish),
        2 => (0_u64..20_000).prop_map(Op::Request),
        2 => prop::sample::select(channels).prop_map(Op::Subscribe),
        1 => Just(Op::Unsubscribe),
        1 => Just(Op::Suspend),
        1 => Just(Op::Resume),
        4 => (0_u64..40_000).prop_map(Op::Pass),
    ]
}

fn providers() -> Vec<(Provider, usize, Option<&'static str>)> {
    let smartsocket = Provider::SmartSocket(Box::<SmartSocket>::default());
    vec![
        (smartsocket, 0, None),
        (Provider::SocketIo, 1, None),
        (Provider::Pusher, 2, None),
        (Provider::Ably, 3, None),
        (Provider::Phoenix, 4, None),
        (Provider::ActionCable, 5, Some("actioncable-v1-json")),
        (Provider::SignalR, 6, None),
        (
            Provider::GraphqlTransportWs,
            7,
            Some("graphql-transport-ws"),
        ),
        (Provider::GraphqlWs, 7, Some("graphql-ws")),
        (Provider::AwsApiGateway, 8, None),
        (Provider::Binance, 9, None),
        (Provider::Custom, 10, None),
        (Provider::Echo, 10, None),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Options {
    refresh: bool,
    reconnect: bool,
    lifetime: bool,
    batch: bool,
    limited: bool,
    pings: bool,
    first_message: bool,
    queue: QueueConfig,
    max_queued_bytes: usize,
}

fn options() -> impl Strategy<Value = Options> {
    let flags = any::<[bool; 7]>();
    let queue = (0_usize..6, prop::sample::select(vec![0_usize, 100, 10_000]));
    let room = prop::sample::select(vec![0_usize, 100, 1 << 20]);
    (flags, queue, room).prop_map(|(flags, (max_messages, max_bytes), max_queued_bytes)| {
        let [
            refresh,
            reconnect,
            lifetime,
            batch,
            limited,
            pings,
            first_message,
        ] = flags;
        Options {
            refresh,
            reconnect: reconnect || lifetime,
            lifetime,
            batch,
            limited,
            pings,
            first_message,
            queue: QueueConfig {
                max_messages,
                max_bytes,
            },
            max_queued_bytes,
        }
    })
}

impl Options {
    fn config(self, provider: &Provider) -> ClientConfig {
        let mut config = provider.config("ws://example.com/live");
        config.refresh = self.refresh;
        if self.first_message {
            config.auth = Auth::first_message();
            config.token = Some(Secret::from("T"));
        }
        if !self.pings {
            config.ping = None;
        }
        if !self.reconnect {
            config.reconnect = None;
        }
        if self.lifetime {
            config.lifetime = Some(seconds(20));
        }
        config.batch = self.batch.then(|| seconds(2));
        if self.limited {
            config.outbound = Some(RateLimit::new(3, seconds(1)));
        }
        config.queue = self.queue;
        config.websocket = Arc::new(Config {
            max_queued_bytes: self.max_queued_bytes,
            ..Config::default()
        });
        config
    }
}

proptest! {
    /// Whatever happens, it has something to do, a deadline, or is at rest; no
    /// timeout is due that does nothing; a request has one answer; the queue
    /// keeps its bounds; who was told to stay away stays away.
    #[test]
    fn no_input_leaves_a_client_stuck(
        ops in prop::collection::vec(op(), 0..100),
        which in any::<prop::sample::Index>(),
        options in options(),
    ) {
        let (provider, list, subprotocol) = which.get(&providers()).clone();
        let mut world = World::of(provider.clone(), options.config(&provider));
        world.subprotocol = subprotocol;
        let mut asked = BTreeSet::new();
        let mut answered = BTreeSet::new();
        let mut subscriptions: Vec<SubscriptionId> = Vec::new();
        let mut suspended = false;
        let mut dropped = 0;
        for op in ops {
            let now = world.now;
            match op {
                Op::Connect => {
                    if matches!(world.client.state(), State::Disconnected | State::Error) {
                        suspended = false;
                    }
                    world.client.connect(now);
                }
                Op::Disconnect => world.client.disconnect(now, CloseCode::NORMAL, "bye"),
                Op::Dialed => {
                    world.run();
                    if world.dial.is_some() {
                        world.answer_dial();
                    }
                }
                Op::Refused(status, hint) => {
                    world.run();
                    if world.dial.is_some() {
                        world.refuse = Some(status);
                        world.retry_after = hint;
                        world.answer_dial();
                        world.refuse = None;
                    }
                }
                Op::DialFailed => {
                    world.run();
                    if world.dial.is_some() {
                        world.fail_dial();
                    }
                }
                Op::Token(there) => {
                    world.client.handle_token(now, there.then(|| Secret::from("T")));
                }
                Op::Prove(there) => {
                    if let Some((channel, socket)) = world.authorize.pop() {
                        let proof = Json::parse(r#"{"auth":"k:s"}"#).expect("JSON");
                        let proof = there.then_some(&proof);
                        world.client.handle_authorized(now, &channel, &socket, proof);
                    }
                }
                Op::Drop => {
                    if world.server.is_some() {
                        world.drop_line();
                    }
                }
                Op::Eof => {
                    if let Some((line, _)) = &world.server {
                        world.client.handle_eof(now, *line);
                    }
                }
                Op::Close(code) => {
                    if world.server.is_some() {
                        world.close(code);
                    }
                }
                Op::Say(which, text) => {
                    // Mostly what its own server would say.
                    let text = text.get(SAID.get(which).unwrap_or(&SAID[list]));
                    if let Some((_, server)) = &mut world.server {
                        let _ = server.send(now, Message::text(*text));
                    }
                }
                Op::SayBinary(bytes) => {
                    if let Some((_, server)) = &mut world.server {
                        let _ = server.send(now, Message::binary(bytes));
                    }
                }
                Op::Send(len, priority) => {
                    world.client.send(now, Message::text("m".repeat(len)), priority);
                }
                Op::Publish => {
                    let channel = Some("c".into());
                    world.client.publish(now, channel, "e", Some(Json::NULL), Priority::Normal);
                }
                Op::Request(ms) => {
                    let timeout = Some(Duration::from_millis(ms));
                    asked.insert(world.client.request(now, None, "r", None, timeout));
                }
                Op::Subscribe(channel) => subscriptions.push(world.client.subscribe(now, channel)),
                Op::Unsubscribe => {
                    if let Some(id) = subscriptions.pop() {
                        prop_assert!(world.client.unsubscribe(now, id));
                    }
                }
                Op::Suspend => {
                    suspended = true;
                    world.client.suspend(now);
                }
                Op::Resume => {
                    suspended = false;
                    world.client.resume(now);
                }
                Op::Pass(ms) => world.pass(Duration::from_millis(ms)),
            }
            world.run();
            for event in world.events.drain(..) {
                match event {
                    Event::Answered(id, _) => {
                        prop_assert!(asked.contains(&id), "nobody asked");
                        prop_assert!(answered.insert(id), "answered twice");
                    }
                    Event::Dropped(messages, _) => dropped += messages as u64,
                    _ => {}
                }
            }
            let stats = world.client.stats(world.now);
            prop_assert!(stats.queued <= options.queue.max_messages);
            prop_assert_eq!(stats.dropped, dropped);
            let rests = matches!(world.client.state(), State::Disconnected | State::Error);
            prop_assert!(!rests || world.dial.is_none(), "it dials and rests");
            let due = world.client.next_timeout();
            prop_assert!(rests || suspended || due.is_some(), "{:?}", world.client);
            // What is due is done at once, and then is not due any more.
            for round in 0.. {
                if world.client.next_timeout().is_none_or(|due| due > world.now) {
                    break;
                }
                prop_assert!(round < 100, "always due: {:?}", world.client);
                world.client.handle_timeout(world.now);
                world.run();
            }
        }
        // In the end each request has had its answer, and nothing is left.
        world.client.disconnect(world.now, CloseCode::NORMAL, "");
        world.run();
        if let Some((line, _)) = world.server.take() {
            world.client.handle_fault(world.now, line, Fault::Reset);
        }
        world.pass(seconds(120));
        let late = world.answers().into_iter().map(|(id, _)| id);
        for id in late {
            prop_assert!(answered.insert(id), "answered twice");
        }
        prop_assert_eq!(answered, asked);
        prop_assert!(world.dial.is_none(), "disconnect() ends it for good");
        prop_assert_eq!(world.client.next_timeout(), None);
    }
}
