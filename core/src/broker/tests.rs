use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::*;
use crate::dialect::{Context, Dialect, Failure, Incoming, Memory, Outgoing, PeerBinary};
use crate::message::Message;

const WALL: &str = "2026-11-21T00:10:09.893Z";
const SUCCESS: &str = "\n{\"status\":\"success\"}";

/// A broker and the dialect in front of it. Ids are written `<a>` where a
/// client made them and `<1>`, in the order of their coming, where the broker
/// did.
struct Stage {
    broker: Broker<char>,
    ids: BTreeMap<String, String>,
    made: u8,
    now: Tick,
}

impl Stage {
    fn new(config: BrokerConfig) -> Self {
        Self {
            broker: Broker::new(config),
            ids: BTreeMap::new(),
            made: 0,
            now: Tick::ZERO,
        }
    }

    /// With services `A` and `B`, whose ids are `<1>` and `<2>`.
    fn with_two(config: BrokerConfig) -> Self {
        let mut stage = Self::new(config);
        for (n, key) in [(1, 'A'), (2, 'B')] {
            stage.broker.enter(WALL, [n; 16], key);
            let id = format!("{}", random_id([n; 16]));
            stage.ids.insert(format!("<{n}>"), id);
            stage.made = n;
        }
        stage
    }

    /// What everybody gets to hear when `from` says this.
    fn say(&mut self, from: char, text: &str) -> Vec<String> {
        let text = self.unmasked(text);
        let heard = Dialect::HeaderLine.decode(&mut Memory::default(), Message::text(text));
        if let Incoming::Invalid(failure) = &heard {
            return self.heard(from, &Outgoing::Error(failure));
        }
        let Incoming::Broker(header, payload) = heard else {
            panic!("{heard:?}");
        };
        let made = &mut self.made;
        let mut random = || {
            *made += 1;
            [*made; 16]
        };
        self.broker
            .handle(self.now, WALL, &mut random, from, header, payload);
        self.drain()
    }

    /// Subscribes, and thinks no more of it.
    fn subscribe(&mut self, from: char, payload: &str) {
        let said = self.say(
            from,
            &format!("request:system.topic.subscribe:1.0.0:<a>\n{payload}"),
        );
        assert!(said.last().unwrap().ends_with(SUCCESS), "{said:?}");
    }

    fn after(&mut self, ms: u64) -> Vec<String> {
        self.now = self.now + Duration::from_millis(ms);
        self.broker.handle_timeout(self.now);
        self.drain()
    }

    fn leave(&mut self, key: char) {
        self.broker.leave(self.now, key);
        assert_eq!(self.drain(), [""; 0]);
    }

    fn drain(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(effect) = self.broker.poll() {
            match effect {
                Effect::Send {
                    to,
                    header,
                    payload,
                } => all.extend(self.message(&[to], &header, &payload)),
                Effect::Publish {
                    to,
                    header,
                    payload,
                } => all.extend(self.message(&to, &header, &payload)),
                Effect::Fail { to, failure } => {
                    all.extend(self.heard(to, &Outgoing::Error(&Failure::Header(failure))));
                }
                Effect::Subscribe { key, topic } => all.push(format!("{key} joins {topic}")),
                Effect::Unsubscribe { key, topic } => all.push(format!("{key} leaves {topic}")),
            }
        }
        all
    }

    fn message(&mut self, to: &[char], header: &Header, payload: &Json) -> Vec<String> {
        to.iter()
            .flat_map(|&to| self.heard(to, &Outgoing::Broker { header, payload }))
            .collect()
    }

    fn heard(&mut self, to: char, what: &Outgoing<'_>) -> Vec<String> {
        let context = Context {
            unix_ms: 0,
            timestamp: WALL,
            binary: PeerBinary::None,
        };
        let said = Dialect::HeaderLine.encode(context, what);
        said.iter()
            .map(|said| format!("{to} {}", self.masked(said.as_text().unwrap())))
            .collect()
    }

    fn unmasked(&mut self, text: &str) -> String {
        for n in 0..3 {
            let name = format!("<{}>", char::from(b'a' + n));
            let id = format!("{}", random_id([0xa0 + n; 16]));
            self.ids.insert(name, id);
        }
        let ids = self.ids.iter();
        ids.fold(text.into(), |text: String, (name, id)| {
            text.replace(name, id)
        })
    }

