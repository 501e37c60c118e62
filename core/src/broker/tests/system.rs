//! What is asked of the broker itself.

use super::*;

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
