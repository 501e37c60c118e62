//! Messages from service to service.

use super::*;

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