    fn masked(&mut self, text: &str) -> String {
        for n in 1..=self.made {
            let id = format!("{}", random_id([n; 16]));
            if text.contains(&id) && !self.ids.values().any(|known| *known == id) {
                let n = self.ids.keys().filter(|name| name[1..2] < *"a").count() + 1;
                self.ids.insert(format!("<{n}>"), id);
            }
        }
        let ids = self.ids.iter();
        ids.fold(text.into(), |text: String, (name, id)| {
            text.replace(id, name)
        })
    }
}

fn error(header: &str, code: &str, message: &str, details: &str) -> String {
    format!(
        "{header}\n{{\"error\":{{\"code\":\"{code}\",\"message\":\"{message}\",\
         \"timestamp\":\"{WALL}\"{details}}}}}"
    )
}

fn patterns() -> BrokerConfig {
    BrokerConfig {
        allow_patterns: true,
        ..BrokerConfig::default()
    }
}

#[test]
fn what_is_published_goes_to_all_subscribers_and_then_is_confirmed() {
    let mut stage = Stage::with_two(BrokerConfig::default());
    assert_eq!(
        stage.say(
            'A',
            "request:system.topic.subscribe:1.0.0:<a>\n{\"action\":\"publish\",\"topic\":\"events.user\"}"
        ),
        [
            "A joins events.user",
            "A response:system.topic.subscribe:1.0.0:<a>\n{\"status\":\"success\"}"
        ]
    );
    stage.subscribe('B', "{\"action\":\"publish\",\"topic\":\"Events.User\"}");
    assert_eq!(
        stage.say('A', "publish:events.user:1.0.0:<b>:<c>\n{\"m\":1}"),
        [
            "A publish:events.user:1.0.0:<3>\n{\"m\":1}",
            "B publish:events.user:1.0.0:<3>\n{\"m\":1}",
            "A response:events.user:1.0.0:<b>\n{\"status\":\"success\"}",
        ]
    );
    // Nobody asked whether it arrived.
    assert_eq!(
        stage.say('B', "PUBLISH:events.USER:2.1.0\n{ \"m\": 1.50 }"),
        [
            "A publish:events.user:2.1.0:<4>\n{ \"m\": 1.50 }",
            "B publish:events.user:2.1.0:<4>\n{ \"m\": 1.50 }",
        ]
    );
    stage.leave('A');
    assert_eq!(
        stage.say('B', "publish:events.user:1.0.0\nerror:{\"code\":\"X\"}"),
        ["B publish:events.user:1.0.0:<5>\nerror:{\"code\":\"X\"}"]
    );
    let unsubscribe = |topic: &str| {
        format!(
            "request:system.topic.unsubscribe:1.0.0:<a>\n{{\"action\":\"publish\",\"topic\":\"{topic}\"}}"
        )
    };
    let answer = "B response:system.topic.unsubscribe:1.0.0:<a>\n";
    assert_eq!(
        stage.say('B', &unsubscribe("EVENTS.user")),
        [
            "B leaves events.user".into(),
            format!("{answer}{{\"status\":\"success\"}}"),
        ]
    );
    assert_eq!(
        stage.say('B', &unsubscribe("events.user")),
        [format!("{answer}{{\"status\":\"failure\"}}")]
    );
}

#[test]
fn without_subscribers_there_is_no_route() {
    let mut stage = Stage::with_two(BrokerConfig::default());
    // A request is answered by subscribers to requests only.
    stage.subscribe('B', "{\"action\":\"publish\",\"topic\":\"no.sub\"}");
    stage.subscribe('B', "{\"action\":\"request\",\"topic\":\"no.pub\"}");
    for (message, header, topic) in [
        (
            "publish:no.pub:1.0.0:<a>",
            "A response:no.pub:1.0.0:<a>",
            "no.pub",
        ),
        (
            "request:no.sub:1.0.0:<a>",
            "A response:no.sub:1.0.0:<a>",
            "no.sub",
        ),
        ("publish:x:1.2.3", "A response:x:1.2.3:<3>", "x"),
        ("request:x:1.0.0", "A response:x:1.0.0:<4>", "x"),
    ] {
        let text = format!("No subscribers for topic {topic}");
        assert_eq!(
            stage.say('A', &format!("{message}\n{{\"m\":1}}")),
            [error(header, "NO_ROUTE_FOUND", &text, "")]
        );
    }
}

#[test]
fn a_request_goes_to_the_most_eager_and_its_answer_back() {
    let mut stage = Stage::with_two(BrokerConfig::default());
    stage.subscribe('A', "{\"action\":\"request\",\"topic\":\"svc.do\"}");
    stage.subscribe(
        'B',
        "{\"action\":\"request\",\"topic\":\"svc.do\",\"priority\":2}",
    );
    assert_eq!(
        stage.say('A', "request:svc.do:1.0.0:<a>:<b>:1000\n{\"q\":1}"),
        ["B request:svc.do:1.0.0:<3>\n{\"q\":1}"]
    );
    // Nobody else can answer it, or it twice.
    let unknown = |key, id: &str| {
        let text = format!("No matching request found for requestId: {id}");
        let header = format!("{key} response:svc.do:1.0.0:{id}");
        [error(&header, "INVALID_REQUEST_ID", &text, "")]
    };
    assert_eq!(
        stage.say('A', "response:svc.do:1.0.0:<3>\n{}"),
        unknown('A', "<3>")
    );
    // The topic of an answer is the request's.
    assert_eq!(
        stage.say('B', "response:other:2.0.0:<3>\n{\"r\":2}"),
        ["A response:svc.do:1.0.0:<a>\n{\"r\":2}"]
    );
    assert_eq!(
        stage.say('B', "response:svc.do:1.0.0:<3>\n{}"),
        unknown('B', "<3>")
    );
    assert_eq!(
        stage.say('B', "response:svc.do:1.0.0\n{}"),
        [error(
            "B response:svc.do:1.0.0:<4>",
            "INVALID_REQUEST_ID",
            "Received response message without requestId.",
            ""
        )]
    );
    assert_eq!(stage.after(10_000), [""; 0]);
}

#[test]
fn an_error_is_an_answer() {
    let mut stage = Stage::with_two(BrokerConfig::default());
    stage.subscribe('B', "{\"action\":\"request\",\"topic\":\"svc\"}");
    stage.say('A', "request:svc:1.0.0:<a>\n{}");
    let answer = "error:{\"code\":\"X\",\"message\":\"m\",\"timestamp\":\"t\"}";
    assert_eq!(
        stage.say('B', &format!("response:svc:1.0.0:<3>\n{answer}")),
        [format!("A response:svc:1.0.0:<a>\n{answer}")]
    );
    // Who asks without an id hears of errors only.
    assert_eq!(
        stage.say('A', "request:svc:1.0.0\n{}"),
        ["B request:svc:1.0.0:<4>\n{}"]
    );
    assert_eq!(stage.say('B', "response:svc:1.0.0:<4>\n{}"), [""; 0]);
    stage.say('A', "request:svc:1.0.0\n{}");
    assert_eq!(
        stage.say('B', &format!("response:svc:1.0.0:<5>\n{answer}")),
        [format!("A response:svc:1.0.0:<6>\n{answer}")]
    );
}

#[test]
fn a_request_fails_when_nobody_answers_in_time() {
    let mut stage = Stage::with_two(BrokerConfig::default());
    stage.subscribe('B', "{\"action\":\"request\",\"topic\":\"svc.do\"}");
    let timed_out = |id| {
        error(
            &format!("A response:svc.do:1.0.0:{id}"),
            "TIMEOUT",
            "Request timed out",
            ",\"details\":{\"targetServiceId\":\"<2>\"}",
        )
    };
    stage.say('A', "request:svc.do:1.0.0:<a>::1000\n{}");
    stage.say('A', "request:svc.do:1.0.0:<b>\n{}");
    stage.say('A', "request:svc.do:1.0.0\n{}");
    assert_eq!(stage.broker.next_timeout(), Some(Tick::from_millis(1_000)));
    assert_eq!(stage.after(999), [""; 0]);
    assert_eq!(stage.after(1), [timed_out("<a>")]);
    // Even if the responder is gone long since, and an answer is too late.
    assert!(stage.say('B', "response:svc.do:1.0.0:<3>\n{}")[0].contains("INVALID_REQUEST_ID"));
    stage.leave('B');
    assert_eq!(stage.broker.next_timeout(), Some(Tick::from_millis(5_000)));
    assert_eq!(stage.after(4_000), [timed_out("<b>")]);
    assert_eq!(stage.broker.next_timeout(), None);
}

#[test]
fn nobody_hears_of_the_requests_of_who_has_left() {
    let mut stage = Stage::with_two(BrokerConfig::default());
    stage.subscribe('B', "{\"action\":\"request\",\"topic\":\"svc\"}");
    stage.say('A', "request:svc:1.0.0:<a>\n{}");
    stage.leave('A');
    assert_eq!(stage.broker.next_timeout(), None);
    assert!(
        stage.say('B', "response:svc:1.0.0:<3>\n{}")[0].starts_with("B response:svc:1.0.0:<3>")
    );
    stage.leave('B');
    assert!(stage.broker.is_empty());
}

#[test]
fn the_oldest_request_makes_room_for_a_new_one() {
    let mut stage = Stage::with_two(BrokerConfig {
        max_outstanding: 2,
        ..BrokerConfig::default()
    });
    stage.subscribe('B', "{\"action\":\"request\",\"topic\":\"svc\"}");
    for id in ["<a>", "<b>"] {
        stage.say('A', &format!("request:svc:1.0.0:{id}\n{{}}"));
    }
    assert_eq!(
        stage.say('A', "request:svc:1.0.0:<c>\n{}"),
        [
            error(
                "A response:svc:1.0.0:<a>",
                "SERVICE_UNAVAILABLE",
                "Message broker is busy",
                ""
            ),
            "B request:svc:1.0.0:<5>\n{}".into(),
        ]
    );
    assert_eq!(stage.broker.requests.len(), 2);
}

#[test]
fn topics_of_the_system_are_the_brokers() {
    let mut stage = Stage::with_two(patterns());
    // Even for who wants everything.
    stage.subscribe('B', "{\"action\":\"publish\",\"topic\":\"#\"}");
    stage.subscribe('B', "{\"action\":\"request\",\"topic\":\"#\"}");
    for (message, id) in [
        ("request:system.heartbeat:1.0.0:<a>", "<a>"),
        ("REQUEST:System.Heartbeat:1.0.0", "<3>"),
    ] {
        assert_eq!(
            stage.say('A', &format!("{message}\n")),
            [format!("A response:system.heartbeat:1.0.0:{id}{SUCCESS}")]
        );
    }
    assert_eq!(
        stage.say('A', "response:system.heartbeat:1.0.0\n{}"),
        [""; 0]
    );
    assert_eq!(
        stage.say('A', "request:system.nope:1.0.0:<a>\n{}"),
        [error(
            "A response:system.nope:1.0.0:<a>",
            "TOPIC_NOT_SUPPORTED",
            "Unknown system message topic: system.nope",
            ""
        )]
    );
    for (message, action, topic, expected) in [
        ("publish:system.nope", "publish", "system.nope", "REQUEST"),
        (
            "response:system.topic.list",
            "response",
            "system.topic.list",
            "REQUEST",
        ),
        (
            "publish:system.heartbeat",
            "publish",
            "system.heartbeat",
            "REQUEST or RESPONSE",
        ),
    ] {
        assert_eq!(
            stage.say('A', &format!("{message}:1.0.0:<a>\n{{}}")),
            [error(
                &format!("A response:{topic}:1.0.0:<a>"),
                "INVALID_REQUEST",
                &format!("Invalid action, expected {expected} for {topic}"),
                &format!(",\"details\":{{\"action\":\"{action}\",\"topic\":\"{topic}\"}}"),
            )]
        );
    }
}

#[test]
fn what_cannot_be_subscribed_to_is_refused() {
    let mut stage = Stage::with_two(BrokerConfig::default());
    let refused = |stage: &mut Stage, topic: &str, payload: &str, message: &str, details: &str| {
        let said = stage.say('A', &format!("request:{topic}:1.0.0:<a>\n{payload}"));
        let details = format!(",\"details\":{{{details}}}");
        let header = format!("A response:{topic}:1.0.0:<a>");
        assert_eq!(
            said,
            [error(&header, "INVALID_REQUEST", message, &details)],
            "{payload}"
        );
    };
    for topic in ["system.topic.subscribe", "system.topic.unsubscribe"] {
        for (payload, message, details) in [
            ("{}", "Missing or invalid action", ""),
            ("", "Missing or invalid action", ""),
            ("null", "Missing or invalid action", ""),
            ("[\"publish\",\"a\"]", "Missing or invalid action", ""),
            ("{\"action\":null}", "Missing or invalid action", ""),
            (
                "{\"action\":\"both\",\"topic\":\"a\"}",
                "Missing or invalid action",
                "\"action\":\"both\"",
            ),
            (
                "{\"action\":\"PUBLISH\"}",
                "Missing or invalid action",
                "\"action\":\"PUBLISH\"",
            ),
            (
                "{\"action\":[1, 2]}",
                "Missing or invalid action",
                "\"action\":[1, 2]",
            ),
            // Of two actions, none.
            (
                "{\"action\":\"publish\",\"action\":\"request\",\"topic\":\"a\"}",
                "Missing or invalid action",
                "",
            ),
            ("{\"action\":\"publish\"}", "Missing or invalid topic", ""),
            (
                "{\"action\":\"publish\",\"topic\":\"\"}",
                "Missing or invalid topic",
                "\"topic\":\"\"",
            ),
            (
                "{\"action\":\"publish\",\"topic\":7}",
                "Missing or invalid topic",
                "\"topic\":7",
            ),
            (
                "{\"topic\":\"events.+\",\"action\":\"publish\"}",
                "Missing or invalid topic",
                "\"topic\":\"events.+\"",
            ),
            (
                "{\"topic\":\"#\",\"action\":\"request\"}",
                "Missing or invalid topic",
                "\"topic\":\"#\"",
            ),
            (
                "{\"topic\":\"\\ud800\",\"action\":\"request\"}",
                "Missing or invalid topic",
                "\"topic\":\"\\ud800\"",
            ),
        ] {
            refused(&mut stage, topic, payload, message, details);
        }
    }
    for topic in [
        "system.heartbeat",
        "system.message",
        "System.Message",
        "system.x",
    ] {
        let payload = format!("{{\"action\":\"publish\",\"topic\":\"{topic}\"}}");
        let details = format!("\"topic\":\"{topic}\"");
        let message = "Unable to subscribe to restricted topic";
        refused(
            &mut stage,
            "system.topic.subscribe",
            &payload,
            message,
            &details,
        );
        let message = "Unable to unsubscribe from restricted topic";
        refused(
            &mut stage,
            "system.topic.unsubscribe",
            &payload,
            message,
            &details,
        );
    }
    for priority in ["\"1\"", "1e999", "[]", "true"] {
        let payload = format!("{{\"action\":\"publish\",\"topic\":\"a\",\"priority\":{priority}}}");
        let details = format!("\"priority\":{priority}");
        refused(
            &mut stage,
            "system.topic.subscribe",
            &payload,
            "Invalid priority",
            &details,
        );
    }
    // An action, but none to subscribe to.
    for topic in ["system.topic.subscribe", "system.topic.unsubscribe"] {
        let payload = "{\"action\":\"response\",\"topic\":\"a\"}";
        assert_eq!(
            stage.say('A', &format!("request:{topic}:1.0.0:<a>\n{payload}")),
            [format!(
                "A response:{topic}:1.0.0:<a>\n{{\"status\":\"failure\"}}"
            )]
        );
    }
    assert_eq!(
        stage.say('A', "request:system.topic.subscribe:1.0.0:<a>\nerror:{}"),
        [error(
            "A response:system.topic.subscribe:1.0.0:<a>",
            "MALFORMED_MESSAGE",
            "Invalid error object in payload",
            ""
        )]
    );
    stage.leave('A');
    stage.leave('B');
    assert!(stage.broker.is_empty());
}

#[test]
fn subscriptions_of_one_are_counted() {
    let mut stage = Stage::with_two(BrokerConfig {
        max_subscriptions: 2,
        ..BrokerConfig::default()
    });
    stage.subscribe('A', "{\"action\":\"publish\",\"topic\":\"a\"}");
    stage.subscribe('A', "{\"action\":\"request\",\"topic\":\"a\"}");
    // Nothing new.
    stage.subscribe(
        'A',
        "{\"action\":\"request\",\"topic\":\"a\",\"priority\":1}",
    );
    stage.subscribe('B', "{\"action\":\"publish\",\"topic\":\"a\"}");
    for message in [
        "system.topic.subscribe:1.0.0:<a>\n{\"action\":\"publish\",\"topic\":\"b\"}",
        "system.log.subscribe:1.0.0:<a>\n{}",
    ] {
        let said = stage.say('A', &format!("request:{message}"));
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("\"INVALID_REQUEST\",\"message\":\"Too many subscriptions\""));
        assert!(said[0].contains("\"details\":{\"max\":2}"));
    }
    stage.say(
        'A',
        "request:system.topic.unsubscribe:1.0.0\n{\"action\":\"request\",\"topic\":\"a\"}",
    );
    stage.subscribe('A', "{\"action\":\"publish\",\"topic\":\"b\"}");
}

#[test]
fn patterns_are_an_option() {
    let mut stage = Stage::with_two(patterns());
    stage.subscribe('A', "{\"action\":\"publish\",\"topic\":\"Events.+\"}");
    stage.subscribe('A', "{\"action\":\"publish\",\"topic\":\"events.#\"}");
    stage.subscribe('B', "{\"action\":\"request\",\"topic\":\"+.do\"}");
    assert_eq!(
        stage.say('B', "publish:events.user:1.0.0\n{}"),
        ["A publish:events.user:1.0.0:<3>\n{}"]
    );
    assert_eq!(
        stage.say('B', "publish:events:1.0.0\n{}"),
        ["A publish:events:1.0.0:<4>\n{}"]
    );
    assert_eq!(
        stage.say('A', "request:svc.do:1.0.0\n{}"),
        ["B request:svc.do:1.0.0:<5>\n{}"]
    );
    // Not by a detour either.
    let said = stage.say(
        'A',
        "request:system.topic.subscribe:1.0.0\n{\"action\":\"publish\",\"topic\":\"system.#\"}",
    );
    assert!(said[0].contains("Unable to subscribe to restricted topic"));
}

#[test]
fn a_short_version_is_an_option() {
    let mut stage = Stage::with_two(BrokerConfig::default());
    stage.subscribe('A', "{\"action\":\"publish\",\"topic\":\"a\"}");
    assert_eq!(
        stage.say('A', "publish:a:1.0:<a>\n{}"),
        [error(
            "A response:error:1.0.0",
            "MALFORMED_MESSAGE",
            "Invalid message version format: 1.0",
            ",\"details\":{\"version\":\"1.0\"}"
        )]
    );
    stage.broker.config.tolerate_short_version = true;
    assert_eq!(
        stage.say('A', "publish:a:1.0:<a>\n{}"),
        [
            "A publish:a:1.0:<3>\n{}",
            "A response:a:1.0:<a>\n{\"status\":\"success\"}",
        ]
    );
}

#[test]
fn services_say_who_they_are_and_are_listed() {
    let mut stage = Stage::with_two(BrokerConfig::default());
    let register = |payload: &str| format!("request:system.service.register:1.0.0:<a>\n{payload}");
    let header = "A response:system.service.register:1.0.0:<a>";
    let long = "ö".repeat(37);
    for (payload, message, details) in [
        (
            "{}",
            "Missing or invalid name or description",
            String::new(),
        ),
        (
            "{\"name\":\"x\",\"description\":7}",
            "Missing or invalid name or description",
            "\"name\":\"x\",\"description\":7".into(),
        ),
        (
            &format!("{{\"name\":\"{long}\",\"description\":\"d\"}}"),
            "Name of service is too long",
            format!("\"name\":\"{long}\""),
        ),
        (
            &format!(
                "{{\"name\":\"n\",\"description\":\"{}\"}}",
                "d".repeat(1_025)
            ),
            "Description of service is too long",
            format!("\"description\":\"{}\"", "d".repeat(1_025)),
        ),
    ] {
        let payload: &str = payload;
        let details = format!(",\"details\":{{{details}}}");
        assert_eq!(
            stage.say('A', &register(payload)),
            [error(header, "INVALID_REQUEST", message, &details)]
        );
    }
    let longest = format!("{{\"name\":\"{}\",\"description\":\"d\"}}", "ö".repeat(36));
    for payload in [
        &*longest,
        "{\"name\":\"N\\u0041\",\"description\":\"says \\\"hi\\\"\"}",
    ] {
        assert_eq!(
            stage.say('A', &register(payload)),
            [format!("{header}{SUCCESS}")]
        );
    }
    stage.broker.enter("earlier", [9; 16], 'C');
    assert_eq!(
        stage.say('B', "request:system.service.list:1.0.0:<b>\n{}"),
        [format!(
            "B response:system.service.list:1.0.0:<b>\n{{\"services\":[\
             {{\"id\":\"<1>\",\"name\":\"NA\",\"description\":\"says \\\"hi\\\"\",\
             \"connectedAt\":\"{WALL}\",\"lastHeartbeat\":\"{WALL}\"}},\
             {{\"id\":\"<2>\",\"name\":\"\",\"description\":\"\",\
             \"connectedAt\":\"{WALL}\",\"lastHeartbeat\":\"{WALL}\"}},\
             {{\"id\":\"09090909-0909-4909-8909-090909090909\",\"name\":\"\",\"description\":\"\",\
             \"connectedAt\":\"earlier\",\"lastHeartbeat\":\"earlier\"}}]}}"
        )]
    );
}

#[test]
fn subscriptions_are_listed_by_topic_and_by_service() {
    let mut stage = Stage::with_two(BrokerConfig::default());
    for (key, payload) in [
        (
            'A',
            "{\"action\":\"request\",\"topic\":\"b.c\",\"priority\":1.5}",
        ),
        (
            'B',
            "{\"action\":\"request\",\"topic\":\"b.c\",\"priority\":2}",
        ),
        ('A', "{\"action\":\"publish\",\"topic\":\"b.c\"}"),
        ('B', "{\"action\":\"publish\",\"topic\":\"a\"}"),
        ('A', "{\"action\":\"publish\",\"topic\":\"a\"}"),
    ] {
        stage.subscribe(key, payload);
    }
    let all = "[{\"action\":\"publish\",\"topic\":\"a\",\"subscribers\":[\
         {\"serviceId\":\"<2>\"},{\"serviceId\":\"<1>\"}]},\
         {\"action\":\"publish\",\"topic\":\"b.c\",\"subscribers\":[{\"serviceId\":\"<1>\"}]},\
         {\"action\":\"request\",\"topic\":\"b.c\",\"subscribers\":[\
         {\"serviceId\":\"<2>\",\"priority\":2},{\"serviceId\":\"<1>\",\"priority\":1.5}]}]";
    for (topic, key) in [
        ("system.topic.list", "topics"),
        ("system.topic.subscriptions", "subscriptions"),
    ] {
        assert_eq!(
            stage.say('B', &format!("request:{topic}:1.0.0:<a>\n{{}}")),
            [format!("B response:{topic}:1.0.0:<a>\n{{\"{key}\":{all}}}")]
        );
    }
    let of = |payload: &str| format!("request:system.service.subscriptions:1.0.0:<a>\n{payload}");
    let header = "B response:system.service.subscriptions:1.0.0:<a>";
    assert_eq!(
        stage.say('B', &of("{\"serviceId\":\"<1>\"}")),
        [format!(
            "{header}\n{{\"subscriptions\":[\
             {{\"action\":\"publish\",\"topic\":\"a\"}},\
             {{\"action\":\"publish\",\"topic\":\"b.c\"}},\
             {{\"action\":\"request\",\"topic\":\"b.c\",\"priority\":1.5}}]}}"
        )]
    );
    let of_b = stage.say('B', &of("{\"serviceId\":\"<2>\"}"));
    assert_eq!(stage.say('B', &of("{}")), of_b);
    assert_eq!(
        stage.say('B', &of("{\"serviceId\":\"me\"}")),
        [error(
            header,
            "INVALID_REQUEST",
            "Invalid serviceId",
            ",\"details\":{\"serviceId\":\"me\"}"
        )]
    );
    assert_eq!(
        stage.say('B', &of("{\"serviceId\":\"<c>\"}")),
        [error(
            header,
            "SERVICE_UNAVAILABLE",
            "Service <c> not found",
            ""
        )]
    );
}

#[test]
fn an_answer_lists_no_more_than_json_holds() {
    let mut stage = Stage::with_two(BrokerConfig {
        max_subscriptions: 3_000,
        ..BrokerConfig::default()
    });
    for n in 0..1_500 {
        stage.subscribe(
            'A',
            &format!("{{\"action\":\"request\",\"topic\":\"t{n}\"}}"),
        );
        stage.subscribe(
            'A',
            &format!("{{\"action\":\"publish\",\"topic\":\"t{n}\"}}"),
        );
    }
    for (topic, of) in [
        ("system.topic.list", "\"serviceId\""),
        ("system.topic.subscriptions", "\"serviceId\""),
        ("system.service.subscriptions", "\"action\""),
    ] {
        let said = stage.say('A', &format!("request:{topic}:1.0.0:<a>\n{{}}"));
        assert_eq!(said[0].matches(of).count(), 1_000, "{topic}");
    }
    for n in 0..1_500_u16 {
        let mut random = [0; 16];
        random[..2].copy_from_slice(&n.to_le_bytes());
        let key = char::from_u32(0x1000 + u32::from(n)).unwrap();
        stage.broker.enter(WALL, random, key);
    }
    let said = stage.say('A', "request:system.service.list:1.0.0:<a>\n{}");
    assert_eq!(said[0].matches("\"id\"").count(), 1_000);
}

#[test]
fn logs_can_be_subscribed_to() {
    let mut stage = Stage::with_two(BrokerConfig::default());
    let header = "A response:system.log.subscribe:1.0.0:<a>";
    for (payload, message, details) in [
        (
            "{\"levels\":\"error\"}",
            "Invalid log levels",
            "\"levels\":\"error\"",
        ),
        (
            "{\"levels\":[\"info\",\"x\"]}",
            "Invalid log level",
            "\"level\":\"x\"",
        ),
        ("{\"levels\":[7]}", "Invalid log level", "\"level\":7"),
        ("{\"regex\":7}", "Invalid log regex", "\"regex\":7"),
    ] {
        assert_eq!(
            stage.say(
                'A',
                &format!("request:system.log.subscribe:1.0.0:<a>\n{payload}")
            ),
            [error(
                header,
                "INVALID_REQUEST",
                message,
                &format!(",\"details\":{{{details}}}")
            )]
        );
    }
    assert_eq!(
        stage.say(
            'A',
            "request:system.log.subscribe:1.0.0:<a>\n{\"levels\":[\"debug\",\"info\",\"warn\",\"error\"],\"regex\":\".*\"}"
        ),
        ["A joins system.log".into(), format!("{header}{SUCCESS}")]
    );
    assert_eq!(
        stage.say('A', "request:system.log.subscribe:1.0.0:<a>\n{}"),
        [format!("{header}{SUCCESS}")]
    );
    let unsubscribe = "request:system.log.unsubscribe:1.0.0:<a>\n{}";
    let header = "A response:system.log.unsubscribe:1.0.0:<a>";
    assert_eq!(
        stage.say('A', unsubscribe),
        ["A leaves system.log".into(), format!("{header}{SUCCESS}")]
    );
    assert_eq!(stage.say('A', unsubscribe), [format!("{header}{SUCCESS}")]);
}

#[test]
fn what_happens_is_counted() {
    let mut stage = Stage::with_two(BrokerConfig::default());
    stage.say('A', "publish:x:1.0.0\n{}");
    stage.say('A', "response:x:1.0.0\n{}");
    stage.leave('B');
    let said = stage.say('A', "request:system.metrics:1.0.0:<a>\n{\"showAll\":false}");
    assert_eq!(
        said,
        [
            "A response:system.metrics:1.0.0:<a>\n{\"metrics\":{\"connection.active\":1,\
          \"connection.connected.total\":2,\"connection.disconnected.total\":1,\
          \"registry.count\":1,\"router.message.count\":3,\"router.message.count.error\":2,\
          \"router.publish.count\":1,\"router.publish.count.dropped\":1,\
          \"router.publish.count.error\":1,\"router.request.count\":1,\
          \"router.request.count.dropped\":0,\"router.request.count.error\":0,\
          \"router.request.count.timeout\":0,\"router.response.count\":1,\
          \"router.response.count.error\":1}}"
        ]
    );
    let said = stage.say('A', "request:system.metrics:1.0.0:<a>\n{\"showAll\":true}");
    let gauge = format!(
        "\"router.request.count\":{{\"name\":\"router.request.count\",\"type\":\"gauge\",\
         \"timestamp\":\"{WALL}\",\"value\":2}}"
    );
    assert!(said[0].contains(&gauge), "{said:?}");
    let said = stage.say(
        'A',
        "request:system.metrics:1.0.0:<a>\n{\"paramFilter\":{\"serviceId\":\"x\"}}",
    );
    assert_eq!(
        said,
        ["A response:system.metrics:1.0.0:<a>\n{\"metrics\":{}}"]
    );
}

#[test]
fn who_was_not_announced_enters_by_speaking() {
    let mut stage = Stage::new(BrokerConfig::default());
    stage.subscribe('A', "{\"action\":\"request\",\"topic\":\"svc\"}");
    assert_eq!(
        stage.say('B', "request:svc:1.0.0:<b>\n{}"),
        ["A request:svc:1.0.0:<1>\n{}"]
    );
    assert_eq!(stage.broker.services.len(), 2);
    for key in ['A', 'B', 'C'] {
        stage.leave(key);
    }
    assert!(stage.broker.is_empty());
}

#[test]
fn what_waits_for_an_answer_does_not_keep_its_message() {
    let mut stage = Stage::with_two(BrokerConfig::default());
    stage.subscribe('B', "{\"action\":\"request\",\"topic\":\"svc\"}");
    let id = format!("{}", random_id([7; 16]));
    let message = Message::text(format!("request:svc:1.0.0:{id}\n{{}}"));
    let range = message.as_bytes().as_ptr_range();
    let heard = Dialect::HeaderLine.decode(&mut Memory::default(), message.clone());
    let Incoming::Broker(header, payload) = heard else {
        panic!("{heard:?}");
    };
    let mut random = || [8; 16];
    stage
        .broker
        .handle(Tick::ZERO, WALL, &mut random, 'A', header, payload);
    let pending = stage.broker.requests.take_oldest().unwrap();
    let answer = pending.answer;
    let id = answer.request_id.unwrap();
    for part in [answer.topic, answer.version, id] {
        assert!(!range.contains(&part.as_ptr()), "{part}");
    }
}
